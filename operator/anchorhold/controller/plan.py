"""`decide`: what to do about one run, from what was observed. Pure, and the same every time.

Level-based: it asks what is, never what happened, so that a restart, a duplicate event or a crash
between two writes changes nothing in the end.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from anchorhold import names
from anchorhold.api.status import Reason
from anchorhold.controller import ending, record, stopping
from anchorhold.controller.observed import Observed, Pod, Run, has_ended, moment
from anchorhold.policy import queueing
from anchorhold.policy.evaluate import evaluate
from anchorhold.policy.grant import BoundPolicy, Grant, Refusal

# How long something may keep a run from starting. The kubelet's own deadline does not cover this:
# an unschedulable Pod never starts its clock. A new node takes longer to come than a registry.
START_SECONDS = 60.0
SCHEDULE_SECONDS = 180.0
# How often to look for what nobody tells us of.
LOOK_SECONDS = 2.0
NO_CANARY = (
    f"`{names.CANARY}` in `{names.SYSTEM_NAMESPACE}` does not answer the controller, so that the "
    "silence around a cell would prove nothing"
)
# What may still turn up in that time: a ConfigMap or a binding that is applied after the run.
PASSING = (Reason.INPUT_MISSING, Reason.NOT_ONBOARDED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, each at most once, and in how many seconds to look again.

    `shorten` is a Pod and the seconds of its new deadline; `delete_run` ends the record itself.
    `at_once`: the Pod that is deleted gets no time to clean up, as it may do harm with it.
    """

    launch: Grant | None = None
    status: dict[str, Any] | None = None
    shorten: tuple[Pod, int] | None = None
    delete_pod: Pod | None = None
    at_once: bool = False
    delete_run: bool = False
    look_again: float | None = None


def decide(observed: Observed) -> Plan:
    """The next step of a run."""
    run, pod = observed.run, observed.pod
    if run.finished:
        return after_the_end(observed)
    if run.deleting:
        return Plan()
    if pod is not None:
        return follow(observed, pod)
    made = observed.vanished or bool(run.status.get("podName"))
    if made and not observed.sees_pods:
        return Plan(look_again=LOOK_SECONDS)
    if made:
        return end(observed, Reason.LOST, "the cell's Pod is gone, and its record with it")
    return start(observed)


def after_the_end(observed: Observed) -> Plan:
    """The record is written: what is left of the cell goes, and later the record itself.

    First the record, then the Pod: a crash in between must not let it start after all.
    """
    pod = observed.pod
    if pod is not None and not has_ended(pod) and not pod.deleting:
        return Plan(delete_pod=pod, at_once=says(observed.run, Reason.BOUNDARY_OPEN))
    kept = stopping.retention(observed)
    if kept is None or observed.run.deleting:
        return Plan()
    if stopping.is_unseen(observed):
        return Plan(look_again=LOOK_SECONDS)
    left = seconds_left(kept, moment(observed.run.status["completionTime"]), observed.now)
    return Plan(look_again=left) if left > 0 else Plan(delete_run=True)


def start(observed: Observed) -> Plan:
    """A run without a cell: grant it one, let it wait, or refuse it."""
    verdict = judge(observed)
    if verdict is None:
        message = "the controller has not listed the namespace's Pods yet"
        waiting = record.report(observed, Reason.PENDING, message, accepted="Unknown")
        # Only its status says that a run was given a place: that word stays.
        kept = says(observed.run, Reason.QUEUED)
        return Plan(status=None if kept else waiting, look_again=LOOK_SECONDS)
    if (stop := stopping.cancelled(observed)) is not None:
        accepted = "True" if isinstance(verdict, Grant) else "Unknown"
        return end(observed, stop.reason, stop.message, accepted=accepted)
    if isinstance(verdict, Refusal):
        return refuse(observed, verdict)
    assert not isinstance(observed.policies, Refusal)  # noqa: S101  # judge has refused those
    return take_turn(observed, verdict, observed.policies)


def judge(observed: Observed) -> Grant | Refusal | None:
    """The verdict of the policies, or why they could not even be asked.

    None while the Pods are unseen, as they are after every restart: there may be a cell already,
    and a run that has waited long must not be refused for that.
    """
    if observed.watched and not observed.sees_pods:
        return None
    request = observed.run.request
    if isinstance(request, str):
        return Refusal(Reason.POLICY_REFUSED, request)
    if isinstance(observed.policies, Refusal):
        return observed.policies
    if not observed.sees_pods:
        return None
    maps, skills = observed.config_maps, observed.skills
    return evaluate(request, observed.policies, maps, skills, observed.site)


def take_turn(observed: Observed, grant: Grant, policies: tuple[BoundPolicy, ...]) -> Plan:
    """A granted run starts when it is its turn."""
    active, queued = queueing.bounds(policies)
    turn = queueing.turn(observed.place, policies)
    match turn:
        case queueing.Turn.NOW if (obstacle := unguarded(observed)) is not None:
            waiting = record.report(observed, Reason.PENDING, obstacle, accepted="True")
            return Plan(status=waiting, look_again=LOOK_SECONDS)
        case queueing.Turn.NOW:
            return Plan(launch=grant)
        case queueing.Turn.LATER:
            return Plan(status=queue(observed, active))
        case queueing.Turn.NEVER if says(observed.run, Reason.QUEUED):
            # Of two runs of the same second the later may go first: nobody loses a place for it.
            return Plan(status=queue(observed, active))
        case queueing.Turn.NEVER:
            message = f"`queuedRuns` is {queued}, and as many wait: create the run again later"
            return end(observed, Reason.POLICY_REFUSED, message, accepted="False")
        case _:
            assert_never(turn)


