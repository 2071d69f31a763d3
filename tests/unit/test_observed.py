"""What is read from the API server's documents, and what is made of odd ones."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from anchorhold import names
from anchorhold.controller import observed
from anchorhold.controller.containers import Gate, Termination
from anchorhold.controller.observed import Pod, Run
from anchorhold.policy.grant import Request
from factories import (
    CREATED,
    FINISHED,
    IMAGE,
    POD_NAME,
    POD_UID,
    RECORD,
    STARTED,
    UID,
    agent,
    gate_word,
    make_pod,
    make_run,
    netgate,
    running_pod,
    terminated,
)


def test_a_run_is_read_whole():
    run = observed.read_run(make_run({"resourceVersion": "17", "generation": 2}))

    assert isinstance(run.request, Request)
    assert run == Run(
        key=("team-a", "review"),
        uid=UID,
        version=17,
        generation=2,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        deleting=False,
        requested_by="",
        request=run.request,
        status={},
    )
    assert (run.request.namespace, run.request.name, run.request.uid) == ("team-a", "review", UID)
    assert (run.request.spec.task, run.request.spec.image) == ("Review the change.", IMAGE)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({names.REQUESTED_BY_ANNOTATION: "jane"}, "jane", id="somebody"),
        pytest.param({"requested-by": "jane"}, "", id="nobody that was stamped"),
        pytest.param(None, "", id="nobody"),
    ],
)
def test_a_run_was_requested_by(annotations: dict[str, str] | None, expected: str):
    assert observed.read_run(make_run({"annotations": annotations})).requested_by == expected


def test_a_run_that_is_being_deleted_says_so():
    assert observed.read_run(make_run({"deletionTimestamp": CREATED})).deleting


def many(count: int) -> list[str]:
    return ["x"] * count


def variables(count: int) -> list[dict[str, str]]:
    return [{"name": f"V{n}", "value": ""} for n in range(count)]


def inputs(count: int) -> list[dict[str, Any]]:
    return [{"name": f"i{n}", "configMap": {"name": "c"}} for n in range(count)]


@pytest.mark.parametrize(
    ("at_the_limit", "beyond", "sentence"),
    [
        pytest.param(
            {"task": "x" * 65_536},
            {"task": "x" * 65_537},
            "`task` cannot be read by this version: String should have at most 65536 characters",
            id="the length of the task",
        ),
        pytest.param(
            {"command": many(8)},
            {"command": many(9)},
            "`command` cannot be read by this version: Tuple should have at most 8 items after "
            "validation, not 9",
            id="the words of the command",
        ),
        pytest.param(
            {"args": many(32)},
            {"args": many(33)},
            "`args` cannot be read by this version: Tuple should have at most 32 items after "
            "validation, not 33",
            id="the arguments",
        ),
        pytest.param(
            {"args": ["x" * 1_024]},
            {"args": ["x" * 1_025]},
            "`args.0` cannot be read by this version: String should have at most 1024 characters",
            id="the length of an argument",
        ),
        pytest.param(
            {"env": variables(32)},
            {"env": variables(33)},
            "`env` cannot be read by this version: Tuple should have at most 32 items after "
            "validation, not 33",
            id="the variables",
        ),
        pytest.param(
            {"inputs": inputs(16)},
            {"inputs": inputs(17)},
            "`inputs` cannot be read by this version: Tuple should have at most 16 items after "
            "validation, not 17",
            id="the inputs",
        ),
        pytest.param(
            {"activeDeadlineSeconds": 86_400},
            {"activeDeadlineSeconds": 86_401},
            "`activeDeadlineSeconds` cannot be read by this version: Input should be less than or "
            "equal to 86400",
            id="the longest deadline",
        ),
        pytest.param(
            {"activeDeadlineSeconds": 1},
            {"activeDeadlineSeconds": 0},
            "`activeDeadlineSeconds` cannot be read by this version: Input should be greater than "
            "or equal to 1",
            id="the shortest deadline",
        ),
        pytest.param(
            {"resources": {"cpu": "999"}},
            {"resources": {"cpu": "1000"}},
            "`resources.cpu` cannot be read by this version: String should match pattern "
            "'^([1-9][0-9]{0,2}|[1-9][0-9]{0,4}m)$'",
            id="the most cores",
        ),
        pytest.param(
            {},
            {"command": "sh"},
            "`command` cannot be read by this version: Input should be a valid array",
            id="another type",
        ),
        pytest.param(
            {},
            {"privileged": True},
            "`privileged` cannot be read by this version: Extra inputs are not permitted",
            id="a field of a newer version",
        ),
    ],
)
def test_a_spec_is_read_within_its_bounds_and_not_beyond(
    at_the_limit: dict[str, Any], beyond: dict[str, Any], sentence: str
):
    assert isinstance(observed.read_run(make_run(**at_the_limit)).request, Request)
    assert observed.read_run(make_run(**beyond)).request == sentence


@pytest.mark.parametrize(
    ("conditions", "finished"),
    [
        pytest.param([], False, id="a run that nobody has seen is not finished"),
        pytest.param([("Succeeded", "Unknown")], False, id="one that goes on is not"),
        pytest.param([("Accepted", "False"), ("Ready", "False")], False, id="other words are none"),
        pytest.param([("Succeeded", "True")], True, id="one that succeeded is"),
        pytest.param([("Ready", "False"), ("Succeeded", "False")], True, id="one that failed is"),
    ],
)
def test_whether_a_run_is_finished(conditions: list[tuple[str, str]], finished: object):
    status = {"conditions": [{"type": kind, "status": word} for kind, word in conditions]}

    assert observed.read_run(make_run(status=status)).finished is finished


def test_a_new_pod_is_read_whole():
    assert observed.read_pod(make_pod()) == Pod(
        name=POD_NAME,
        uid=POD_UID,
        owner_name="review",
        owner_uid=UID,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        deleting=False,
        phase="Pending",
        reason="",
        message="",
        node="node-1",
        deadline_seconds=600,
        seccomp="Localhost",
        record=RECORD,
        skills={},
        obstacle="",
        obstacle_message="",
        awaited_class="",
        gate=None,
        running_since=None,
        termination=None,
    )


def test_a_pod_that_nobody_has_seen_is_pending_and_nowhere():
    """As it is right after its creation, without node, status, owner and annotations."""
    document = {
        "metadata": {"name": "x", "uid": "u", "creationTimestamp": CREATED},
        "spec": {},
    }

    pod = observed.read_pod(document)

    assert (pod.phase, pod.node, pod.owner_name, pod.owner_uid) == ("Pending", "", "", "")
    assert pod.record == {}
    assert pod.deadline_seconds is None


def test_a_pod_is_read_while_it_runs():
    pod = observed.read_pod(running_pod())

    assert (pod.phase, pod.running_since, pod.termination) == ("Running", STARTED, None)


def test_a_pod_is_read_when_its_agent_has_ended():
    statuses = terminated(3, reason="Error", message="what it returned")

    pod = observed.read_pod(make_pod(phase="Failed", containerStatuses=statuses))

    assert pod.termination == Termination(3, "Error", "what it returned", STARTED, FINISHED)


@pytest.mark.parametrize("started", [None, "1970-01-01T00:00:00Z"])
def test_an_agent_that_never_started_has_no_start(started: str | None):
    statuses = agent(terminated={"exitCode": 128, "startedAt": started})

    pod = observed.read_pod(make_pod(phase="Failed", containerStatuses=statuses))

    assert pod.termination == Termination(128, "", "", None, None)


@pytest.mark.parametrize("finished", [None, "1970-01-01T00:00:00Z"])
def test_an_agent_whose_end_nobody_knows_has_no_end(finished: str | None):
    """A record that seemed to be decades old would be deleted at once."""
    statuses = terminated(137, finishedAt=finished)

    pod = observed.read_pod(make_pod(phase="Failed", containerStatuses=statuses))

    assert pod.termination == Termination(137, "", "", STARTED, None)


def test_a_pod_that_is_being_deleted_says_so():
    assert observed.read_pod(make_pod({"deletionTimestamp": CREATED})).deleting


def test_the_reason_and_the_message_of_a_pod_are_read():
    pod = observed.read_pod(make_pod(phase="Failed", reason="Evicted", message="full"))

    assert (pod.phase, pod.reason, pod.message) == ("Failed", "Evicted", "full")


def test_only_the_agents_container_counts():
    other = {"name": "other", "state": {"running": {"startedAt": STARTED}}}

    assert observed.read_pod(make_pod(containerStatuses=[other])).running_since is None


WAITING = agent(waiting={"reason": "ErrImagePull", "message": "no such image"})
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available",
}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, ("", ""), id="nobody says"),
        pytest.param(
            {"containerStatuses": WAITING},
            ("ErrImagePull", "no such image"),
            id="the kubelet says so",
        ),
        pytest.param(
            {"conditions": [UNSCHEDULABLE]},
            ("Unschedulable", "0/1 nodes are available"),
            id="the scheduler says so",
        ),
        pytest.param(
            {"conditions": [UNSCHEDULABLE], "containerStatuses": WAITING},
            ("Unschedulable", "0/1 nodes are available"),
            id="the scheduler goes first",
        ),
        pytest.param(
            {
                "conditions": [{"type": "PodScheduled", "status": "True"}],
                "containerStatuses": WAITING,
            },
            ("ErrImagePull", "no such image"),
            id="a scheduled Pod waits for the kubelet",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False"}]},
            ("", ""),
            id="the scheduler gives no reason",
        ),
        pytest.param(
            {"containerStatuses": agent(waiting={})}, ("", ""), id="the kubelet gives no reason"
        ),
        pytest.param(
            {
                "initContainerStatuses": netgate(waiting={"reason": "ErrImagePull"}),
                "containerStatuses": agent(waiting={"reason": "PodInitializing"}),
            },
            ("ErrImagePull", ""),
            id="the netgate can't start",
        ),
        pytest.param(
            {
                "initContainerStatuses": netgate(terminated={"exitCode": 0, "message": "{}"}),
                "containerStatuses": WAITING,
            },
            ("ErrImagePull", "no such image"),
            id="the agent can't start behind its netgate",
        ),
    ],
)
def test_what_keeps_a_pod_from_starting(status: dict[str, Any], expected: tuple[str, str]):
    pod = observed.read_pod(make_pod(**status))

    assert (pod.obstacle, pod.obstacle_message) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("7", id="a number"),
        pytest.param("[" * 100_000, id="deeper than a parser goes"),
        pytest.param('{"conditions": [], "podName": "x"}', id="words that are ours to write"),
        pytest.param('{"effective": "all", "policies": {}}', id="our words with other values"),
    ],
)
def test_a_record_that_we_did_not_write_counts_as_nothing(text: str):
    pod = observed.read_pod(make_pod({"annotations": {names.EFFECTIVE_ANNOTATION: text}}))

    assert pod.record == {}


def test_of_a_record_only_what_was_granted_is_read():
    text = json.dumps({**RECORD, "conditions": []})

    pod = observed.read_pod(make_pod({"annotations": {names.EFFECTIVE_ANNOTATION: text}}))

    assert pod.record == RECORD


def test_a_time_of_kubernetes_is_in_utc():
    assert observed.moment(FINISHED) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("metadata", "phase", "expected"),
    [
        pytest.param({}, "Pending", False, id="waits for its start"),
        pytest.param({}, "Running", False, id="runs"),
        pytest.param({}, "Unknown", False, id="is out of sight"),
        pytest.param({}, "Succeeded", True, id="has succeeded"),
        pytest.param({}, "Failed", True, id="has failed"),
        pytest.param({"deletionTimestamp": CREATED}, "Running", False, id="was told to go"),
    ],
)
def test_whether_a_pod_has_ended_that(metadata: dict[str, Any], phase: str, expected: object):
    assert observed.has_ended(observed.read_pod(make_pod(metadata, phase=phase))) is expected


SPEECHLESS = "the netgate ended without a word: OOMKilled, exit code 137"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param({"running": {}}, None, id="it has not spoken"),
        pytest.param(
            {"terminated": {"exitCode": 0, "message": gate_word(openMilliseconds=31)}},
            Gate("", "", 31, filtered=True),
            id="it lets the agent in",
        ),
        pytest.param(
            {"terminated": {"exitCode": 1, "message": gate_word("BoundaryOpen", "it reached x")}},
            Gate("BoundaryOpen", "it reached x", 0, filtered=True),
            id="it lets nobody in",
        ),
        *(
            pytest.param(
                {"terminated": {"exitCode": 137, "reason": "OOMKilled", **message}},
                Gate("Lost", SPEECHLESS, 0, filtered=False),
                id=f"it says {message.get('message', 'nothing')}",
            )
            for message in ({}, {"message": "Traceback"}, {"message": "[]"}, {"message": "{}"})
        ),
    ],
)
def test_the_last_word_of_a_netgate(state: dict[str, Any], expected: Gate | None):
    pod = observed.read_pod(make_pod(initContainerStatuses=netgate(**state)))

    assert pod.gate == expected
