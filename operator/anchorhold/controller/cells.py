"""Creates cells. Names are deterministic, so what exists already is either ours or in the way."""

from collections.abc import Callable
from typing import Any

from anchorhold.api.status import Reason
from anchorhold.cell import network, pod, skills, task
from anchorhold.cluster import client, paths
from anchorhold.policy import window
from anchorhold.policy.grant import Grant, Refusal

Document = dict[str, Any]
ALREADY_EXISTS = "AlreadyExists"


async def launch(api: client.Client, grant: Grant, way_out: window.Window) -> Refusal | None:
    """Write task, skills and opening, then the Pod, so that nothing runs half made.

    Returns a refusal when something else has the name. Raises what `Client.create` raises.
    """
    namespace = grant.request.namespace
    for config_map in (task.config_map(grant), *skills.config_maps(grant)):
        stored = await create(api, paths.config_maps(namespace), paths.config_map, config_map)
        if not is_as_wanted(stored, config_map):
            return taken("ConfigMap", config_map)
    if grant.gateway:
        opening = network.network_policy(grant)
        network_policies = paths.network_policies(namespace)
        stored = await create(api, network_policies, paths.network_policy, opening)
        if stored["spec"] != opening["spec"]:
            return taken("NetworkPolicy", opening)
    manifest = pod.pod(grant, way_out)
    stored = await create(api, paths.pods(namespace), paths.pod, manifest)
    if not is_owned_by(stored, grant.request.uid):
        return taken("Pod", manifest)
    return None


async def create(
    api: client.Client, collection: str, one: Callable[[str, str], str], manifest: Document
) -> Document:
    """The object as created, or the one that has its name.

    A quota that many change at once conflicts too, and then nothing has the name.
    """
    try:
        return await api.create(collection, manifest)
    except client.ApiError as error:
        if error.reason != ALREADY_EXISTS:
            raise
    metadata = manifest["metadata"]
    return await api.get(one(metadata["namespace"], metadata["name"]))


def is_as_wanted(stored: Document, wanted: Document) -> bool:
    """Anyone who may create ConfigMaps could have made this one: its content must be ours."""
    same = all(stored.get(field) == wanted[field] for field in ("data", "immutable"))
    return same and "binaryData" not in stored


def is_owned_by(stored: Document, uid: str) -> bool:
    """Only the controller can create Pods here, so the owner tells whether it is this run's."""
    owners = stored["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == uid and owner.get("controller") for owner in owners)


def taken(kind: str, manifest: Document) -> Refusal:
    """What is in the way."""
    name = manifest["metadata"]["name"]
    return Refusal(Reason.NAME_TAKEN, f"{kind} '{name}' exists and does not belong to this run")
