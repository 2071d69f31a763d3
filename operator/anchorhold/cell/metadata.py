"""What everything that a run owns is called, and how it shows whose it is."""

from typing import Any

from anchorhold import names
from anchorhold.policy import digest
from anchorhold.policy.grant import Grant, Request

Manifest = dict[str, Any]


def child(request: Request) -> Manifest:
    """Name, labels and owner. Labels of the run's author are never copied: selectors trust ours.

    `blockOwnerDeletion` is false, because setting it takes rights on the owner that the
    controller must not have; the garbage collector deletes the child all the same.
    """
    return {
        "name": names.child_name(request.name, request.uid),
        "namespace": request.namespace,
        "labels": {
            names.RUN_LABEL: request.uid,
            names.MANAGED_BY_LABEL: names.MANAGED_BY,
        },
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": "AgentRun",
                "name": request.name,
                "uid": request.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def granted(grant: Grant) -> Manifest:
    """The same, with what was granted: the status of the run is written from it.

    So a restart between creating the cell and writing the status loses nothing, and a policy
    that changed in between does not change what the record says.
    """
    record = {
        "policies": [policy.model_dump(mode="json") for policy in grant.policies],
        "effective": grant.effective.model_dump(mode="json", exclude_none=True),
    }
    return {
        **child(grant.request),
        "annotations": {
            names.GRANT_ANNOTATION: grant.effective.digest,
            names.EFFECTIVE_ANNOTATION: digest.canonical(record),
            names.RULES_ANNOTATION: " ".join(f"{r.name}={r.digest}" for r in grant.effective.rules),
        },
    }
