"""Who may start now: a namespace's runs take turns, the oldest first."""

from collections.abc import Sequence
from enum import Enum, auto

from anchorhold.policy.grant import BoundPolicy


class Turn(Enum):
    """What a run's place in the order means."""

    NOW = auto()
    LATER = auto()
    NEVER = auto()


def turn(place: int, policies: Sequence[BoundPolicy]) -> Turn:
    """The turn of the run that has `place` unfinished runs of its namespace before it.

    Those that have a cell come before those that wait, so no burst exceeds `activeRuns`.
    """
    active, queued = bounds(policies)
    if place < active:
        return Turn.NOW
    return Turn.LATER if place < active + queued else Turn.NEVER


def bounds(policies: Sequence[BoundPolicy]) -> tuple[int, int]:
    """The tightest `activeRuns` and `queuedRuns` of the policies."""
    limits = [policy.spec.limits for policy in policies]
    return min(limit.active_runs for limit in limits), min(limit.queued_runs for limit in limits)
