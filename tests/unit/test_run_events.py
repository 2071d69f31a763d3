"""The Event about a run that failed."""

import pytest

from anchorhold.controller import events
from anchorhold.controller.observed import read_run
from factories import FINISHED, UID, make_run


def test_an_event_names_its_run_and_is_the_same_when_repeated():
    event = events.of_run(read_run(make_run()), "AgentFailed", "exit code 1", FINISHED)

    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "review-0f5a3c1e.agentfailed", "namespace": "team-a"},
        "type": "Warning",
        "reason": "AgentFailed",
        "message": "exit code 1",
        "involvedObject": {
            "apiVersion": "anchorhold.dev/v1alpha1",
            "kind": "AgentRun",
            "namespace": "team-a",
            "name": "review",
            "uid": UID,
        },
        "source": {"component": "anchorhold-controller"},
        "firstTimestamp": FINISHED,
        "lastTimestamp": FINISHED,
        "count": 1,
    }


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        pytest.param(1_024, 1_024, id="at the limit it is whole"),
        pytest.param(1_025, 1_024, id="one more is cut"),
    ],
)
def test_the_message_of_an_event_is_bounded(length: int, kept: int):
    event = events.of_run(read_run(make_run()), "Lost", "x" * length, FINISHED)

    assert event["message"] == "x" * kept
