"""The ConfigMap that carries the task into the cell."""

from anchorhold import names
from anchorhold.cell import metadata
from anchorhold.policy.grant import Grant


def config_map(grant: Grant) -> metadata.Manifest:
    """The task, immutable: what was granted is what the agent reads."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.child(grant.request),
        "immutable": True,
        "data": {names.TASK_KEY: grant.request.spec.task},
    }
