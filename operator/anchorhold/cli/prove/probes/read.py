"""Reads one file, and tells what it says."""


def probe(settings):
    """All of it."""
    with open(settings["path"]) as file:
        return file.read()
