"""`decide`: what to do about one run, from what was observed. Pure, and the same every time.

Level-based: it asks what is, never what happened, so that a restart, a duplicate event or a crash
between two writes changes nothing in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from anchorhold import names
from anchorhold.api.status import Reason
from anchorhold.controller import ending, status
from anchorhold.controller.observed import Observed, Pod, Run, has_ended
from anchorhold.policy import queueing
from anchorhold.policy.evaluate import evaluate
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
    """What to write: at most one cell, one status and one deletion, and when to look again."""

    launch: Grant | None = None
    status: dict[str, Any] | None = None
    delete_pod: Pod | None = None
    look_again: float | None = None


def decide(observed: Observed) -> Plan:
    """The next step of a run."""
    run, pod = observed.run, observed.pod
    if run.finished:
        # First the record, then the Pod: a crash in between must not let it start after all.
        left = pod is not None and not has_ended(pod) and not pod.deleting
        return Plan(delete_pod=pod if left else None)
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


def start(observed: Observed) -> Plan:
    """A run without a cell: grant it one, let it wait, or refuse it."""
    verdict = judge(observed)
    if verdict is None:
        message = "the controller has not listed the namespace's Pods yet"
        waiting = report(observed, Reason.PENDING, message, accepted="Unknown")
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
    return report(observed, Reason.QUEUED, message, accepted="True")


def is_queued(run: Run) -> bool:
    """Whether the run was given a place before."""
    conditions = run.status.get("conditions", ())
    return any(condition["reason"] == Reason.QUEUED for condition in conditions)


def refuse(observed: Observed, refusal: Refusal) -> Plan:
    """A refusal is final, unless what is missing may just be on its way."""
    left = seconds_left(START_SECONDS, observed.run.created, observed.now)
    if refusal.reason not in PASSING or left <= 0:
        return end(observed, refusal.reason, refusal.message, accepted="False")
    waiting = report(observed, Reason.PENDING, refusal.message, accepted="Unknown")
    return Plan(status=waiting, look_again=min(left, LOOK_SECONDS))


def follow(observed: Observed, pod: Pod) -> Plan:
    """A run with a cell: record that it runs, how it ended, or what keeps it from starting."""
    if (outcome := ending.of(pod)) is not None:
        if outcome.reason is Reason.LOST and not ending.has_started(pod):
            outcome = missing_config_map(observed) or outcome
        return end(observed, outcome.reason, outcome.message)
    if pod.running_since is not None:
        return Plan(status=report(observed, Reason.RUNNING, "", accepted="True"))
    if ending.has_started(pod):
        # The agent has ended, and the Pod has not quite: it will say how.
        return Plan()
    return await_start(observed, pod)


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
    waiting = report(observed, Reason.PENDING, obstacle.message, accepted="True")
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
    return Plan(status=report(observed, reason, message, accepted=accepted))


def report(
    observed: Observed, reason: Reason, message: str, *, accepted: str
) -> dict[str, Any] | None:
    """The status that says so, or None if it is said already."""
    run = observed.run
    wanted = status.conditions(
        reason, status.sentence(message), accepted=accepted, generation=run.generation
    )
    before = run.status.get("conditions", ())
    whole = {
        "observedGeneration": run.generation,
        "conditions": status.dated(wanted, before, observed.now),
        **(of_pod(observed.pod) if observed.pod is not None else {}),
        **completion(run, observed, reason),
    }
    return whole if status.changed(run.status, whole) else None


def of_pod(pod: Pod) -> dict[str, Any]:
    """What the cell itself says: what it was granted, where it ran, and what it returned."""
    facts: dict[str, Any] = {**pod.record, "podName": pod.name}
    if pod.node:
        facts["nodeName"] = pod.node
    ended = pod.termination
    if (started := ended.started if ended is not None else pod.running_since) is not None:
        facts["startTime"] = started
    if ended is not None and ended.started is not None:
        facts["result"] = status.result(ended.message)
        if ending.by_itself(pod):
            facts["exitCode"] = ended.exit_code
    return facts


def completion(run: Run, observed: Observed, reason: Reason) -> Mapping[str, Any]:
    """When the run ended: the agent's own end where it had one."""
    if reason in status.UNDER_WAY:
        return {}
    ended = observed.pod.termination if observed.pod is not None else None
    finished = ended.finished if ended is not None else None
    known = run.status.get("completionTime")
    return {"completionTime": known or finished or status.instant(observed.now)}


def seconds_left(patience: float, since: datetime, now: datetime) -> float:
    """How much is left of so many seconds."""
    return patience - (now - since).total_seconds()


def child_pod(run: Run) -> str:
    """The name of the run's Pod."""
    return names.child_name(run.key[1], run.uid)
