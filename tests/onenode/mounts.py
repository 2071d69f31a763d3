"""A mount namespace that all components share, so that no mount of theirs appears on the machine.

In it the folders whose paths the components have built in are ours: what the kubelet, containerd or
a network plug-in mounts there is gone with the node, what it writes there lies in our own folder.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from onenode.paths import RUN, Places
from onenode.processes import Process

READY = RUN / "mounts-ready"


def folders(places: Places) -> dict[Path, Path]:
    """Return what lies over which folder of the machine."""
    return {
        Path("/var/lib/kubelet"): places.data / "kubelet",
        Path("/var/lib/cni"): places.data / "cni-state",
        Path("/var/log/pods"): places.log / "pods",
        Path("/var/log/containers"): places.log / "containers",
        # The sockets of containerd's shims.
        Path("/run/containerd"): RUN / "shims",
    }


def missing(places: Places) -> tuple[str, ...]:
    """Return the folders that this machine does not have, and that must go with the node."""
    return tuple(str(point) for point in folders(places) if not point.exists())


def prepare(places: Places) -> None:
    """Make the folders on both sides."""
    for point, ours in folders(places).items():
        ours.mkdir(parents=True, exist_ok=True)
        point.mkdir(parents=True, exist_ok=True)


def holder(places: Places) -> tuple[str, ...]:
    """Return the command that makes the namespace and keeps it open."""
    pairs = folders(places).items()
    binds = [f"mount --bind {shlex.quote(str(ours))} {point}" for point, ours in pairs]
    # `private` cuts it off from the machine; within it the kubelet wants to hand mounts on.
    script = " && ".join(["mount --make-rshared /", *binds, f": >{READY}", "exec sleep infinity"])
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script)


def inside(process: Process) -> tuple[str, str]:
    """Return the command to enter the namespace that a process holds."""
    return ("nsenter", f"--mount=/proc/{process.pid}/ns/mnt")
