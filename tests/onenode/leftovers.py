"""Removing a node, or whatever a crash has left of one; never anything that is not ours."""

from __future__ import annotations

import shutil
from pathlib import Path

from onenode import cgroups, network, paths, processes, procfs, shell, state
from onenode.paths import Places


def exist() -> bool:
    """Say whether anything of a node is on this machine."""
    groups = any(root.exists() for root in cgroups.roots(procfs.mounts()))
    return groups or network.exists() or paths.RUN.exists()


def clean(record: state.Record | None, places: Places) -> None:
    """End the node and remove all of it but its logs and volumes.

    Everything it keeps is thrown away, so it is killed, not asked: nothing can hang or flush.
    """
    owner = Places(Path(record.checkout)) if record else places
    recorded = list(record.processes.values()) if record else []
    processes.kill([p for p in recorded if p.alive])
    _kill_members()
    _unmount(owner)
    network.remove()
    cgroups.remove()
    _remove_files(owner)
    for folder in reversed(record.made if record else ()):
        _remove_if_empty(Path(folder))
    # Last, because it is what the next attempt needs to know if this one fails.
    shutil.rmtree(paths.RUN, ignore_errors=True)


def _kill_members() -> None:
    # A process may fork between our look and our signal, so look again until nobody is there.
    while members := cgroups.members():
        processes.kill(members)


def _unmount(places: Places) -> None:
    """Unmount what lies below our folders: nothing, unless somebody else has mounted it there."""
    ours = tuple(f"{folder}/" for folder in (places.data, paths.RUN))
    points = [m.point for m in procfs.mounts() if f"{m.point}/".startswith(ours)]
    for point in reversed(points):
        shell.run("umount", "--lazy", point)


def _remove_files(places: Places) -> None:
    for folder in (places.data, places.bin):
        if folder.exists():
            shutil.rmtree(folder)
    for file in (places.kubeconfig, places.registry):
        file.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        shell.say(f"{folder} is kept: it is no longer empty.")
