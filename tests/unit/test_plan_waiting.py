"""`decide` about a cell whose agent has not started: patience, and what it ends with."""

from collections.abc import Mapping
from typing import Any

import pytest
from plans import (
    FACTS,
    OF_THE_CELL,
    RUNNING,
    SETTINGS,
    VANISHED,
    dated,
    ended,
    later,
    reason_of,
    said,
)

from anchorhold.controller import status
from anchorhold.controller.plan import Plan, decide, denied
from anchorhold.policy.evaluate import ConfigMapFacts
from factories import (
    CREATED,
    FINISHED,
    STARTED,
    agent,
    gate_word,
    make_grant,
    make_observed,
    make_pod,
    make_policy,
    make_run,
    netgate,
    read_policies,
    running_pod,
    shut,
    terminated,
)

IMAGE_ERROR = "ErrImagePull: no such image"
NO_IMAGE = make_pod(
    containerStatuses=agent(waiting={"reason": "ErrImagePull", "message": "no such image"})
)


def unscheduled(message: str) -> dict[str, Any]:
    """A cell that the scheduler has no node for."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return make_pod(conditions=[{**condition, "message": message}])


NO_NODE = unscheduled("no room")
NO_CLAIM = unscheduled('persistentvolumeclaim "checkout" not found')
PLAIN = make_run()
WITH_SETTINGS = make_run(**SETTINGS)

# What keeps a cell from starting, as run and Pod; what is said of it, and for how long.
OBSTACLES = pytest.mark.parametrize(
    ("run", "pod", "reason", "message", "patience"),
    [
        pytest.param(PLAIN, NO_IMAGE, "ImageUnavailable", IMAGE_ERROR, 60, id="an image"),
        pytest.param(
            PLAIN,
            NO_NODE,
            "Unschedulable",
            "no node can take the cell: no room",
            180,
            id="a node, which may take longer to come",
        ),
        pytest.param(
            PLAIN,
            NO_CLAIM,
            "InputMissing",
            'persistentvolumeclaim "checkout" not found',
            60,
            id="a claim, although the scheduler says so",
        ),
        pytest.param(
            WITH_SETTINGS,
            make_pod(),
            "InputMissing",
            VANISHED,
            60,
            id="a ConfigMap that vanished after the grant",
        ),
        pytest.param(
            WITH_SETTINGS,
            NO_NODE,
            "Unschedulable",
            "no node can take the cell: no room",
            180,
            id="a node, and a ConfigMap that nobody has asked for yet",
        ),
    ],
)


@OBSTACLES
def test_a_cell_waits_and_says_for_what(
    run: dict[str, Any], pod: dict[str, Any], reason: str, message: str, patience: int
):
    decided = decide(make_observed(run, pod))

    assert decided == Plan(
        status=said("Pending", message, "True", "Unknown", **OF_THE_CELL),
        look_again=patience - 10.0,
    )


@OBSTACLES
def test_a_cell_waits_until_the_last_moment(
    run: dict[str, Any], pod: dict[str, Any], reason: str, message: str, patience: int
):
    decided = decide(make_observed(run, pod, now=later(patience - 0.5)))

    assert reason_of(decided) == ("Pending", message)
    assert decided.look_again == 0.5


@OBSTACLES
def test_a_run_ends_when_its_cell_has_waited_long_enough(
    run: dict[str, Any], pod: dict[str, Any], reason: str, message: str, patience: int
):
    decided = decide(make_observed(run, pod, now=later(patience)))

    now = status.instant(later(patience))
    wanted = said(reason, message, "True", "False", **OF_THE_CELL, completionTime=now)
    assert decided == Plan(status=dated(wanted, now))


def test_patience_counts_from_the_cell_and_not_from_the_run():
    """The run may have been queued for an hour."""
    old = make_run({"creationTimestamp": "2025-12-31T23:00:00Z"})

    assert decide(make_observed(old, NO_IMAGE)).look_again == 50.0


@pytest.mark.parametrize(
    ("seconds", "look_again"),
    [
        pytest.param(0, 60.0, id="right away"),
        pytest.param(59.5, 0.5, id="just before a start's time is up"),
        pytest.param(60, 60.0, id="when it is up"),
        pytest.param(86_400, 60.0, id="much later"),
    ],
)
@pytest.mark.parametrize(
    ("run", "config_maps"),
    [
        pytest.param(PLAIN, {}, id="without inputs"),
        pytest.param(WITH_SETTINGS, FACTS, id="with its input"),
        pytest.param(
            make_run(inputs=[{"name": "x", "persistentVolumeClaim": {"claimName": "x"}}]),
            {},
            id="with an input that is no ConfigMap",
        ),
        pytest.param(make_run(privileged=True), {}, id="of a run that cannot be read any more"),
    ],
)
def test_a_cell_that_nobody_complains_of_is_waited_for(
    run: dict[str, Any],
    config_maps: Mapping[str, ConfigMapFacts],
    seconds: float,
    look_again: float,
):
    """A large image takes its time; the kubelet's own deadline bounds it."""
    observed = make_observed(run, make_pod(), config_maps=config_maps, now=later(seconds))

    assert decide(observed) == Plan(look_again=look_again)


