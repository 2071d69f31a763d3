"""Starting, recognising and ending processes: by id and start time, never by name."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onenode import procfs, shell, waiting
from onenode.faults import Fault

LAST_STANDARD_FILE = 2


@dataclass(frozen=True, slots=True)
class Process:
    """One process for ever: its id may be given to another, but not with the same start time."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """A zombie is dead: it only waits for its parent to take note."""
        stat = procfs.stat(self.pid)
        return stat is not None and stat.start == self.start and stat.state not in "ZX"


def of(pid: int) -> Process | None:
    """Return the process that has this id now."""
    stat = procfs.stat(pid)
    return Process(pid, stat.start) if stat else None


def spawn(argv: list[str], log: Path, extra: Mapping[str, str]) -> Process:
    """Start a process in a session of its own that outlives us."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    _keep_files()
    # Not subprocess: that complains about a child which is meant to stay.
    pid = os.posix_spawnp(argv[0], argv, shell.environment(extra), file_actions=files, setsid=True)
    # It cannot have been reaped yet, so its id cannot be anybody else's.
    return of(pid) or Process(pid, 0)


def _keep_files() -> None:
    """Hand on no file that our caller left open: `flock make cluster` would never end its lock."""
    for number in (int(entry.name) for entry in Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if number > LAST_STANDARD_FILE:
                os.set_inheritable(number, False)  # noqa: FBT003


def send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process, or nobody."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The handle is opened first: what it names can no longer change under our hands.
        if process.alive:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def stop(process: Process, seconds: float = 10) -> None:
    """End a process, kindly at first."""
    send(process, signal.SIGTERM)
    try:
        waiting.until(lambda: not process.alive, "The end of a component", seconds)
    except Fault:
        kill([process])


def kill(victims: list[Process], seconds: float = 20) -> None:
    """End processes at once and return when all are gone."""
    for victim in victims:
        send(victim, signal.SIGKILL)
    waiting.until(lambda: not any(v.alive for v in victims), "The end of the node", seconds)
