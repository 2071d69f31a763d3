"""Takes a file of its node away, which somebody else puts back."""


def probe(settings):
    """Whether it is gone."""
    path = "/node/" + settings["name"]
    os.unlink(path)
    return not os.path.exists(path)
