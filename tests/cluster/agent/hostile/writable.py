"""Finds every place in a cell that can be written, by trying."""

import os
import stat
from collections.abc import Iterator

from telling import outcome

# What belongs to one process, and goes with it.
OWN = ("/proc/self", "/proc/thread-self")


def mounts() -> dict[str, str]:
    """Every mount point and what kind of file system lies there."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return {fields[4]: fields[fields.index("-") + 1] for fields in lines}


def places() -> list[str]:
    """Every folder in which a file can be made, and every file that can be written."""
    return sorted(path for path in candidates() if is_writable(path))


def candidates() -> Iterator[str]:
    """All there is, but the processes themselves and what was written by a test."""
    for folder, folders, files in os.walk("/"):
        if folder == "/proc":
            folders[:] = [name for name in folders if not name.isdigit()]
        folders[:] = [name for name in folders if not os.path.islink(f"{folder}/{name}")]
        yield folder
        yield from (os.path.join(folder, name) for name in files)


def is_writable(path: str) -> bool:
    """Try it, in a way that changes nothing."""
    kind = os.lstat(path).st_mode
    if stat.S_ISDIR(kind):
        return outcome(lambda: make(f"{path}/.tried")) == "ok"
    if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
        return False
    return (
        outcome(lambda: os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))) == "ok"
    )


def make(path: str) -> None:
    """Make a file, and remove it."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)


def sized(path: str) -> dict[str, object]:
    """What kind of place it is, and how large the file system says it is."""
    around = max((point for point in mounts() if covers(point, path)), key=len)
    found = os.statvfs(path)
    mebibytes = found.f_blocks * found.f_frsize // 2**20
    return {
        "mount": around,
        "kind": mounts()[around],
        "mebibytes": mebibytes,
        "files": found.f_files,
    }


def covers(point: str, path: str) -> bool:
    """Whether a path lies at or below a mount point."""
    return path == point or path.startswith(point.rstrip("/") + "/")
