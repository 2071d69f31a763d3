"""The one error a person is meant to read."""

from __future__ import annotations


class Fault(Exception):  # noqa: N818 - it is a fault of the world, not an error of the program
    """Something the person at the keyboard can act on; its text is the whole message."""
