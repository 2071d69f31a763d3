"""What the sentinels' Pods say, and what a run's plan makes of it."""

import json
from typing import Any

import pytest
from plans import OF_THE_CELL, reason_of, said

from anchorhold.controller import record
from anchorhold.controller.observed import read_pod
from anchorhold.controller.plan import Plan, decide
from anchorhold.controller.sentinels import UNSEEN, UNWATCHED, Lookout, Sentinel, read_sentinel
from factories import NOW_TEXT, STARTED, guarded, make_observed, make_pod, make_run, running_pod

Document = dict[str, Any]
REACHED = "the sentinel could reach 10.96.0.1:443"
ESCAPED = json.dumps({"reason": "BoundaryOpen", "message": REACHED, "openMilliseconds": 0})
CLOSED = json.dumps({"reason": "", "message": "", "openMilliseconds": 12})
FINDINGS = [{"what": "processes", "setting": "podPidsLimit"}]
OPEN = Sentinel("node-2", ready=False, breach=REACHED, unenforced=[])
LATE = Sentinel("node-2", ready=False, breach="", unenforced=UNSEEN)


def ended(message: str | None) -> Document:
    """The state of a container that ended with these words."""
    said = {} if message is None else {"message": message}
    return {"terminated": {"exitCode": 1, **said}}


def make_sentinel(*, ready: bool = False, leaving: bool = False, **states: Document) -> Document:
    """A sentinel's Pod; `state`, `lastState` and `survey` are its containers'."""
    survey = [{"name": "survey", "state": states.pop("survey", {"waiting": {}})}]
    return {
        "metadata": {"name": "s", **({"deletionTimestamp": "now"} if leaving else {})},
        "spec": {"nodeName": "node-1"},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "initContainerStatuses": survey,
            "containerStatuses": [{"name": "sentinel", **states}],
        },
    }


@pytest.mark.parametrize(
    ("pod", "ready", "breach"),
    [
        (make_sentinel(ready=True, state={"running": {}}), True, ""),
        (make_sentinel(state={"running": {}}), False, ""),
        (make_sentinel(state=ended(ESCAPED)), False, REACHED),
        (make_sentinel(state={"waiting": {}}, lastState=ended(ESCAPED)), False, REACHED),
        (make_sentinel(state={"running": {}}, lastState=ended(ESCAPED)), False, REACHED),
        (make_sentinel(ready=True, state={"running": {}}, lastState=ended(ESCAPED)), True, ""),
        (make_sentinel(ready=True, leaving=True, state={"running": {}}), False, ""),
        (make_sentinel(leaving=True, state=ended(ESCAPED)), False, REACHED),
        (make_sentinel(state={"waiting": {}}, lastState=ended(CLOSED)), False, ""),
        (make_sentinel(state=ended("Killed")), False, ""),
        (make_sentinel(state=ended(None)), False, ""),
        (make_sentinel(state=ended('{"reason": "BoundaryOpen", "message": 7}')), False, ""),
        ({"metadata": {"name": "s"}, "spec": {"nodeName": "node-1"}}, False, ""),
    ],
    ids=[
        "is ready", "has just started", "got out", "got out, and waits to be started again",
        "got out, and looks again", "got out, and has found its node closed since",
        "is being deleted", "got out, and is being deleted", "found its node closed and was killed",
        "was killed", "ended without a word", "says nonsense", "was just made",
    ],
)  # fmt: skip
def test_a_sentinel_that(pod: Document, ready: bool, breach: str):  # noqa: FBT001  # a table
    sentinel = read_sentinel(pod)

    assert (sentinel.node, sentinel.ready, sentinel.breach) == ("node-1", ready, breach)


@pytest.mark.parametrize(
    ("survey", "found"),
    [
        (ended(json.dumps(FINDINGS)), FINDINGS),
        (ended("[]"), []),
        (ended(json.dumps(FINDINGS * 20)), FINDINGS * 15),
        (ended("{}"), UNSEEN),
        (ended('[{"what": ""}]'), UNSEEN),
        (ended("Killed"), UNSEEN),
        ({"running": {}}, UNSEEN),
    ],
    ids=["found something", "found nothing", "found too much", "says no list",
         "says what is no finding", "was killed", "is not over"],
)  # fmt: skip
def test_a_survey_that(survey: Document, found: list[Document]):
    assert read_sentinel(make_sentinel(survey=survey)).unenforced == found


@pytest.mark.parametrize(
    ("lookout", "message"),
    [
        (Lookout(()), UNWATCHED),
        (Lookout((LATE,)), UNWATCHED),
        (guarded(OPEN), f"nothing starts while the fence of node 'node-2' is open: {REACHED}"),
    ],
    ids=["there is no sentinel", "no sentinel is ready", "a node is open"],
)
def test_a_run_waits_while(lookout: Lookout, message: str):
    decided = decide(make_observed(lookout=lookout))

    assert decided.launch is None
    assert decided.status == said("Pending", message, "True", "Unknown")


def test_a_run_starts_where_one_sentinel_is_late_and_another_is_ready():
    """A node that is new to the cluster holds nobody up; the netgate guards the start there."""
    assert decide(make_observed(lookout=guarded(LATE))).launch is not None


@pytest.mark.parametrize("pod", [make_pod(), running_pod()], ids=["that waits", "that runs"])
def test_a_run_on_an_open_node_is_ended(pod: Document):
    opened = Lookout((Sentinel("node-1", ready=False, breach=REACHED, unenforced=[]),))

    reason, message = reason_of(decide(make_observed(pod=pod, lookout=opened)))

    assert reason == "BoundaryOpen"
    assert message == f"the fence of node 'node-1' went down while the cell was there: {REACHED}"


@pytest.mark.parametrize("lookout", [Lookout(()), Lookout((OPEN,))], ids=["no", "another node's"])
def test_a_run_that_runs_goes_on_whatever_is_said_by(lookout: Lookout):
    decided = decide(make_observed(pod=running_pod(), lookout=lookout))

    expected = {**OF_THE_CELL, "unenforced": UNSEEN}
    assert decided.status == said("Running", "", "True", "Unknown", **expected, startTime=STARTED)


def test_what_was_found_first_stays_in_the_record():
    """At the end of the run its node may be gone."""
    status = {"unenforced": FINDINGS}
    observed = make_observed(make_run(status=status), running_pod(), lookout=Lookout(()))

    assert record.unenforced(observed) == {}
    assert NOW_TEXT in json.dumps(decide(observed).status)


@pytest.mark.parametrize(("reason", "at_once"), [("BoundaryOpen", True), ("Cancelled", False)])
def test_a_cell_whose_fence_is_open_gets_no_time_to_clean_up(
    reason: str,
    at_once: bool,  # noqa: FBT001  # a table
):
    status = said(reason, "over", "True", "False", completionTime=NOW_TEXT)

    decided = decide(make_observed(make_run(status=status), running_pod()))

    assert decided == Plan(delete_pod=read_pod(running_pod()), at_once=at_once)
