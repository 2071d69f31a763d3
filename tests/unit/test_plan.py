"""`decide`: what is observed goes in, one whole Plan comes out."""

import dataclasses
import itertools
from datetime import timedelta
from typing import Any

import pytest
from plans import (
    ANY_CONFIG_MAP,
    FACTS,
    GONE,
    MISSING,
    NOT_BOUND,
    OF_THE_CELL,
    QUEUED,
    RUNNING,
    SETTINGS,
    UNSEEN,
    dated,
    ended,
    later,
    said,
    written,
)

from anchorhold.api.status import AgentRunStatus, Reason
from anchorhold.controller import record, status
from anchorhold.controller.observed import Observed, read_pod, read_run
from anchorhold.controller.plan import Plan, decide
from factories import (
    CREATED,
    FINISHED,
    IMAGE,
    NOW,
    NOW_TEXT,
    POD_NAME,
    RECORD,
    STARTED,
    agent,
    make_grant,
    make_observed,
    make_pod,
    make_policy,
    make_run,
    read_policies,
    running_pod,
    terminated,
)

ENDED: dict[str, Any] = {
    **OF_THE_CELL,
    "startTime": STARTED,
    "result": status.result("what it returned"),
    "completionTime": FINISHED,
}
# --- A run without a cell -------------------------------------------------------------------------


def test_a_run_that_is_granted_gets_its_cell_and_no_status_yet():
    assert decide(make_observed()) == Plan(launch=make_grant())


def test_a_run_beyond_the_active_ones_waits_for_its_turn():
    decided = decide(make_observed(place=2))

    assert decided == Plan(status=QUEUED)


@pytest.mark.parametrize("place", [0, 1])
def test_a_run_among_the_active_ones_starts(place: int):
    assert decide(make_observed(place=place)).launch == make_grant()


@pytest.mark.parametrize("place", [2, 4])
def test_a_run_among_the_waiting_ones_waits(place: int):
    assert decide(make_observed(place=place)).launch is None
    assert not ended(decide(make_observed(place=place)))


def test_a_run_beyond_the_waiting_ones_is_refused():
    decided = decide(make_observed(place=5))

    message = "`queuedRuns` is 3, and as many wait: create the run again later"
    assert decided == Plan(
        status=said("PolicyRefused", message, "False", "False", completionTime=NOW_TEXT)
    )


@pytest.mark.parametrize("place", [2, 5, 1_000])
def test_a_run_that_has_a_place_in_the_queue_never_loses_it(place: int):
    """Of two runs of the same second the later may go first, and limits may tighten."""
    queued = make_run(status=QUEUED)

    assert decide(make_observed(queued, place=place)) == Plan()


def test_a_run_that_has_a_place_in_the_queue_is_told_when_the_bound_changes():
    tighter = read_policies(make_policy(limits={"activeRuns": 1, "queuedRuns": 1}))
    queued = make_run(status=QUEUED)

    decided = decide(make_observed(queued, place=5, policies=tighter))

    message = "`activeRuns` is 1, and as many are active"
    assert decided == Plan(status=said("Queued", message, "True", "Unknown"))


def test_a_place_in_the_queue_is_none_before_the_policies():
    queued = make_run(status=QUEUED)
    suspended = read_policies(make_policy(suspend=True))

    assert ended(decide(make_observed(queued, place=2, policies=suspended)))


def test_a_run_that_only_waited_for_its_namespace_has_no_place_in_the_queue():
    pending = make_run(status=said("Pending", UNSEEN, "Unknown", "Unknown"))

    assert ended(decide(make_observed(pending, place=5)))


def test_a_run_that_has_a_place_in_the_queue_keeps_it_while_the_controller_restarts():
    """The status alone says so: it is not overwritten until the Pods have been listed."""
    queued = make_observed(make_run(status=QUEUED), sees_pods=False, place=5)

    unseen = decide(queued)
    assert unseen == Plan(look_again=2.0)
    seen = dataclasses.replace(written(queued, unseen), sees_pods=True)

    assert not ended(decide(seen))


def test_a_run_that_a_policy_refuses_is_refused_at_once():
    decided = decide(make_observed(make_run(activeDeadlineSeconds=601)))

    message = (
        "`activeDeadlineSeconds` '601' must be less than or equal to '600' (AgentPolicy 'default')"
    )
    assert decided == Plan(
        status=said("PolicyRefused", message, "False", "False", completionTime=NOW_TEXT)
    )


