"""How long to wait before trying again."""

# 2 to this power is longer than any wait, and far from what a float cannot hold.
_MOST_DOUBLINGS = 30


def seconds(failures: int, first: float, longest: float) -> float:
    """The first wait, doubled with each further failure, up to the longest."""
    doublings = min(failures - 1, _MOST_DOUBLINGS)
    return float(min(longest, first * 2**doublings))