def test_of_several_inputs_the_one_that_vanished_is_named():
    names = ("settings", "first", "second")
    inputs = [{"name": f"in-{name}", "configMap": {"name": name}} for name in names]

    decided = decide(make_observed(make_run(inputs=inputs), make_pod(), config_maps=FACTS))

    assert reason_of(decided) == ("Pending", "ConfigMap 'first' does not exist any more")


BROKEN = netgate(terminated={"exitCode": 1, "reason": "Error", "startedAt": STARTED})
NO_SANDBOX = "the node made no sandbox of RuntimeClass 'kata': "


def under_a_class(condition: str, name: str | None = "kata", **status: Any) -> dict[str, Any]:  # noqa: ANN401
    """A cell on a node that says whether it made its sandbox."""
    conditions = [{"type": "PodReadyToStartContainers", "status": condition}]
    pod = make_pod(conditions=conditions, **status)
    pod["spec"]["runtimeClassName"] = name
    return pod


@pytest.mark.parametrize(
    ("pod", "config_maps", "seconds", "reason"),
    [
        pytest.param(under_a_class("False"), FACTS, 60, "Unschedulable", id="for too long"),
        pytest.param(under_a_class("False"), {}, 60, "InputMissing", id="whose input vanished"),
        pytest.param(under_a_class("False"), FACTS, 59, None, id="for a while"),
        pytest.param(under_a_class("True"), FACTS, 60, None, id="which is there"),
        pytest.param(under_a_class("False", None), FACTS, 60, None, id="of no runtime class"),
        pytest.param(
            under_a_class("False", phase="Failed", reason="DeadlineExceeded"),
            FACTS,
            10,
            "Unschedulable",
            id="until its deadline",
        ),
        pytest.param(
            under_a_class("False", phase="Failed", reason="DeadlineExceeded", podIP="10.0.0.1"),
            FACTS,
            10,
            "DeadlineExceeded",
            id="which was there until its deadline",
        ),
        pytest.param(
            under_a_class("False", phase="Failed", initContainerStatuses=BROKEN),
            FACTS,
            10,
            "Lost",
            id="which is gone after its netgate broke",
        ),
    ],
)
def test_a_cell_waits_for_its_sandbox(
    pod: dict[str, Any],
    config_maps: Mapping[str, ConfigMapFacts],
    seconds: float,
    reason: str | None,
):
    """The node does not say that it lacks the handler of a runtime class."""
    observed = make_observed(WITH_SETTINGS, pod, config_maps=config_maps, now=later(seconds))

    decided = decide(observed)

    assert ended(decided) is (reason is not None)
    assert reason is None or reason_of(decided)[0] == reason
    assert reason != "Unschedulable" or reason_of(decided)[1].startswith(NO_SANDBOX)


@pytest.mark.parametrize(
    ("message", "seconds", "expected"),
    [
        pytest.param(
            'pod rejected: RuntimeClass "kata" not found',
            60,
            ("Unschedulable", "RuntimeClass 'kata', which the policy names, does not exist"),
            id="a class that stays away",
        ),
        pytest.param(
            'pod rejected: RuntimeClass "kata" not found',
            59,
            ("Pending", 'pod rejected: RuntimeClass "kata" not found'),
            id="a class that may come",
        ),
        pytest.param(
            'exceeded quota: RuntimeClass "other" not found',
            3_600,
            ("Pending", 'exceeded quota: RuntimeClass "other" not found'),
            id="anything else",
        ),
    ],
)
def test_a_cell_that_the_api_server_did_not_take(
    message: str, seconds: float, expected: tuple[str, str]
):
    """Only what is sure never to be taken ends the run."""
    policies = read_policies(make_policy(isolation="RuntimeClass", runtimeClassName="kata"))
    observed = make_observed(policies=policies, now=later(seconds))

    told = denied(observed, make_grant(policies=policies), message)

    assert reason_of(Plan(status=told)) == expected
    assert ended(Plan(status=told)) is (expected[0] == "Unschedulable")


NEVER_RAN = agent(terminated={"exitCode": 137, "reason": "ContainerStatusUnknown"})
NEVER_STARTED = make_pod(phase="Failed", reason="DeadlineExceeded", containerStatuses=NEVER_RAN)
LOST_TRACK = "the node lost track of the agent"


