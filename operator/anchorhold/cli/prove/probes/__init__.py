"""What hostile agents do inside a cell: each file is the task of a run, with `telling` before it.

Standard library only, and for any Python from 3.8 on: it runs in whatever image a policy allows.
What they say is data; whether a fence held is decided outside, from effects.
"""
