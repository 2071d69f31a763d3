"""The cell: one literal Pod, complete, without a branch that could leave something out."""

from anchorhold import names
from anchorhold.api.policy import Isolation, Seccomp
from anchorhold.cell import environment, metadata, netgate, skills
from anchorhold.policy import quantity
from anchorhold.policy.grant import Grant, GrantedInput, Source
from anchorhold.policy.window import CLOSED, Window

# What the container's log may add to the workspace before the kubelet ends the cell.
LOG_MEBIBYTES = 64
# `/tmp` lives in memory and counts against the agent's memory limit.
TMP_SIZE = "64Mi"
GRACE_SECONDS = 5
# An unprivileged user that no image names; in a user namespace it is nobody on the node either.
USER_ID = 65532
# gVisor does not know this option of mounts, and does not need it: there, a volume is one mount,
# whatever is mounted below it on the node.
RECURSIVE = {Isolation.USER_NAMESPACE.value: "Enabled", Isolation.RUNTIME_CLASS.value: "IfPossible"}


def pod(grant: Grant, way_out: Window = CLOSED) -> metadata.Manifest:
    """The Pod of a run. All that it is comes from the Grant, from its window or from this page."""
    name = names.child_name(grant.request.name, grant.request.uid)
    runtime_class = grant.effective.runtime_class_name or None
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
            # One of two walls, which exclude each other; admission refuses a cell with neither.
            "hostUsers": runtime_class is not None,
            "runtimeClassName": runtime_class,
            "nodeSelector": dict(grant.placement.node_selector),
            "tolerations": [item.model_dump(mode="json") for item in grant.placement.tolerations],
            "priorityClassName": grant.placement.priority_class_name,
            "securityContext": {**nobody(grant), "supplementalGroupsPolicy": "Strict"},
            "initContainers": [netgate.container(grant, way_out, security(grant), readings(grant))],
            "containers": [agent(grant, way_out)],
            "volumes": [
                {"name": "task", "configMap": {"name": name, "optional": False}},
                {"name": "workspace", "emptyDir": {"sizeLimit": grant.effective.workspace}},
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": TMP_SIZE}},
                *(input_volume(item) for item in grant.inputs),
                *skills.volumes(grant),
            ],
        },
    }


def agent(grant: Grant, way_out: Window) -> metadata.Manifest:
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
        "command": [environment.literal(word) for word in spec.command],
        "args": [environment.literal(word) for word in spec.args],
        "workingDir": names.WORKSPACE_DIRECTORY,
        "env": environment.of_agent(grant, way_out),
        "resources": {"limits": resources, "requests": resources},
        "terminationMessagePath": names.RESULT_PATH,
        "terminationMessagePolicy": "File",
        "securityContext": security(grant),
        "volumeMounts": [
            {"name": "workspace", "mountPath": names.WORKSPACE_DIRECTORY},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # a mount of the cell, not a file
            *readings(grant),
        ],
    }


def seccomp(grant: Grant) -> metadata.Manifest:
    """Which system calls a cell may make. A node that lacks the file does not start it."""
    if grant.effective.seccomp == Seccomp.RUNTIME_DEFAULT:
        return {"type": "RuntimeDefault"}
    return {"type": "Localhost", "localhostProfile": grant.effective.seccomp}


def security(grant: Grant) -> metadata.Manifest:
    """What a container of a cell may do: nothing that needs a privilege."""
    return {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **nobody(grant),
    }


def nobody(grant: Grant) -> metadata.Manifest:
    """Who a cell runs as, said of the Pod and of each container."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "seccompProfile": seccomp(grant),
    }


def readings(grant: Grant) -> list[metadata.Manifest]:
    """What the agent reads, and the netgate before it."""
    return [
        read_only(grant, "task", names.TASK_DIRECTORY),
        *(input_mount(grant, item) for item in grant.inputs),
        *(read_only(grant, v["name"], names.SKILLS_DIRECTORY) for v in skills.volumes(grant)),
    ]


def ephemeral_storage(workspace: str) -> str:
    """What the node's disk may take of a cell: its workspace and its log."""
    return f"{quantity.mebibytes(workspace) + LOG_MEBIBYTES}Mi"


def read_only(grant: Grant, volume: str, path: str) -> metadata.Manifest:
    """A mount that stays read-only below as well; a runtime that can't do that refuses the Pod."""
    return {
        "name": volume,
        "mountPath": path,
        "readOnly": True,
        "recursiveReadOnly": RECURSIVE[grant.effective.isolation],
    }


def input_mount(grant: Grant, item: GrantedInput) -> metadata.Manifest:
    """Where the agent finds one input."""
    return read_only(grant, f"input-{item.name}", f"{names.INPUTS_DIRECTORY}/{item.name}")


def input_volume(item: GrantedInput) -> metadata.Manifest:
    """The volume of one input."""
    sources: dict[Source, metadata.Manifest] = {
        Source.CONFIG_MAP: {"configMap": {"name": item.reference, "optional": False}},
        Source.CLAIM: {"persistentVolumeClaim": {"claimName": item.reference, "readOnly": True}},
        Source.IMAGE: {"image": {"reference": item.reference, "pullPolicy": "IfNotPresent"}},
    }
    return {"name": f"input-{item.name}", **sources[item.source]}