@pytest.mark.parametrize(
    ("run", "pod", "config_maps", "reason", "message"),
    [
        pytest.param(
            WITH_SETTINGS,
            NEVER_STARTED,
            {},
            "InputMissing",
            VANISHED,
            id="because its ConfigMap vanished",
        ),
        pytest.param(
            WITH_SETTINGS,
            NEVER_STARTED,
            FACTS,
            "Lost",
            LOST_TRACK,
            id="although its ConfigMap is there",
        ),
        pytest.param(PLAIN, NEVER_STARTED, {}, "Lost", LOST_TRACK, id="and needed no ConfigMap"),
        pytest.param(
            WITH_SETTINGS,
            make_pod(phase="Failed", reason="DeadlineExceeded"),
            {},
            "InputMissing",
            VANISHED,
            id="before its deadline because its ConfigMap vanished",
        ),
        pytest.param(
            WITH_SETTINGS,
            make_pod(phase="Failed", reason="OutOfcpu", message="full"),
            {},
            "Unschedulable",
            "the node refused the cell: full",
            id="for a reason that the node gives",
        ),
    ],
)
def test_an_agent_never_started(
    run: dict[str, Any],
    pod: dict[str, Any],
    config_maps: Mapping[str, ConfigMapFacts],
    reason: str,
    message: str,
):
    decided = decide(make_observed(run, pod, config_maps=config_maps))

    assert reason_of(decided) == (reason, message)
    assert ended(decided)


@pytest.mark.parametrize(
    ("run", "pod"),
    [
        pytest.param(
            make_run(**SETTINGS, status=RUNNING),
            NEVER_STARTED,
            id="that was seen before the node forgot it",
        ),
        pytest.param(
            WITH_SETTINGS,
            make_pod(
                {"deletionTimestamp": CREATED},
                phase="Failed",
                containerStatuses=terminated(143),
            ),
            id="that somebody ended",
        ),
        pytest.param(
            WITH_SETTINGS,
            make_pod(phase="Failed", containerStatuses=agent(running={"startedAt": STARTED})),
            id="that ran when its node went",
        ),
    ],
)
def test_no_vanished_input_explains_the_loss_of_an_agent(run: dict[str, Any], pod: dict[str, Any]):
    """It had its inputs; and whoever reads 'InputMissing' believes that nothing ran."""
    decided = decide(make_observed(run, pod))

    assert reason_of(decided)[0] == "Lost"
    assert ended(decided)


def test_an_agent_that_completed_needs_its_input_no_more():
    statuses = terminated(0, finishedAt=FINISHED)
    pod = make_pod(phase="Succeeded", containerStatuses=statuses)

    assert reason_of(decide(make_observed(WITH_SETTINGS, pod)))[0] == "Completed"


NO_CANARY = (
    "`anchorhold-canary` in `anchorhold-system` does not answer the controller, so that the "
    "silence around a cell would prove nothing"
)


def test_no_cell_is_made_while_the_canary_is_dead():
    decided = decide(make_observed(canary_answers=False))

    assert decided == Plan(
        status=said("Pending", NO_CANARY, "True", "Unknown"),
        look_again=2.0,
    )


def test_a_run_that_waits_for_its_turn_is_not_bothered_with_the_canary():
    decided = decide(make_observed(canary_answers=False, place=2))

    assert decided.status is not None
    assert reason_of(decided)[0] == "Queued"


def test_what_the_netgate_saw_is_recorded():
    pod = running_pod() | {}
    word = gate_word(openMilliseconds=31)
    pod["status"]["initContainerStatuses"] = netgate(terminated={"exitCode": 0, "message": word})

    decided = decide(make_observed(pod=pod))

    assert decided.status is not None
    assert decided.status["boundary"] == {"verified": True, "openMilliseconds": 31}


def test_a_boundary_that_stayed_open_is_recorded():
    pod = make_pod(phase="Failed", initContainerStatuses=shut("BoundaryOpen", "it reached x"))

    decided = decide(make_observed(pod=pod))

    assert decided.status is not None
    assert reason_of(decided) == ("BoundaryOpen", "it reached x")
    assert decided.status["boundary"] == {"verified": False, "openMilliseconds": 0}


@pytest.mark.parametrize("filtered", [True, False], ids=["filters", "does not filter"])
def test_what_a_kernel_does_to_system_calls_is_recorded_where_it(filtered: bool):  # noqa: FBT001
    """As the netgate found it, though the node's own gaps were recorded before."""
    pod = running_pod()
    word = gate_word(filtered=filtered)
    pod["status"]["initContainerStatuses"] = netgate(terminated={"exitCode": 0, "message": word})

    decided = decide(make_observed(make_run(status={"unenforced": []}), pod))

    assert decided.status is not None
    found = [row["what"] for row in decided.status["unenforced"]]
    assert found == ([] if filtered else ["system calls: no seccomp filter holds the agent"])


def test_what_was_recorded_with_the_boundary_stays():
    status = {"unenforced": [], "boundary": {"verified": True, "openMilliseconds": 0}}
    pod = running_pod()
    word = gate_word(filtered=False)
    pod["status"]["initContainerStatuses"] = netgate(terminated={"exitCode": 0, "message": word})

    decided = decide(make_observed(make_run(status=status), pod))

    assert decided.status is not None
    assert "unenforced" not in decided.status
