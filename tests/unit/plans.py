"""What the tests of `plan.decide` share: statuses as they are wanted, and time that goes by."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from anchorhold.api.status import Reason
from anchorhold.controller.observed import Observed, Run
from anchorhold.controller.plan import Plan
from anchorhold.policy.evaluate import ConfigMapFacts
from anchorhold.policy.grant import Refusal
from factories import NOW, NOW_TEXT, POD_NAME, RECORD, STARTED, make_policy, read_policies

Document = dict[str, Any]

OF_THE_CELL: Document = {**RECORD, "podName": POD_NAME, "nodeName": "node-1", "unenforced": []}
NOT_BOUND = Refusal(Reason.NOT_ONBOARDED, "namespace 'team-a' has no binding")
SETTINGS: Document = {"inputs": [{"name": "conf", "configMap": {"name": "settings"}}]}
FACTS: Mapping[str, ConfigMapFacts] = {
    "settings": ConfigMapFacts(immutable=True, digest="sha256:" + "d" * 64)
}
ANY_CONFIG_MAP = read_policies(make_policy(inputs={"configMaps": [{"name": "*"}]}))
MISSING = "`inputs['conf'].configMap.name` 'settings' does not exist in the namespace"
VANISHED = "ConfigMap 'settings' does not exist any more"
UNSEEN = "the controller has not listed the namespace's Pods yet"


def said(reason: str, message: str, accepted: str, succeeded: str, **facts: object) -> Document:
    """A whole status that says so for the first time now."""
    granted = accepted == "True"
    rows = (
        ("Accepted", accepted, "Granted" if granted else reason, "" if granted else message),
        ("Succeeded", succeeded, reason, message),
        ("Ready", "True" if succeeded == "True" else "False", reason, message),
        ("Stalled", "True" if succeeded == "False" else "False", reason, message),
    )
    return {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": kind,
                "status": word,
                "reason": why,
                "message": told,
                "observedGeneration": 1,
                "lastTransitionTime": NOW_TEXT,
            }
            for kind, word, why, told in rows
        ],
        **facts,
    }


QUEUED = said("Queued", "`activeRuns` is 2, and as many are active", "True", "Unknown")
RUNNING = said("Running", "", "True", "Unknown", **OF_THE_CELL, startTime=STARTED)
GONE = said(
    "Lost",
    "the cell's Pod is gone, and its record with it",
    "True",
    "False",
    completionTime=NOW_TEXT,
)


def later(seconds: float) -> datetime:
    """So many seconds after the run and its Pod were created."""
    return NOW + timedelta(seconds=seconds - 10)


def ended(decided: Plan) -> bool:
    """Whether the plan is the last word on the run."""
    conditions = (decided.status or {}).get("conditions", ())
    return any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)


def reason_of(decided: Plan) -> tuple[str, str]:
    """The reason and the message that the plan writes for `Succeeded`."""
    assert decided.status is not None
    succeeded = decided.status["conditions"][1]
    return succeeded["reason"], succeeded["message"]


def dated(wanted: Document, now: str) -> Document:
    """The same status, said at another time."""
    conditions = [{**condition, "lastTransitionTime": now} for condition in wanted["conditions"]]
    return {**wanted, "conditions": conditions}


def written(observed: Observed, decided: Plan) -> Observed:
    """What is observed after the status was patched into the run."""
    run: Run = observed.run
    merged = {**run.status, **(decided.status or {})}
    return dataclasses.replace(observed, run=dataclasses.replace(run, status=merged))
