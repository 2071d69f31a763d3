"""What is on this machine, and what came or went since: `up` and `down` must leave nothing.

Mounts, links and network namespaces are looked at whole. Processes and control groups come and go
on any machine, so of those only what a node could have left counts.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from onenode import network, paths, procfs
from onenode.faults import Fault

# Some command lines are endless, and their beginning says enough.
LONGEST = 200
# How a node's control groups are called, by us or by what runs in it.
GROUPS = ("anchorhold", "kubepods", "cri-", "k8s.io")

Snapshot = dict[str, list[str]]


def take() -> Snapshot:
    """Return processes, mounts, links, network namespaces and control groups as sorted lines."""
    kinds = {
        "process": _processes(),
        "mount": (f"{m.point} {m.kind} {m.source}" for m in procfs.mounts()),
        "link": (path.name for path in Path("/sys/class/net").iterdir()),
        "network namespace": _names(network.NAMED),
        "control group": _groups(),
    }
    return {kind: sorted(lines) for kind, lines in kinds.items()}


def _processes() -> Iterator[str]:
    callers = set(_ancestry(os.getpid()))
    for pid in procfs.pids():
        stat = procfs.stat(pid)
        if not stat or stat.is_kernel_thread or pid in callers or stat.state in "ZX":
            continue
        line = f"{procfs.executable(pid)}: {' '.join(procfs.cmdline(pid))}"
        if is_of_a_node(line, procfs.namespaces(pid), procfs.namespaces(os.getpid())):
            yield line[:LONGEST]


def is_of_a_node(line: str, namespaces: tuple[str, ...], outside: tuple[str, ...]) -> bool:
    """Whether a process may be a node's: it runs our programs, or not in the machine's namespaces.

    `line` is its executable and command line; a namespace that can't be read is an empty text.
    """
    sealed = any(inside and inside != out for inside, out in zip(namespaces, outside, strict=True))
    return sealed or any(place in line for place in (str(paths.cache()), str(paths.RUN)))


def _ancestry(pid: int) -> Iterator[int]:
    while pid and (stat := procfs.stat(pid)):
        yield pid
        pid = stat.parent


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def _groups() -> Iterator[str]:
    for mount in procfs.mounts():
        if mount.kind in {"cgroup", "cgroup2"}:
            found = (str(path) for path in Path(mount.point).rglob("*") if path.is_dir())
            yield from (path for path in found if any(name in path for name in GROUPS))


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return a line for each thing that came or went, however often the same thing is there."""
    lines: list[str] = []
    for kind in sorted(before.keys() | after.keys()):
        old, new = Counter(before.get(kind, [])), Counter(after.get(kind, []))
        lines += [f"+ {kind}: {item}" for item in sorted((new - old).elements())]
        lines += [f"- {kind}: {item}" for item in sorted((old - new).elements())]
    return lines


def write(path: Path) -> None:
    """Record what is there now."""
    path.write_text(json.dumps(take(), indent=1))


def compare(path: Path) -> list[str]:
    """Return how what is there now differs from a record."""
    if not path.exists():
        raise Fault(f"There is no record {path}; make one with `snapshot`.")
    return differences(json.loads(path.read_text()), take())
