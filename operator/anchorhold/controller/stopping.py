"""What ends or shortens a run from outside its cell: its author, and the policies of today. Pure.

Loosening never reaches a running run; tightening does.
"""

from anchorhold.api.status import Reason
from anchorhold.controller.ending import Outcome
from anchorhold.controller.observed import Observed, Pod
from anchorhold.policy import evaluate
from anchorhold.policy.grant import Refusal


def cancelled(observed: Observed) -> Outcome | None:
    """The end of a run that somebody cancelled."""
    request = observed.run.request
    if isinstance(request, str) or not request.spec.cancel:
        return None
    return Outcome(Reason.CANCELLED, "`cancel` was set")


def revoked(observed: Observed, pod: Pod) -> Outcome | None:
    """The end of a run whose policies or fence do not allow it any more."""
    if is_unseen(observed):
        return None
    sentence = objection(observed, pod)
    return None if sentence is None else Outcome(Reason.POLICY_REVOKED, sentence)


def breached(observed: Observed, pod: Pod) -> Outcome | None:
    """The end of a run on a node whose fence is down: what its sentinel reached, the agent can."""
    breach = observed.lookout.breach(pod.node)
    if breach is None:
        return None
    message = f"the fence of node '{pod.node}' went down while the cell was there: {breach}"
    return Outcome(Reason.BOUNDARY_OPEN, message)


def spent(observed: Observed) -> Outcome | None:
    """The end of a run with a spent budget: the gateway says so, which alone writes its usage."""
    what = (observed.run.status.get("usage") or {}).get("exhausted")
    if not what:
        return None
    return Outcome(Reason.BUDGET_EXHAUSTED, f"`egress.{what}` is spent")


def is_unseen(observed: Observed) -> bool:
    """Whether the namespace's wall is not listed yet, as after every restart: it may well stand."""
    return observed.watched and not observed.sees_pods


def objection(observed: Observed, pod: Pod) -> str | None:
    """Why the run may not go on, or None if it may."""
    request, policies = observed.run.request, observed.policies
    if isinstance(policies, Refusal):
        return policies.message
    if isinstance(request, str):
        # It cannot be judged again, and need not be while nothing has changed.
        return None if pod.record.get("policies") == evaluate.applied(policies) else request
    return evaluate.revoked(request, policies, pod.seccomp, pod.skills) or evaluate.exchanged_wall(
        pod.record.get("effective", {}), policies
    )


def shortened(observed: Observed, pod: Pod) -> tuple[Pod, int] | None:
    """The cell's new deadline, where the policies of today allow less than it was given."""
    if isinstance(observed.policies, Refusal) or pod.deadline_seconds is None:
        return None
    bound = evaluate.longest_deadline(observed.policies)
    return (pod, bound) if bound < pod.deadline_seconds else None


def retention(observed: Observed) -> float | None:
    """For how many seconds the record is kept; None is for ever. The policy of today counts."""
    request = observed.run.request
    asked = None if isinstance(request, str) else request.spec.ttl_seconds_after_finished
    if asked is None or isinstance(observed.policies, Refusal):
        return asked
    return max(asked, evaluate.shortest_retention(observed.policies))


def vanished_input(observed: Observed) -> Outcome | None:
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
    return Outcome(Reason.INPUT_MISSING, f"ConfigMap '{gone}' does not exist any more")
