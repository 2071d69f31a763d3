"""What is on this machine, and what came or went since: `up` and `down` must leave nothing."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from onenode import network, procfs
from onenode.faults import Fault

# Some command lines are endless, and their beginning says enough.
LONGEST = 200

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
    ours = set(_ancestry(os.getpid()))
    for pid in procfs.pids():
        stat = procfs.stat(pid)
        if stat and not stat.is_kernel_thread and pid not in ours and stat.state not in "ZX":
            yield f"{procfs.executable(pid)}: {' '.join(procfs.cmdline(pid))}"[:LONGEST]


def _ancestry(pid: int) -> Iterator[int]:
    while pid and (stat := procfs.stat(pid)):
        yield pid
        pid = stat.parent


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def _groups() -> Iterator[str]:
    for mount in procfs.mounts():
        if mount.kind in {"cgroup", "cgroup2"}:
            yield from (str(path) for path in Path(mount.point).rglob("*") if path.is_dir())


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