def test_a_run_that_cannot_be_read_is_refused_at_once():
    decided = decide(make_observed(make_run(privileged=True)))

    message = "`privileged` cannot be read by this version: Extra inputs are not permitted"
    assert decided == Plan(
        status=said("PolicyRefused", message, "False", "False", completionTime=NOW_TEXT)
    )


ON_ITS_WAY = pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        pytest.param(
            {"policies": NOT_BOUND, "watched": False, "sees_pods": False},
            "NotOnboarded",
            NOT_BOUND.message,
            id="the binding of its namespace",
        ),
        pytest.param(
            {"run": read_run(make_run(**SETTINGS)), "policies": ANY_CONFIG_MAP},
            "InputMissing",
            MISSING,
            id="one of its inputs",
        ),
    ],
)


@ON_ITS_WAY
def test_what_may_be_on_its_way_is_waited_for(changes: dict[str, Any], reason: str, message: str):
    decided = decide(dataclasses.replace(make_observed(), **changes))

    waiting = said("Pending", message, "Unknown", "Unknown")
    assert decided == Plan(status=waiting, look_again=2.0)


@ON_ITS_WAY
def test_what_may_be_on_its_way_is_waited_for_until_the_last_moment(
    changes: dict[str, Any], reason: str, message: str
):
    decided = decide(dataclasses.replace(make_observed(now=later(59.5)), **changes))

    assert decided.look_again == 0.5
    assert not ended(decided)


@ON_ITS_WAY
def test_what_may_be_on_its_way_is_not_waited_for_longer_than_a_start_may_take(
    changes: dict[str, Any], reason: str, message: str
):
    observed = dataclasses.replace(make_observed(now=later(60)), **changes)

    decided = decide(observed)

    now = status.instant(observed.now)
    wanted = said(reason, message, "False", "False", completionTime=now)
    assert decided == Plan(status=dated(wanted, now))


def test_an_input_that_is_there_in_time_is_granted():
    decided = decide(
        make_observed(make_run(**SETTINGS), policies=ANY_CONFIG_MAP, config_maps=FACTS)
    )

    assert decided.launch is not None
    assert decided.status is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="granted"),
        pytest.param({"place": 2}, id="to wait"),
        pytest.param({"place": 5}, id="one too many"),
        pytest.param({"policies": NOT_BOUND}, id="without a binding"),
        pytest.param({"policies": read_policies(make_policy(suspend=True))}, id="suspended"),
        pytest.param({"run": make_run(privileged=True)}, id="not understood"),
        pytest.param({"run": make_run(**SETTINGS), "policies": ANY_CONFIG_MAP}, id="incomplete"),
        pytest.param({"watched": False}, id="bound before anyone watches its Pods"),
    ],
)
def test_nothing_is_decided_while_the_pods_of_the_namespace_are_unseen_of_a_run_that_would_be(
    changes: dict[str, Any],
):
    """There may be a cell already, which keeps its Grant."""
    decided = decide(make_observed(**{"now": later(3_600), **changes, "sees_pods": False}))

    waiting = said("Pending", UNSEEN, "Unknown", "Unknown")
    assert decided == Plan(status=dated(waiting, status.instant(later(3_600))), look_again=2.0)


def test_a_run_that_cannot_be_read_is_refused_where_no_pods_are_watched():
    unread = make_run(privileged=True)

    assert ended(decide(make_observed(unread, watched=False, sees_pods=False, policies=NOT_BOUND)))


def test_a_run_that_is_being_deleted_is_left_to_the_garbage_collector():
    assert decide(make_observed(make_run({"deletionTimestamp": CREATED}))) == Plan()


# --- A run with a cell ----------------------------------------------------------------------------


def test_a_running_agent_is_recorded():
    decided = decide(make_observed(pod=running_pod()))

    facts = {**OF_THE_CELL, "startTime": STARTED}
    assert decided == Plan(status=said("Running", "", "True", "Unknown", **facts))


def test_a_cell_keeps_the_grant_that_it_was_made_with():
    """Loosening never reaches a running run, and what the record says does not change."""
    tighter = read_policies(make_policy({"generation": 2}, limits={"activeDeadlineSeconds": 1}))

    decided = decide(make_observed(pod=running_pod(), policies=tighter))

    assert decided.status is not None
    assert decided.status["effective"]["activeDeadlineSeconds"] == 600
    assert decided.status["policies"] == RECORD["policies"]


