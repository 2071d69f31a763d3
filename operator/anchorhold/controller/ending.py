"""Reads from a Pod how its agent ended, or what keeps it from starting.

The kubelet's words are few and shared: a missing seccomp profile, a missing image and a slow
agent all end as 'DeadlineExceeded'. What tells them apart is whether the agent ever started.
"""

from dataclasses import dataclass

from anchorhold.api.status import Reason
from anchorhold.controller.containers import Termination
from anchorhold.controller.observed import Pod, has_ended

IMAGE_OBSTACLES = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)
# How the kubelet says that a container was over before its program ran.
NEVER_STARTED = {
    "StartError": (Reason.AGENT_FAILED, "the agent's program could not be started"),
    "ContainerCannotRun": (Reason.AGENT_FAILED, "the agent's program could not be started"),
    "ContainerStatusUnknown": (Reason.LOST, "the node lost track of the agent"),
}
# Why the netgate lets no agent start.
GATE_REASONS = (Reason.BOUNDARY_OPEN, Reason.INPUT_MISSING, Reason.GATEWAY_UNAVAILABLE)
# The kubelet refuses a Pod that the scheduler gave it, for instance because the node just filled.
REJECTIONS = ("OutOf", "Unexpected", "NodeAffinity", "Preempt")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, or would end if it cannot start: the reason and a sentence."""

    reason: Reason
    message: str


LOST_TRACK = Outcome(Reason.LOST, "the node lost track of the agent")
# These say when a run ended, and not why its agent never started: something else may.
UNEXPLAINED = (Reason.LOST, Reason.DEADLINE_EXCEEDED)


def of(pod: Pod) -> Outcome | None:
    """How the Pod ended; None while it has not."""
    if not has_ended(pod):
        return None
    if pod.reason == "Evicted":
        return evicted(pod)
    if not has_started(pod):
        return never_started(pod)
    if (outcome := ended_from_outside(pod)) is not None:
        return outcome
    return LOST_TRACK if pod.termination is None else by_exit(pod.termination)


def ended_from_outside(pod: Pod) -> Outcome | None:
    """Somebody else ended the agent: its exit code says nothing about it."""
    if pod.reason == "DeadlineExceeded":
        message = "the agent ran longer than `activeDeadlineSeconds`"
        return Outcome(Reason.DEADLINE_EXCEEDED, message)
    if pod.reason:
        return Outcome(Reason.LOST, f"the node ended the cell: {pod.reason}: {pod.message}")
    if pod.deleting and pod.phase == "Failed":
        return Outcome(Reason.LOST, "somebody deleted the cell's Pod")
    return None


def has_started(pod: Pod) -> bool:
    """Whether the agent ran at all, as far as the kubelet says."""
    ended = pod.termination
    return pod.running_since is not None or (ended is not None and ended.started is not None)


def by_itself(pod: Pod) -> bool:
    """Whether the exit code is the agent's own."""
    return not pod.reason and not pod.deleting


def by_exit(ended: Termination) -> Outcome:
    """The agent ended by itself, or the kernel ended it for its memory."""
    if ended.reason == "OOMKilled":
        return Outcome(Reason.OUT_OF_MEMORY, "the agent used more than `resources.memory`")
    if ended.exit_code == 0:
        return Outcome(Reason.COMPLETED, "the agent ended with exit code 0")
    return Outcome(Reason.AGENT_FAILED, f"the agent ended with exit code {ended.exit_code}")


def evicted(pod: Pod) -> Outcome:
    """The kubelet ended the cell for its disk use, or because the node itself ran short."""
    mine = "ephemeral" in pod.message or "EmptyDir" in pod.message
    if mine and "node was low" not in pod.message:
        return Outcome(Reason.DISK_EXCEEDED, pod.message)
    return Outcome(Reason.LOST, f"the node ran short and ended the cell: {pod.message}")


def never_started(pod: Pod) -> Outcome:
    """The Pod is over and the agent never ran: say what kept it."""
    if pod.reason.startswith(REJECTIONS):
        return Outcome(Reason.UNSCHEDULABLE, f"the node refused the cell: {pod.message}")
    if pod.gate is not None and pod.gate.reason in GATE_REASONS:
        return Outcome(Reason(pod.gate.reason), pod.gate.message)
    ended = pod.termination
    if ended is not None and ended.reason in NEVER_STARTED:
        reason, words = NEVER_STARTED[ended.reason]
        return Outcome(reason, f"{words}: {ended.message}" if ended.message else words)
    return obstacle(pod) or unexplained(pod)


def unexplained(pod: Pod) -> Outcome:
    """The agent never ran, and nobody says what kept it, but for what the Pod's end tells."""
    if pod.reason == "DeadlineExceeded":
        message = "the agent never started: `activeDeadlineSeconds` were over before it could"
        return Outcome(Reason.DEADLINE_EXCEEDED, message)
    words = ": ".join(filter(None, (pod.reason, pod.message)))
    if not words and pod.gate is not None:
        words = pod.gate.message
    return Outcome(Reason.LOST, f"the agent never started: {words or 'the node does not say why'}")


def obstacle(pod: Pod) -> Outcome | None:
    """What keeps the Pod from starting, as far as somebody says so; None if nobody does."""
    words = f"{pod.obstacle}: {pod.obstacle_message}"
    if "persistentvolumeclaim" in pod.obstacle_message and "not found" in pod.obstacle_message:
        return Outcome(Reason.INPUT_MISSING, pod.obstacle_message)
    if pod.obstacle == "Unschedulable":
        return Outcome(Reason.UNSCHEDULABLE, f"no node can take the cell: {pod.obstacle_message}")
    if pod.obstacle in IMAGE_OBSTACLES:
        return Outcome(Reason.IMAGE_UNAVAILABLE, words)
    if "seccomp profile" in pod.obstacle_message:
        return Outcome(Reason.PROFILE_MISSING, f"the node lacks the seccomp profile: {words}")
    if pod.obstacle in ("", "ContainerCreating", "PodInitializing"):
        return None
    return Outcome(Reason.LOST, f"the node could not make the cell: {words}")


def no_sandbox(pod: Pod) -> Outcome | None:
    """A node does not say that its container runtime lacks the handler of a RuntimeClass."""
    if not pod.awaited_class:
        return None
    return Outcome(
        Reason.UNSCHEDULABLE,
        f"the node made no sandbox of RuntimeClass '{pod.awaited_class}': "
        "its container runtime may not know the handler",
    )
