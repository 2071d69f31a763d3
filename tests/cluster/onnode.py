"""What the node itself has of a Pod: looked at from outside of every cell."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bed.installation import CLUSTER
from bed.kube import Document, Kubectl
from onenode import cgroups, components, procfs, state

KUBELET = CLUSTER / "node" / "kubelet" / "pods"
LOGS = CLUSTER / "log" / "pods"
CONTAINERD = CLUSTER / "node" / "containerd"


def traces(pod: Document) -> dict[str, list[str]]:
    """All that is left of a Pod, by kind; kinds without any are left out."""
    uid, sandboxes = pod["metadata"]["uid"], identities(pod)
    found = {
        "files": [str(path) for path in (KUBELET / uid, *LOGS.glob(f"*_{uid}")) if path.exists()],
        "control groups": [str(path) for path in groups(uid)],
        "processes": [str(pid) for pid in processes(uid)],
        "mounts": [m.point for m in node_mounts() if any(i in m.point for i in (uid, *sandboxes))],
        "containers": [str(path) for i in sandboxes for path in CONTAINERD.glob(f"*/*/{i}")],
    }
    return {kind: names for kind, names in found.items() if names}


def identities(pod: Document) -> list[str]:
    """The runtime's names of its containers."""
    kinds = ("initContainerStatuses", "containerStatuses")
    statuses = [status for kind in kinds for status in pod["status"].get(kind, [])]
    return [s["containerID"].rpartition("/")[2] for s in statuses if "containerID" in s]


def groups(uid: str) -> list[Path]:
    """Its control groups in every hierarchy."""
    roots = cgroups.roots(procfs.mounts())
    return [path for root in roots for path in root.rglob(f"*{uid}*") if path.is_dir()]


def processes(uid: str) -> Iterator[int]:
    """Every process of the machine that runs in one of them."""
    for pid in procfs.pids():
        try:
            told = (procfs.PROC / str(pid) / "cgroup").read_text()
        except OSError:
            continue
        if uid in told:
            yield pid


def holder() -> int:
    """The process whose mount namespace is the node's."""
    record = state.load()
    assert record is not None
    return record.processes[components.MOUNTS].pid


def node_mounts() -> list[procfs.Mount]:
    """The mounts of the node's own namespace."""
    return procfs.parse_mounts((procfs.PROC / str(holder()) / "mountinfo").read_text())


def termination_file(pod: Document) -> Path:
    """Where the kubelet keeps what the agent said last."""
    (found,) = (KUBELET / pod["metadata"]["uid"] / "containers" / "agent").iterdir()
    return found


def mebibytes(path: Path) -> int:
    """What a file or a folder takes of the disk."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(os.lstat(each).st_blocks for each in paths) * 512 // 2**20


def through(path: Path) -> Path:
    """A path of the node, for whoever is not in its mount namespace."""
    return procfs.PROC / str(holder()) / "root" / path.relative_to("/")


def holding(text: str) -> list[str]:
    """Every file that the kubelet or the runtime keeps on disk and that contains a text."""
    words = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--", text]
    kept = [str(folder) for folder in (KUBELET, LOGS, CONTAINERD) if folder.exists()]
    found = subprocess.run([*words, *kept], capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.splitlines()


def conditions(kubectl: Kubectl) -> dict[str, Document]:
    """What the node says of itself, and since when."""
    (found,) = kubectl.items("nodes")
    keep = ("status", "lastTransitionTime")
    return {c["type"]: {k: c[k] for k in keep} for c in found["status"]["conditions"]}
