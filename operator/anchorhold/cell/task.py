"""The ConfigMap that carries the task into the cell."""

from anchorhold import names
from anchorhold.api.egress import INTERCEPT
from anchorhold.cell import metadata
from anchorhold.policy.grant import Grant


def config_map(grant: Grant) -> metadata.Manifest:
    """The task, immutable: what was granted is what the agent reads."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata.child(grant.request),
        "immutable": True,
        "data": files(grant),
    }


def files(grant: Grant) -> dict[str, str]:
    """The task, and whom to trust in tunnels that the gateway reads, for whoever has one."""
    task = {names.TASK_KEY: grant.request.spec.task}
    if not any(rule.mode == INTERCEPT for rule in grant.rules):
        return task
    return {**task, names.CELL_AUTHORITY: grant.site.authority}
