"""Decides. Pure: what it knows comes in as arguments, what it says goes out as values."""
