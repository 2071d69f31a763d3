"""The Events that a run's author sees in `kubectl describe`: only for runs that failed."""

from typing import Any

from anchorhold import names
from anchorhold.controller.observed import Run

# The API's own bound (core/v1 Event).
MAX_MESSAGE = 1_024


def of_run(run: Run, reason: str, message: str, at: str) -> dict[str, Any]:
    """A warning about a run, `at` a time in RFC 3339.

    Its name is deterministic, so that a repeat is the same Event.
    """
    namespace, name = run.key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{names.child_name(name, run.uid)}.{reason.lower()}",
            "namespace": namespace,
        },
        "type": "Warning",
        "reason": reason,
        "message": message[:MAX_MESSAGE],
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": "AgentRun",
            "namespace": namespace,
            "name": name,
            "uid": run.uid,
        },
        "source": {"component": names.CONTROLLER},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
