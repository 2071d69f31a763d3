"""How a run ended, told from the kubelet's few words."""

from typing import Any

import pytest

from anchorhold.api.status import Reason
from anchorhold.controller import ending
from anchorhold.controller.containers import EPOCH
from anchorhold.controller.ending import Outcome
from anchorhold.controller.observed import read_pod
from factories import CREATED, STARTED, agent, make_pod, netgate, shut, terminated

DEADLINE = {
    "phase": "Failed",
    "reason": "DeadlineExceeded",
    "message": "Pod was active on the node longer than the specified deadline",
}
TOO_LATE_TO_START = "the agent never started: `activeDeadlineSeconds` were over before it could"


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"phase": "Pending"}, id="pending"),
        pytest.param({"phase": "Running"}, id="running"),
        pytest.param({"phase": "Running", "containerStatuses": terminated()}, id="nearly over"),
        pytest.param({"phase": "Unknown"}, id="out of sight"),
    ],
)
def test_a_pod_has_not_ended_while_it_is(status: dict[str, Any]):
    assert ending.of(read_pod(make_pod(**status))) is None


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        pytest.param(
            {"phase": "Succeeded", "containerStatuses": terminated(0)},
            Reason.COMPLETED,
            "the agent ended with exit code 0",
            id="exit code 0 is completion",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": terminated(1, reason="Error")},
            Reason.AGENT_FAILED,
            "the agent ended with exit code 1",
            id="any other exit code is failure",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": terminated(137, reason="Error")},
            Reason.AGENT_FAILED,
            "the agent ended with exit code 137",
            id="137 alone does not mean that memory ran out",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": terminated(137, reason="OOMKilled")},
            Reason.OUT_OF_MEMORY,
            "the agent used more than `resources.memory`",
            id="the kernel says that memory ran out",
        ),
        pytest.param(
            {**DEADLINE, "containerStatuses": terminated(137, reason="Error")},
            Reason.DEADLINE_EXCEEDED,
            "the agent ran longer than `activeDeadlineSeconds`",
            id="an agent that ran too long",
        ),
        pytest.param(
            {**DEADLINE, "containerStatuses": terminated(0)},
            Reason.DEADLINE_EXCEEDED,
            "the agent ran longer than `activeDeadlineSeconds`",
            id="an agent that hides its lateness behind exit code 0",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "reason": "Terminated",
                "message": "Pod was terminated in response to imminent node shutdown.",
                "containerStatuses": terminated(137),
            },
            Reason.LOST,
            "the node ended the cell: Terminated: Pod was terminated in response to imminent node "
            "shutdown.",
            id="a node that shuts down",
        ),
    ],
)
def test_an_agent_that_started_ends(status: dict[str, Any], reason: Reason, message: str):
    assert ending.of(read_pod(make_pod(**status))) == Outcome(reason, message)


def test_an_agent_whose_pod_was_deleted_is_lost():
    pod = make_pod(
        {"deletionTimestamp": CREATED}, phase="Failed", containerStatuses=terminated(143)
    )

    assert ending.of(read_pod(pod)) == Outcome(Reason.LOST, "somebody deleted the cell's Pod")


RUNS = agent(running={"startedAt": STARTED})
LOST_TRACK = Outcome(Reason.LOST, "the node lost track of the agent")


@pytest.mark.parametrize(
    ("metadata", "status", "expected"),
    [
        pytest.param({}, {}, LOST_TRACK, id="lost"),
        pytest.param(
            {},
            DEADLINE,
            Outcome(Reason.DEADLINE_EXCEEDED, "the agent ran longer than `activeDeadlineSeconds`"),
            id="too late",
        ),
        pytest.param(
            {"deletionTimestamp": CREATED},
            {},
            Outcome(Reason.LOST, "somebody deleted the cell's Pod"),
            id="deleted",
        ),
    ],
)
def test_an_agent_that_nobody_saw_end_is(
    metadata: dict[str, Any], status: dict[str, Any], expected: Outcome
):
    """The control plane fails the Pods of a node that is gone, and leaves their agents running."""
    pod = make_pod(metadata, **{**status, "phase": "Failed", "containerStatuses": RUNS})

    assert ending.of(read_pod(pod)) == expected


@pytest.mark.parametrize(
    ("statuses", "started"),
    [
        pytest.param([], False, id="of which nothing is known"),
        pytest.param(agent(waiting={"reason": "ErrImagePull"}), False, id="that waits"),
        pytest.param(RUNS, True, id="that runs"),
        pytest.param(terminated(0), True, id="that ran and ended"),
        pytest.param(agent(terminated={"exitCode": 128}), False, id="that ended without a start"),
    ],
)
def test_whether_an_agent_has_started(statuses: list[dict[str, Any]], started: object):
    assert ending.has_started(read_pod(make_pod(containerStatuses=statuses))) is started


def test_an_agent_that_succeeded_although_its_pod_was_deleted_has_completed():
    pod = make_pod(
        {"deletionTimestamp": CREATED}, phase="Succeeded", containerStatuses=terminated(0)
    )

    assert ending.of(read_pod(pod)) == Outcome(Reason.COMPLETED, "the agent ended with exit code 0")


