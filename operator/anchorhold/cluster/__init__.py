"""The only code of Anchorhold that talks to the Kubernetes API.

An auditor who wants to know what can be written into a cluster reads this package, and no other.
"""
