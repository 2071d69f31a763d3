"""A control group of our own in each hierarchy, which names every process that belongs to the node.

The components live in `components`, the kubelet keeps the Pods in `kubepods`. Whoever forks,
daemonises or loses its parent stays in its group, so that `down` finds all of them and nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onenode import procfs, settings, waiting
from onenode.processes import Process, of

WANTED = frozenset({"cpu", "cpuset", "hugetlb", "memory", "pids"})


def roots(mounts: list[procfs.Mount]) -> list[Path]:
    """Return our group in each hierarchy of either version."""
    points = [m.point for m in mounts if m.kind in {"cgroup", "cgroup2"}]
    return [Path(point) / settings.CGROUP for point in dict.fromkeys(points)]


def create() -> None:
    """Make our groups; the kubelet refuses a root that does not exist everywhere."""
    for root in roots(procfs.mounts()):
        enable(root.parent)
        root.mkdir(exist_ok=True)
        # In the first version a new cpuset is empty, and nothing can run in it.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if root.parent.name == "cpuset" and (root / name).exists():
                (root / name).write_text((root.parent / name).read_text())
    components().mkdir(exist_ok=True)


def enable(group: Path) -> None:
    """In the second version, hand on the controllers that the kubelet insists on."""
    there = group / "cgroup.controllers"
    wanted = WANTED.intersection(there.read_text().split() if there.exists() else [])
    if wanted:
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in sorted(wanted)))


def components() -> Path:
    """Return the group of the components: in one hierarchy only, it names but limits nothing."""
    found = roots(procfs.mounts())
    return next((root for root in found if root.parent.name == "pids"), found[0]) / "components"


def members() -> list[Process]:
    """Return every process in our groups that still lives."""
    found = {pid for root in roots(procfs.mounts()) for pid in _pids(root)}
    return [process for pid in found if (process := of(pid)) and process.alive]


def _pids(root: Path) -> Iterator[int]:
    for file in root.rglob("cgroup.procs"):
        try:
            yield from (int(line) for line in file.read_text().split())
        except OSError:
            # The group was removed, or is a threaded one whose parent names the same processes.
            continue


def remove() -> None:
    """Remove our groups, which must have no process left; the kernel takes a moment to notice."""
    waiting.until(_removed, "The removal of the node's control groups", 20)


def _removed() -> bool:
    for root in roots(procfs.mounts()):
        folders = sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True)
        for folder in [*folders, *([root] if root.exists() else [])]:
            try:
                folder.rmdir()
            except OSError:
                return False
    return True
