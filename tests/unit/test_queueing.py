"""Turns: as many as `activeRuns` go on, as many as `queuedRuns` wait, no more."""

import pytest

from anchorhold.policy import queueing
from anchorhold.policy.queueing import Turn
from factories import make_policy, read_policies


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        pytest.param(0, Turn.NOW, id="the first starts"),
        pytest.param(1, Turn.NOW, id="the last that may be active starts"),
        pytest.param(2, Turn.LATER, id="the next one waits"),
        pytest.param(4, Turn.LATER, id="the last that may wait waits"),
        pytest.param(5, Turn.NEVER, id="the next one is refused"),
    ],
)
def test_with_two_active_and_three_waiting(place: int, expected: Turn):
    policies = read_policies(make_policy(limits={"activeRuns": 2, "queuedRuns": 3}))

    assert queueing.turn(place, policies) is expected


def test_the_tightest_bounds_of_two_policies_win_one_by_one():
    policies = read_policies(
        make_policy(limits={"activeRuns": 1, "queuedRuns": 9}),
        make_policy({"name": "other"}, limits={"activeRuns": 8, "queuedRuns": 2}),
    )

    assert queueing.bounds(policies) == (1, 2)