def unguarded(observed: Observed) -> str | None:
    """Why no cell may start at this moment, because nobody would know what it can reach."""
    return observed.lookout.obstacle() if observed.canary_answers else NO_CANARY


def queue(observed: Observed, active: int) -> dict[str, Any] | None:
    """The status of a run that waits for its turn."""
    message = f"`activeRuns` is {active}, and as many are active"
    return record.report(observed, Reason.QUEUED, message, accepted="True")


def says(run: Run, reason: Reason) -> bool:
    """Whether the status has this reason: that the run was given a place, for instance."""
    conditions = run.status.get("conditions", ())
    return any(condition["reason"] == reason for condition in conditions)


def refuse(observed: Observed, refusal: Refusal) -> Plan:
    """A refusal is final, unless what is missing may just be on its way."""
    left = seconds_left(START_SECONDS, observed.run.created, observed.now)
    if refusal.reason not in PASSING or left <= 0:
        return end(observed, refusal.reason, refusal.message, accepted="False")
    waiting = record.report(observed, Reason.PENDING, refusal.message, accepted="Unknown")
    return Plan(status=waiting, look_again=min(left, LOOK_SECONDS))


def denied(observed: Observed, grant: Grant, message: str) -> dict[str, Any] | None:
    """The API server did not take the cell: shown and tried again, it may be a quota or late sync.

    It looks for a RuntimeClass in its store: one that is missing after a while is not late.
    """
    name = grant.effective.runtime_class_name
    left = seconds_left(START_SECONDS, observed.run.created, observed.now)
    if f'RuntimeClass "{name}" not found' in message and left <= 0:
        sentence = f"RuntimeClass '{name}', which the policy names, does not exist"
        return end(observed, Reason.UNSCHEDULABLE, sentence).status
    return record.report(observed, Reason.PENDING, message, accepted="True")


def follow(observed: Observed, pod: Pod) -> Plan:
    """A run with a cell: record that it runs, how it ended, or what keeps it from starting."""
    if (outcome := outcome_of(observed, pod)) is not None:
        return end(observed, outcome.reason, outcome.message)
    if pod.running_since is not None:
        running = record.report(observed, Reason.RUNNING, "", accepted="True")
        return Plan(status=running, shorten=stopping.shortened(observed, pod))
    if ending.has_started(pod):
        # The agent has ended, and the Pod has not quite: it will say how.
        return Plan()
    return await_start(observed, pod)


def outcome_of(observed: Observed, pod: Pod) -> ending.Outcome | None:
    """How the run ended, or why it has to; None while it may go on."""
    ended = ending.of(pod)
    if ended is None:
        return (
            stopping.cancelled(observed)
            or stopping.breached(observed, pod)
            or stopping.revoked(observed, pod)
            or stopping.spent(observed)
        )
    if ended.reason is Reason.AGENT_FAILED:
        # An agent that gives up because nothing is answered any more.
        return stopping.spent(observed) or ended
    if ended.reason in ending.UNEXPLAINED and not ending.has_started(pod):
        return stopping.vanished_input(observed) or ending.no_sandbox(pod) or ended
    return ended


def await_start(observed: Observed, pod: Pod) -> Plan:
    """A cell whose agent has not started: say what it waits for, and do not wait for ever."""
    obstacle = ending.obstacle(pod) or stopping.vanished_input(observed)
    shorten = stopping.shortened(observed, pod)
    patience = SCHEDULE_SECONDS if is_unschedulable(obstacle) else START_SECONDS
    left = seconds_left(patience, pod.created, observed.now)
    if left <= 0:
        obstacle = obstacle or ending.no_sandbox(pod)
    if obstacle is None:
        # Nobody complains: a large image may take its time, which the kubelet's deadline bounds.
        return Plan(shorten=shorten, look_again=left if left > 0 else START_SECONDS)
    if left <= 0:
        return end(observed, obstacle.reason, obstacle.message)
    waiting = record.report(observed, Reason.PENDING, obstacle.message, accepted="True")
    return Plan(status=waiting, shorten=shorten, look_again=left)


def is_unschedulable(obstacle: ending.Outcome | None) -> bool:
    """Whether the cell waits for a node."""
    return obstacle is not None and obstacle.reason is Reason.UNSCHEDULABLE


def end(observed: Observed, reason: Reason, message: str, *, accepted: str = "True") -> Plan:
    """The last word on a run. What is left of its cell goes once this is written."""
    return Plan(status=record.report(observed, reason, message, accepted=accepted))


def seconds_left(patience: float, since: datetime, now: datetime) -> float:
    """How much is left of so many seconds."""
    return patience - (now - since).total_seconds()
