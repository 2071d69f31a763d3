"""A real Kubernetes node of our own, sealed off from the machine and from every network.

Standard library only: it must run before any virtual environment exists.
"""