def unstartable(reason: str, message: str) -> list[dict[str, Any]]:
    """What containerd reports: the epoch as the start of what never started."""
    ended = {"exitCode": 128, "reason": reason, "message": message, "startedAt": EPOCH}
    return agent(terminated=ended)


UNKNOWN = {"exitCode": 137, "reason": "ContainerStatusUnknown"}
FULL_EMPTY_DIR = 'Usage of EmptyDir volume "workspace" exceeds the limit "64Mi". '
FULL_DISK = "Pod ephemeral local storage usage exceeds the total limit of containers 128Mi. "
FULL_CONTAINER = 'Container agent exceeded its local ephemeral storage limit "128Mi". '
LOW_NODE = (
    "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. "
    "Container agent was using 1Ki, request is 128Mi, has larger consumption of ephemeral-storage. "
)
LOW_MEMORY = "The node was low on resource: memory. "
RAN_SHORT = "the node ran short and ended the cell: "


@pytest.mark.parametrize(
    ("message", "reason", "sentence"),
    [
        pytest.param(FULL_EMPTY_DIR, Reason.DISK_EXCEEDED, FULL_EMPTY_DIR, id="a full workspace"),
        pytest.param(FULL_DISK, Reason.DISK_EXCEEDED, FULL_DISK, id="a cell that is too large"),
        pytest.param(FULL_CONTAINER, Reason.DISK_EXCEEDED, FULL_CONTAINER, id="a log too large"),
        pytest.param(LOW_NODE, Reason.LOST, RAN_SHORT + LOW_NODE, id="a node without disk"),
        pytest.param(LOW_MEMORY, Reason.LOST, RAN_SHORT + LOW_MEMORY, id="a node without memory"),
        pytest.param("why", Reason.LOST, RAN_SHORT + "why", id="whatever else a node says"),
    ],
)
def test_an_eviction_is_the_agents_fault_or_the_nodes(message: str, reason: Reason, sentence: str):
    pod = make_pod(
        phase="Failed", reason="Evicted", message=message, containerStatuses=terminated(137)
    )

    assert ending.of(read_pod(pod)) == Outcome(reason, sentence)


NO_PROFILE = (
    'failed to create containerd container: cannot load seccomp profile "/var/lib/kubelet/seccomp/'
    'anchorhold/agent-0123456789abcdef.json": open …: no such file or directory'
)


def waiting(reason: str, message: str) -> dict[str, Any]:
    return {"containerStatuses": agent(waiting={"reason": reason, "message": message})}


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        pytest.param(
            {"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough cpu"},
            Reason.UNSCHEDULABLE,
            "the node refused the cell: Node didn't have enough cpu",
            id="the node had filled",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no"},
            Reason.UNSCHEDULABLE,
            "the node refused the cell: no",
            id="the node did not admit it",
        ),
        pytest.param(
            {
                **DEADLINE,
                "containerStatuses": agent(waiting={"reason": "ErrImagePull", "message": "gone"}),
            },
            Reason.IMAGE_UNAVAILABLE,
            "ErrImagePull: gone",
            id="a deadline that only waited for the image",
        ),
        pytest.param(
            {**DEADLINE, "containerStatuses": agent(waiting={"reason": "ContainerCreating"})},
            Reason.DEADLINE_EXCEEDED,
            TOO_LATE_TO_START,
            id="a deadline that waited for nobody knows what",
        ),
        pytest.param(
            {**DEADLINE, **waiting("CreateContainerError", NO_PROFILE)},
            Reason.PROFILE_MISSING,
            f"the node lacks the seccomp profile: CreateContainerError: {NO_PROFILE}",
            id="a deadline that only waited for the seccomp profile",
        ),
        pytest.param(
            {**DEADLINE, "containerStatuses": agent(terminated=UNKNOWN)},
            Reason.LOST,
            "the node lost track of the agent",
            id="a container that the node forgot",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": agent(terminated={**UNKNOWN, "message": "x"})},
            Reason.LOST,
            "the node lost track of the agent: x",
            id="a container that the node forgot, with a word",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": unstartable("StartError", "no such file")},
            Reason.AGENT_FAILED,
            "the agent's program could not be started: no such file",
            id="a program that is not there",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": unstartable("ContainerCannotRun", "")},
            Reason.AGENT_FAILED,
            "the agent's program could not be started",
            id="a program that cannot run",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "reason": "OutOfpods",
                "message": "full",
                "containerStatuses": unstartable("StartError", "no such file"),
            },
            Reason.UNSCHEDULABLE,
            "the node refused the cell: full",
            id="a node that had filled, whatever else it says",
        ),
        pytest.param(
            {
                "phase": "Failed",
                "reason": "OutOfmemory",
                "message": "no",
                "containerStatuses": agent(terminated=UNKNOWN),
            },
            Reason.UNSCHEDULABLE,
            "the node refused the cell: no",
            id="a container that the node forgot because it refused the Pod",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "NodeAffinity", "message": "no"},
            Reason.UNSCHEDULABLE,
            "the node refused the cell: no",
            id="the node had other labels by then",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Preempting", "message": "no"},
            Reason.UNSCHEDULABLE,
            "the node refused the cell: no",
            id="the node gave its place to another Pod",
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": agent(terminated={"exitCode": 128})},
            Reason.LOST,
            "the agent never started: the node does not say why",
            id="an end without a start, a reason or a message",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Strange"},
            Reason.LOST,
            "the agent never started: Strange",
            id="a reason without a message",
        ),
    ],
)
def test_an_agent_that_never_started_ends(status: dict[str, Any], reason: Reason, message: str):
    assert ending.of(read_pod(make_pod(**status))) == Outcome(reason, message)


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"conditions": [{**condition, "message": message}]}


NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "checkout" not found.'


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, None, id="nothing that anyone says"),
        pytest.param(waiting("ContainerCreating", ""), None, id="the usual start"),
        pytest.param(waiting("PodInitializing", ""), None, id="the usual start with more parts"),
        pytest.param(
            unscheduled("0/1 nodes are available: 1 Insufficient cpu."),
            Outcome(
                Reason.UNSCHEDULABLE,
                "no node can take the cell: 0/1 nodes are available: 1 Insufficient cpu.",
            ),
            id="no node with room",
        ),
        pytest.param(
            unscheduled(NO_CLAIM), Outcome(Reason.INPUT_MISSING, NO_CLAIM), id="no such claim"
        ),
        pytest.param(
            unscheduled('persistentvolumeclaim "x" is being deleted'),
            Outcome(
                Reason.UNSCHEDULABLE,
                'no node can take the cell: persistentvolumeclaim "x" is being deleted',
            ),
            id="a claim that goes",
        ),
        pytest.param(
            waiting("CreateContainerError", "bad spec"),
            Outcome(
                Reason.LOST, "the node could not make the cell: CreateContainerError: bad spec"
            ),
            id="a node that can't make it",
        ),
        pytest.param(
            waiting("CreateContainerError", NO_PROFILE),
            Outcome(
                Reason.PROFILE_MISSING,
                f"the node lacks the seccomp profile: CreateContainerError: {NO_PROFILE}",
            ),
            id="a node without the seccomp profile",
        ),
        pytest.param(
            waiting("CreateContainerConfigError", 'configmap "x" not found'),
            Outcome(
                Reason.LOST,
                "the node could not make the cell: CreateContainerConfigError: "
                'configmap "x" not found',
            ),
            id="something else that is not found",
        ),
    ],
)
def test_a_pod_is_kept_from_starting_by(status: dict[str, Any], expected: Outcome | None):
    assert ending.obstacle(read_pod(make_pod(**status))) == expected


@pytest.mark.parametrize(
    "word",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    ],
)
def test_an_image_that_cannot_be_had_has_many_names(word: str):
    pod = read_pod(make_pod(**waiting(word, "why")))

    assert ending.obstacle(pod) == Outcome(Reason.IMAGE_UNAVAILABLE, f"{word}: why")


@pytest.mark.parametrize(
    ("metadata", "status", "expected"),
    [
        pytest.param({}, {}, True, id="nobody ended it"),
        pytest.param({}, {"reason": "Evicted"}, False, id="the kubelet ended it"),
        pytest.param({"deletionTimestamp": STARTED}, {}, False, id="somebody deleted it"),
    ],
)
def test_whether_the_exit_code_is_the_agents_own(
    metadata: dict[str, Any], status: dict[str, Any], expected: object
):
    assert ending.by_itself(read_pod(make_pod(metadata, **status))) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(
            {"initContainerStatuses": shut("BoundaryOpen", "the cell could reach x")},
            Outcome(Reason.BOUNDARY_OPEN, "the cell could reach x"),
            id="an open boundary",
        ),
        pytest.param(
            {"initContainerStatuses": shut("InputMissing", "the content of y changed")},
            Outcome(Reason.INPUT_MISSING, "the content of y changed"),
            id="other content than was granted",
        ),
        pytest.param(
            {"initContainerStatuses": netgate(terminated={"exitCode": 137, "reason": "Error"})},
            Outcome(
                Reason.LOST,
                "the agent never started: the netgate ended without a word: Error, exit code 137",
            ),
            id="no word at all",
        ),
        pytest.param(
            {**DEADLINE, "initContainerStatuses": netgate(terminated={"exitCode": 137})},
            Outcome(Reason.DEADLINE_EXCEEDED, TOO_LATE_TO_START),
            id="the deadline",
        ),
        pytest.param(
            {**DEADLINE, "initContainerStatuses": shut("BoundaryOpen", "the cell could reach x")},
            Outcome(Reason.BOUNDARY_OPEN, "the cell could reach x"),
            id="an open boundary, and then the deadline",
        ),
        pytest.param(
            {"initContainerStatuses": shut("Completed", "")},
            Outcome(Reason.LOST, "the agent never started: the node does not say why"),
            id="a word that it never says",
        ),
    ],
)
def test_a_netgate_lets_no_agent_start_for(status: dict[str, Any], expected: Outcome):
    pod = make_pod(**{"phase": "Failed", **status})

    assert ending.of(read_pod(pod)) == expected
