"""`decide`: what to do about one run, from what was observed. Pure, and the same every time.

Level-based: it asks what is, never what happened, so that a restart, a duplicate event or a crash
between two writes changes nothing in the end.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from anchorhold.api.status import Reason
from anchorhold.controller import ending, record
from anchorhold.controller.observed import Observed, Pod, Run, has_ended, moment
from anchorhold.policy import queueing
from anchorhold.policy.evaluate import (
    evaluate,
    longest_deadline,
    revoked,
    shortest_retention,
)
from anchorhold.policy.grant import BoundPolicy, Grant, Refusal

# How long something may keep a run from starting. The kubelet's own deadline does not cover this:
# an unschedulable Pod never starts its clock. A new node takes longer to come than a registry.
START_SECONDS = 60.0
SCHEDULE_SECONDS = 180.0
# How often to look for what nobody tells us of.
LOOK_SECONDS = 2.0
# What may still turn up in that time: a ConfigMap or a binding that is applied after the run.
PASSING = (Reason.INPUT_MISSING, Reason.NOT_ONBOARDED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, each at most once, and in how many seconds to look again.

    `shorten` is a Pod and the seconds of its new deadline; `delete_run` ends the record itself.
    """

    launch: Grant | None = None
    status: dict[str, Any] | None = None
    shorten: tuple[Pod, int] | None = None
    delete_pod: Pod | None = None
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
    return cancelled(observed) or start(observed)


def after_the_end(observed: Observed) -> Plan:
    """The record is written: what is left of the cell goes, and later the record itself.

    First the record, then the Pod: a crash in between must not let it start after all.
    """
    pod = observed.pod
    if pod is not None and not has_ended(pod) and not pod.deleting:
        return Plan(delete_pod=pod)
    kept = retention(observed)
    if kept is None or observed.run.deleting:
        return Plan()
    left = seconds_left(kept, moment(observed.run.status["completionTime"]), observed.now)
    return Plan(look_again=left) if left > 0 else Plan(delete_run=True)


def retention(observed: Observed) -> float | None:
    """For how many seconds the record is kept; None is for ever. The policy of today counts."""
    request = observed.run.request
    asked = None if isinstance(request, str) else request.spec.ttl_seconds_after_finished
    if asked is None or isinstance(observed.policies, Refusal):
        return asked
    return max(asked, shortest_retention(observed.policies))


def cancelled(observed: Observed) -> Plan | None:
    """The end of a run that somebody cancelled."""
    request = observed.run.request
    if isinstance(request, str) or not request.spec.cancel:
        return None
    return end(observed, Reason.CANCELLED, "`cancel` was set")


def start(observed: Observed) -> Plan:
    """A run without a cell: grant it one, let it wait, or refuse it."""
    verdict = judge(observed)
    if verdict is None:
        message = "the controller has not listed the namespace's Pods yet"
        waiting = record.report(observed, Reason.PENDING, message, accepted="Unknown")
        # Only its status says that a run was given a place: that word stays.
        kept = is_queued(observed.run)
        return Plan(status=None if kept else waiting, look_again=LOOK_SECONDS)
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
    return evaluate(request, observed.policies, observed.config_maps)


def take_turn(observed: Observed, grant: Grant, policies: tuple[BoundPolicy, ...]) -> Plan:
    """A granted run starts when it is its turn."""
    active, queued = queueing.bounds(policies)
    turn = queueing.turn(observed.place, policies)
    match turn:
        case queueing.Turn.NOW:
            return Plan(launch=grant)
        case queueing.Turn.LATER:
            return Plan(status=queue(observed, active))
        case queueing.Turn.NEVER if is_queued(observed.run):
            # Of two runs of the same second the later may go first: nobody loses a place for it.
            return Plan(status=queue(observed, active))
        case queueing.Turn.NEVER:
            message = f"`queuedRuns` is {queued}, and as many wait: create the run again later"
            return end(observed, Reason.POLICY_REFUSED, message, accepted="False")
        case _:
            assert_never(turn)


def queue(observed: Observed, active: int) -> dict[str, Any] | None:
    """The status of a run that waits for its turn."""
    message = f"`activeRuns` is {active}, and as many are active"
    return record.report(observed, Reason.QUEUED, message, accepted="True")


