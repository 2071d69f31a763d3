"""Reads the ConfigMaps that a run names, one by one: the controller may not list them."""

from collections.abc import Mapping
from http import HTTPStatus

from anchorhold.cluster import client, paths
from anchorhold.controller import ending
from anchorhold.controller.observed import Pod, Run
from anchorhold.policy import digest
from anchorhold.policy.evaluate import ConfigMapFacts


async def of(api: client.Client, run: Run, pod: Pod | None) -> Mapping[str, ConfigMapFacts]:
    """Those of the run's ConfigMap inputs that exist; nobody asks once the agent started."""
    if run.finished or (pod is not None and ending.has_started(pod)):
        return {}
    inputs = () if isinstance(run.request, str) else run.request.spec.inputs
    wanted = {item.config_map.name for item in inputs if item.config_map is not None}
    facts = {name: await read(api, run.key[0], name) for name in sorted(wanted)}
    return {name: fact for name, fact in facts.items() if fact is not None}


async def read(api: client.Client, namespace: str, name: str) -> ConfigMapFacts | None:
    """What matters of one; None if it does not exist. Raises what `Client.get` raises."""
    try:
        document = await api.get(paths.config_map(namespace, name))
    except client.ApiError as error:
        # Forbidden is what it is where the tenant's release is gone: there, runs must end too.
        if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            return None
        raise
    immutable = document.get("immutable") is True
    return ConfigMapFacts(immutable, digest.of_config_map(document))
