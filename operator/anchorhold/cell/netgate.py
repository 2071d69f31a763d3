"""The init container that lets the agent start only behind a closed fence: see `inside.netgate`."""

from anchorhold import names
from anchorhold.cell import metadata, skills, task
from anchorhold.policy import digest
from anchorhold.policy.grant import Grant
from anchorhold.policy.window import Window

# Enough for Python and what a cell has mounted.
MEMORY, STORAGE = "64Mi", "16Mi"


def container(
    grant: Grant, way_out: Window, security: metadata.Manifest, mounts: list[metadata.Manifest]
) -> metadata.Manifest:
    """Ours, with the agent's confinement and what the agent will read, and nothing else.

    It has the agent's CPU before the agent has it, so that the cell takes no more room for it.
    """
    resources = {"cpu": grant.effective.cpu, "memory": MEMORY, "ephemeral-storage": STORAGE}
    return {
        "name": names.NETGATE_CONTAINER,
        "image": grant.site.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-S", "-P", "-m", "anchorhold.inside.netgate"],
        "env": [
            {"name": "ANCHORHOLD_DIGESTS", "value": digest.canonical(digests(grant))},
            {"name": "ANCHORHOLD_ISOLATION", "value": grant.effective.isolation},
            {"name": "ANCHORHOLD_CANARY", "value": grant.site.canary},
            {"name": "ANCHORHOLD_CLOSED", "value": " ".join(grant.site.closed)},
            {"name": names.GATEWAY_VARIABLE, "value": way_out.address},
            {"name": names.TOKEN_VARIABLE, "value": way_out.token},
            {
                "name": "ANCHORHOLD_NODE_ADDRESSES",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIPs"}},
            },
        ],
        "resources": {"limits": resources, "requests": resources},
        "terminationMessagePath": names.RESULT_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": security,
        "volumeMounts": mounts,
    }


def digests(grant: Grant) -> dict[str, str]:
    """What each folder must hold, by where it is mounted."""
    files = {name: text.encode("utf-8", "replace") for name, text in task.files(grant).items()}
    inputs = {f"{names.INPUTS_DIRECTORY}/{i.name}": i.digest for i in grant.inputs if i.digest}
    return {names.TASK_DIRECTORY: digest.of_files(files), **inputs, **skills.digests(grant)}
