"""The cell: one literal Pod, complete, without a branch that could leave something out."""

from anchorhold import names
from anchorhold.cell import metadata, netgate
from anchorhold.policy import quantity
from anchorhold.policy.grant import Grant, GrantedInput, Source

# What the container's log may add to the workspace before the kubelet ends the cell.
LOG_MEBIBYTES = 64
# `/tmp` lives in memory and counts against the agent's memory limit.
TMP_SIZE = "64Mi"
GRACE_SECONDS = 5
# An unprivileged user that no image names; in a user namespace it is nobody on the node either.
USER_ID = 65532


def pod(grant: Grant) -> metadata.Manifest:
    """The Pod of a run. All that it is comes from the Grant or from this page."""
    name = names.child_name(grant.request.name, grant.request.uid)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata.granted(grant),
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": grant.effective.active_deadline_seconds,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "serviceAccountName": names.CELL_SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "hostUsers": False,
            "nodeSelector": dict(grant.placement.node_selector),
            "tolerations": [item.model_dump(mode="json") for item in grant.placement.tolerations],
            "priorityClassName": grant.placement.priority_class_name,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "supplementalGroupsPolicy": "Strict",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [netgate.container(grant, security(), readings(grant))],
            "containers": [agent(grant)],
            "volumes": [
                {"name": "task", "configMap": {"name": name, "optional": False}},
                {"name": "workspace", "emptyDir": {"sizeLimit": grant.effective.workspace}},
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": TMP_SIZE}},
                *(input_volume(item) for item in grant.inputs),
            ],
        },
    }


def agent(grant: Grant) -> metadata.Manifest:
    """The agent, which is expected to be hostile."""
    spec = grant.request.spec
    resources = {
        "cpu": grant.effective.cpu,
        "memory": grant.effective.memory,
        "ephemeral-storage": ephemeral_storage(grant.effective.workspace),
    }
    return {
        "name": names.AGENT_CONTAINER,
        "image": grant.effective.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [literal(word) for word in spec.command],
        "args": [literal(word) for word in spec.args],
        "workingDir": names.WORKSPACE_DIRECTORY,
        "env": [
            *({"name": item.name, "value": literal(item.value)} for item in spec.env),
            {"name": "HOME", "value": names.WORKSPACE_DIRECTORY},
            {"name": names.RESULT_VARIABLE, "value": names.RESULT_PATH},
        ],
        "resources": {"limits": resources, "requests": resources},
        "terminationMessagePath": names.RESULT_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": security(),
        "volumeMounts": [
            {"name": "workspace", "mountPath": names.WORKSPACE_DIRECTORY},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # a mount of the cell, not a file
            *readings(grant),
        ],
    }


def security() -> metadata.Manifest:
    """What a container of a cell may do: nothing that needs a privilege."""
    return {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def readings(grant: Grant) -> list[metadata.Manifest]:
    """What the agent reads, and the netgate before it."""
    return [
        read_only("task", names.TASK_DIRECTORY),
        *(input_mount(item) for item in grant.inputs),
    ]


def literal(text: str) -> str:
    """Escapes what the kubelet would expand: `$(NAME)` (Kubernetes, "Container" reference)."""
    return text.replace("$", "$$")


def ephemeral_storage(workspace: str) -> str:
    """What the node's disk may take of a cell: its workspace and its log."""
    return f"{quantity.mebibytes(workspace) + LOG_MEBIBYTES}Mi"


def read_only(volume: str, path: str) -> metadata.Manifest:
    """A mount that stays read-only below as well; a runtime that can't do that refuses the Pod."""
    return {
        "name": volume,
        "mountPath": path,
        "readOnly": True,
        "recursiveReadOnly": "Enabled",
    }


def input_mount(item: GrantedInput) -> metadata.Manifest:
    """Where the agent finds one input."""
    return read_only(f"input-{item.name}", f"{names.INPUTS_DIRECTORY}/{item.name}")


def input_volume(item: GrantedInput) -> metadata.Manifest:
    """The volume of one input."""
    sources: dict[Source, metadata.Manifest] = {
        Source.CONFIG_MAP: {"configMap": {"name": item.reference, "optional": False}},
        Source.CLAIM: {"persistentVolumeClaim": {"claimName": item.reference, "readOnly": True}},
        Source.IMAGE: {"image": {"reference": item.reference, "pullPolicy": "IfNotPresent"}},
    }
    return {"name": f"input-{item.name}", **sources[item.source]}
