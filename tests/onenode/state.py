"""What is known about the node that runs, on disk: any later command can clean up after it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from onenode import paths
from onenode.faults import Fault
from onenode.processes import Process
from onenode.shell import say


@dataclass(frozen=True, slots=True)
class Record:
    """One node: whose it is, its programs, the folders it made outside its own, what runs."""

    checkout: str
    boot: str
    built: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    processes: dict[str, Process] = field(default_factory=dict)
    stopped: tuple[str, ...] = ()

    def started(self, name: str, process: Process) -> Record:
        """Return the record with a process added."""
        stopped = tuple(n for n in self.stopped if n != name)
        return replace(self, processes={**self.processes, name: process}, stopped=stopped)

    def ended(self, name: str) -> Record:
        """Return the record with a component stopped on purpose."""
        return replace(self, stopped=(*self.stopped, name))

    @property
    def dead(self) -> list[str]:
        """The components that ended though nobody stopped them."""
        expected = {n: p for n, p in self.processes.items() if n not in self.stopped}
        return [name for name, process in expected.items() if not process.alive]


def boot() -> str:
    """Return the name of this boot: process ids of an earlier one mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse(text: str) -> Record:
    """Read a record."""
    raw = json.loads(text)
    processes = {name: Process(**value) for name, value in raw["processes"].items()}
    return Record(
        checkout=raw["checkout"], boot=raw["boot"], built=tuple(raw["built"]),
        made=tuple(raw["made"]), processes=processes, stopped=tuple(raw["stopped"]),
    )  # fmt: skip


def load() -> Record | None:
    """Return the record of the node on this machine, or None if there is none."""
    try:
        record = parse(paths.RECORD.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(f"`{paths.RECORD}` is damaged ({error}); remove it and run `down`.") from error
    return record if record.boot == boot() else replace(record, processes={})


def save(record: Record) -> Record:
    """Write the record in one step, so that a crash leaves the old one or the new one."""
    # Others may pass through, not look: root in a user namespace is one of those others.
    paths.RUN.mkdir(mode=0o711, exist_ok=True)
    half = paths.RECORD.with_suffix(".half")
    half.write_text(json.dumps(asdict(record), indent=1))
    half.replace(paths.RECORD)
    return record


@contextlib.contextmanager
def lock(path: Path = paths.LOCK) -> Iterator[None]:
    """Hold a lock of the whole machine; the kernel gives it back if we crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise Fault(f"{path} may not be written; the node's commands need root.")
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another command that holds {path}…")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