def is_queued(run: Run) -> bool:
    """Whether the run was given a place before."""
    conditions = run.status.get("conditions", ())
    return any(condition["reason"] == Reason.QUEUED for condition in conditions)


def refuse(observed: Observed, refusal: Refusal) -> Plan:
    """A refusal is final, unless what is missing may just be on its way."""
    left = seconds_left(START_SECONDS, observed.run.created, observed.now)
    if refusal.reason not in PASSING or left <= 0:
        return end(observed, refusal.reason, refusal.message, accepted="False")
    waiting = record.report(observed, Reason.PENDING, refusal.message, accepted="Unknown")
    return Plan(status=waiting, look_again=min(left, LOOK_SECONDS))


def follow(observed: Observed, pod: Pod) -> Plan:
    """A run with a cell: record that it runs, how it ended, or what keeps it from starting."""
    if (outcome := ending.of(pod)) is not None:
        if outcome.reason is Reason.LOST and not ending.has_started(pod):
            outcome = missing_config_map(observed) or outcome
        return end(observed, outcome.reason, outcome.message)
    stop = cancelled(observed) or revoked_plan(observed)
    if stop is not None:
        return stop
    shorten = shortened(observed, pod)
    if pod.running_since is not None:
        return Plan(
            shorten=shorten, status=record.report(observed, Reason.RUNNING, "", accepted="True")
        )
    if ending.has_started(pod):
        # The agent has ended, and the Pod has not quite: it will say how.
        return Plan()
    return await_start(observed, pod)


def revoked_plan(observed: Observed) -> Plan | None:
    """The end of a run whose policy or fence does not allow it any more."""
    request, policies = observed.run.request, observed.policies
    if observed.watched and not observed.sees_pods:
        return None
    if isinstance(policies, Refusal):
        return end(observed, Reason.POLICY_REVOKED, policies.message)
    sentence = None if isinstance(request, str) else revoked(request, policies)
    return None if sentence is None else end(observed, Reason.POLICY_REVOKED, sentence)


def shortened(observed: Observed, pod: Pod) -> tuple[Pod, int] | None:
    """The cell's new deadline, where the policies of today allow less than it was given."""
    if isinstance(observed.policies, Refusal) or pod.deadline_seconds is None:
        return None
    bound = longest_deadline(observed.policies)
    return (pod, bound) if bound < pod.deadline_seconds else None


def await_start(observed: Observed, pod: Pod) -> Plan:
    """A cell whose agent has not started: say what it waits for, and do not wait for ever."""
    obstacle = ending.obstacle(pod) or missing_config_map(observed)
    patience = SCHEDULE_SECONDS if is_unschedulable(obstacle) else START_SECONDS
    left = seconds_left(patience, pod.created, observed.now)
    if obstacle is None:
        # Nobody complains: a large image may take its time, which the kubelet's deadline bounds.
        return Plan(look_again=left if left > 0 else START_SECONDS)
    if left <= 0:
        return end(observed, obstacle.reason, obstacle.message)
    waiting = record.report(observed, Reason.PENDING, obstacle.message, accepted="True")
    return Plan(status=waiting, look_again=left)


def is_unschedulable(obstacle: ending.Outcome | None) -> bool:
    """Whether the cell waits for a node."""
    return obstacle is not None and obstacle.reason is Reason.UNSCHEDULABLE


def missing_config_map(observed: Observed) -> ending.Outcome | None:
    """An input that was there when the cell was made and is not any more: no component says so.

    An agent that was seen to run had it.
    """
    request = observed.run.request
    if isinstance(request, str) or "startTime" in observed.run.status:
        return None
    wanted = (item.config_map.name for item in request.spec.inputs if item.config_map is not None)
    gone = next((name for name in wanted if name not in observed.config_maps), None)
    if gone is None:
        return None
    return ending.Outcome(Reason.INPUT_MISSING, f"ConfigMap '{gone}' does not exist any more")


def end(observed: Observed, reason: Reason, message: str, *, accepted: str = "True") -> Plan:
    """The last word on a run. What is left of its cell goes once this is written."""
    return Plan(status=record.report(observed, reason, message, accepted=accepted))


def seconds_left(patience: float, since: datetime, now: datetime) -> float:
    """How much is left of so many seconds."""
    return patience - (now - since).total_seconds()