def test_a_cell_on_no_node_yet_has_no_node_name():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pod = make_pod(conditions=[{**condition, "message": "no room"}])
    del pod["spec"]["nodeName"]

    decided = decide(make_observed(pod=pod))

    facts = {**RECORD, "podName": POD_NAME}
    message = "no node can take the cell: no room"
    assert decided == Plan(
        status=said("Pending", message, "True", "Unknown", **facts), look_again=170.0
    )


def test_an_agent_that_has_ended_is_not_recorded_before_its_pod_says_how():
    """The kubelet tells of the container first. What is not there any more by then is no matter."""
    pod = make_pod(phase="Running", containerStatuses=terminated(0))

    assert decide(make_observed(make_run(status=RUNNING, **SETTINGS), pod)) == Plan()
    assert decide(make_observed(make_run(**SETTINGS), pod, now=later(600))) == Plan()


@pytest.mark.parametrize(
    ("phase", "exit_code", "reason", "succeeded"),
    [
        pytest.param("Succeeded", 0, "Completed", "True", id="with success"),
        pytest.param("Failed", 3, "AgentFailed", "False", id="with failure"),
    ],
)
def test_an_agent_that_ended_by_itself_is_recorded_with_its_exit_code(
    phase: str, exit_code: int, reason: str, succeeded: str
):
    statuses = terminated(exit_code, message="what it returned")

    decided = decide(make_observed(pod=make_pod(phase=phase, containerStatuses=statuses)))

    message = f"the agent ended with exit code {exit_code}"
    facts = {**ENDED, "exitCode": exit_code}
    assert decided == Plan(status=said(reason, message, "True", succeeded, **facts))


def test_an_agent_that_was_ended_is_recorded_without_an_exit_code():
    statuses = terminated(137, message="what it returned")
    pod = make_pod(phase="Failed", reason="DeadlineExceeded", containerStatuses=statuses)

    decided = decide(make_observed(pod=pod))

    message = "the agent ran longer than `activeDeadlineSeconds`"
    assert decided == Plan(status=said("DeadlineExceeded", message, "True", "False", **ENDED))


def test_an_agent_that_never_started_returned_nothing():
    statuses = agent(
        terminated={"exitCode": 128, "message": "no such file", "finishedAt": FINISHED}
    )

    decided = decide(make_observed(pod=make_pod(phase="Failed", containerStatuses=statuses)))

    message = "the agent never started: the node does not say why"
    facts = {**OF_THE_CELL, "completionTime": FINISHED}
    assert decided == Plan(status=said("Lost", message, "True", "False", **facts))


def test_a_program_that_could_not_be_started_returned_nothing_and_has_no_exit_code():
    """Whatever exit code the runtime makes up; and no input that vanished since explains it."""
    ended = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
    statuses = agent(terminated={**ended, "message": "no such file", "finishedAt": FINISHED})
    pod = make_pod(phase="Failed", containerStatuses=statuses)

    decided = decide(make_observed(make_run(**SETTINGS), pod))

    message = "the agent's program could not be started: no such file"
    facts = {**OF_THE_CELL, "completionTime": FINISHED}
    assert decided == Plan(status=said("AgentFailed", message, "True", "False", **facts))


def test_what_a_node_says_is_only_text():
    statuses = terminated(137)
    pod = make_pod(
        phase="Failed", reason="Gone", message="\x1b[2J\r\nbad", containerStatuses=statuses
    )

    decided = decide(make_observed(pod=pod))

    assert decided.status is not None
    message = decided.status["conditions"][1]["message"]
    assert message == r"the node ended the cell: Gone: \x1b[2J bad"


# --- A run whose cell is gone ---------------------------------------------------------------------


def test_a_cell_that_was_recorded_and_is_gone_is_lost_and_not_made_again():
    assert decide(make_observed(make_run(status=RUNNING))) == Plan(status=GONE)


def test_a_cell_that_this_process_made_and_that_is_gone_is_lost_and_not_made_again():
    assert decide(make_observed(vanished=True)) == Plan(status=GONE)


def test_a_cell_is_not_gone_while_the_pods_are_unseen():
    observed = make_observed(make_run(status=RUNNING), sees_pods=False)

    assert decide(observed) == Plan(look_again=2.0)


# --- A run that has ended -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(None, id="there is none"),
        pytest.param(make_pod(phase="Succeeded"), id="it has succeeded"),
        pytest.param(make_pod(phase="Failed"), id="it has failed"),
        pytest.param(
            make_pod({"deletionTimestamp": CREATED}, phase="Running"), id="it is going already"
        ),
    ],
)
def test_the_cell_of_an_ended_run_is_left_alone_when(pod: dict[str, Any] | None):
    assert decide(make_observed(make_run(status=GONE), pod)) == Plan()


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_the_live_cell_of_an_ended_run_is_deleted(phase: str):
    pod = make_pod(phase=phase)

    assert decide(make_observed(make_run(status=GONE), pod)) == Plan(delete_pod=read_pod(pod))


