"""The status of a run as it ought to be, from what was observed and what was decided. Pure."""

from collections.abc import Mapping
from typing import Any

from anchorhold.api.status import Reason
from anchorhold.controller import ending, status
from anchorhold.controller.observed import Observed, Pod, Run

# gVisor, for one, filters what it asks of the node itself, and not what the agent asks of it.
UNFILTERED = {
    "what": "system calls: no seccomp filter holds the agent",
    "setting": "none under a RuntimeClass that brings its own kernel",
}


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
        **unenforced(observed),
        **completion(run, observed, reason),
        **({"requestedBy": run.requested_by} if run.requested_by else {}),
    }
    return whole if status.changed(run.status, whole) else None


def of_pod(pod: Pod) -> dict[str, Any]:
    """What the cell itself says: what it was granted, where it ran, and what it returned."""
    facts: dict[str, Any] = {**pod.record, "podName": pod.name}
    if pod.node:
        facts["nodeName"] = pod.node
    if pod.gate is not None:
        verified = pod.gate.reason in ("", Reason.GATEWAY_UNAVAILABLE)
        milliseconds = pod.gate.open_milliseconds
        facts["boundary"] = {"verified": verified, "openMilliseconds": milliseconds}
    ended = pod.termination
    if (started := ended.started if ended is not None else pod.running_since) is not None:
        facts["startTime"] = started
    if ended is not None and ended.started is not None:
        facts["result"] = status.result(ended.message)
        if ending.by_itself(pod):
            facts["exitCode"] = ended.exit_code
    return facts


def unenforced(observed: Observed) -> dict[str, Any]:
    """What does not hold the cell, as it was known when its netgate had looked around."""
    pod, known = observed.pod, observed.run.status
    if pod is None or not pod.node or (pod.gate is None and "unenforced" in known):
        return {}
    if "boundary" in known:
        return {}
    found = observed.lookout.unenforced(pod.node)
    unfiltered = pod.gate is not None and not pod.gate.filtered
    return {"unenforced": [UNFILTERED, *found] if unfiltered else found}


def completion(run: Run, observed: Observed, reason: Reason) -> Mapping[str, Any]:
    """When the run ended: the agent's own end where it had one."""
    if reason in status.UNDER_WAY:
        return {}
    ended = observed.pod.termination if observed.pod is not None else None
    finished = ended.finished if ended is not None else None
    known = run.status.get("completionTime")
    return {"completionTime": known or finished or status.instant(observed.now)}
