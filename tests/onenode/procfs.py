"""Reading /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
KERNEL_THREAD = 0x00200000


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/<pid>/stat says about one process."""

    state: str
    parent: int
    flags: int
    start: int

    @property
    def is_kernel_thread(self) -> bool:
        """Kernel threads belong to nobody."""
        return bool(self.flags & KERNEL_THREAD)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/<pid>/mountinfo."""

    root: str
    point: str
    kind: str
    source: str


def parse_stat(text: str) -> Stat:
    """Read a stat line; the name in it may itself contain spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[6]), int(fields[19]))


def parse_mounts(text: str) -> list[Mount]:
    """Read a mountinfo file, in the order in which things were mounted."""
    return [_mount(line) for line in text.splitlines()]


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    fields, tail = before.split(), after.split()
    return Mount(_unescape(fields[3]), _unescape(fields[4]), tail[0], _unescape(tail[1]))


def _unescape(text: str) -> str:
    # The kernel writes blanks and backslashes as three octal digits.
    for code in ("\\040", "\\011", "\\012", "\\134"):
        text = text.replace(code, chr(int(code[1:], 8)))
    return text


def stat(pid: int) -> Stat | None:
    """Return what is known of a process, or None when it is gone."""
    text = _text(pid, "stat")
    return parse_stat(text) if text else None


def cmdline(pid: int) -> list[str]:
    """Return a process's arguments; empty when it is gone."""
    return _text(pid, "cmdline").rstrip("\0").split("\0")


def executable(pid: int) -> str:
    """Return the file a process runs; empty when it is gone or hidden."""
    return _link(pid, "exe")


def namespaces(pid: int) -> tuple[str, ...]:
    """Return the network, mount and user namespace of a process; empty texts when it is gone."""
    return tuple(_link(pid, f"ns/{kind}") for kind in ("net", "mnt", "user"))


def mounts() -> list[Mount]:
    """Return the mounts of our own mount namespace."""
    return parse_mounts(_text(os.getpid(), "mountinfo"))


def pids() -> Iterator[int]:
    """Name every process there is."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _link(pid: int, name: str) -> str:
    try:
        return str((PROC / str(pid) / name).readlink())
    except OSError:
        return ""


def _text(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