def test_the_record_is_written_before_the_cell_goes():
    """A crash in between must not let it start after all: the record alone decides."""
    waiting = {"reason": "ErrImagePull", "message": "no such image"}
    pod = make_pod(containerStatuses=agent(waiting=waiting))
    observed = make_observed(pod=pod, now=later(60))

    first = decide(observed)
    assert first.delete_pod is None
    second = decide(written(observed, first))

    assert second == Plan(delete_pod=observed.pod)


# --- Whatever was observed ------------------------------------------------------------------------

STATES = [
    pytest.param(make_observed(place=2), id="a run that waits"),
    pytest.param(make_observed(place=5), id="a run that was refused"),
    pytest.param(make_observed(policies=NOT_BOUND), id="a run whose binding is missing"),
    pytest.param(make_observed(sees_pods=False), id="a run whose Pods are unseen"),
    pytest.param(make_observed(make_run(**SETTINGS), make_pod()), id="a cell without its input"),
    pytest.param(make_observed(make_run(privileged=True)), id="a run that cannot be read"),
    pytest.param(
        make_observed(pod=make_pod(containerStatuses=agent(waiting={"reason": "ErrImagePull"}))),
        id="a cell with an obstacle",
    ),
    pytest.param(make_observed(pod=running_pod()), id="a cell that runs"),
    pytest.param(
        make_observed(
            pod=make_pod(phase="Succeeded", containerStatuses=terminated(0, message="\x1b"))
        ),
        id="a cell that ended",
    ),
    pytest.param(make_observed(vanished=True), id="a cell that is gone"),
]


@pytest.mark.parametrize("observed", STATES)
def test_what_is_written_is_not_written_again(observed: Observed):
    first = decide(observed)
    assert first.status is not None

    moment = observed.now + timedelta(seconds=1)
    second = decide(dataclasses.replace(written(observed, first), now=moment))

    assert second.status is None


def test_the_end_of_a_run_has_one_time_however_often_it_is_said():
    """The Pod may be gone by then, and the agent's own end with it."""
    statuses = terminated(0, message="what it returned")
    observed = make_observed(pod=make_pod(phase="Succeeded", containerStatuses=statuses))
    first = decide(observed).status
    assert first is not None
    moment = NOW + timedelta(seconds=1)
    again = make_observed(make_run(status=first), now=moment)

    message = "the agent ended with exit code 0"
    assert record.report(again, Reason.COMPLETED, message, accepted="True") is None


def test_the_end_of_a_run_that_is_written_goes_before_what_its_pod_says_later():
    statuses = terminated(0, finishedAt="2026-01-01T00:02:00Z")
    pod = make_pod(phase="Succeeded", containerStatuses=statuses)
    run = make_run(status={"completionTime": FINISHED})

    reported = record.report(make_observed(run, pod), Reason.LOST, "", accepted="True")

    assert reported is not None
    assert reported["completionTime"] == FINISHED


@pytest.mark.parametrize("observed", STATES)
def test_the_same_observation_always_gives_the_same_plan(observed: Observed):
    assert decide(observed) == decide(observed)


@pytest.mark.parametrize("observed", STATES)
def test_what_is_written_fits_the_schema(observed: Observed):
    document = decide(observed).status

    assert AgentRunStatus.parse(document or {}).conditions


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.pairwise(parameter.values[0] for parameter in STATES))
)
def test_times_move_only_with_their_status(one: Any, other: Any):  # noqa: ANN401
    """From whatever is recorded to whatever is observed next."""
    moment = NOW + timedelta(seconds=30)
    recorded = written(one, decide(one))
    next_status = record.report(
        dataclasses.replace(other, run=recorded.run, now=moment),
        Reason.RUNNING,
        "",
        accepted="True",
    )

    assert next_status is not None
    for old, new in zip(recorded.run.status["conditions"], next_status["conditions"], strict=True):
        moved = old["lastTransitionTime"] != new["lastTransitionTime"]
        assert moved == (old["status"] != new["status"])


def test_an_image_is_not_looked_at_once_a_cell_exists():
    assert decide(make_observed(make_run(image=IMAGE + "0"), running_pod())).launch is None
