"""Fills what lies on the node's disk."""

import os
import time

from telling import MEBIBYTE, report

# So that a test never fills the machine: an agent would not stop.
MOST = 1024


def by_bytes(path: str, mebibytes: int = MOST) -> None:
    """Write into one file, and then live on."""
    file = os.open(path, os.O_WRONLY | (0 if os.path.exists(path) else os.O_CREAT))
    for written in range(1, mebibytes + 1):
        os.pwrite(file, bytes(MEBIBYTE), written * MEBIBYTE)
        if path != os.environ["ANCHORHOLD_RESULT"]:
            report(mebibytes=written)
    time.sleep(25)


def by_names(folder: str, names: int = 1_000_000) -> None:
    """Make files without content."""
    begun = time.monotonic()
    made = 0
    try:
        for made in range(names):
            os.close(os.open(f"{folder}/{made:x}", os.O_CREAT | os.O_WRONLY))
            if made % 10_000 == 0:
                report(files=made, seconds=round(time.monotonic() - begun))
        error = ""
    except OSError as refused:
        error = refused.strerror
    report(files=made + 1, seconds=round(time.monotonic() - begun), error=error)
    time.sleep(25)


def by_log(mebibytes: int = MOST) -> None:
    """Print lines, and then live on."""
    line = b"x" * 1023 + b"\n"
    for written in range(1, mebibytes + 1):
        rest = line * 1024
        while rest:
            rest = rest[os.write(1, rest) :]
        report(mebibytes=written)
    time.sleep(25)
