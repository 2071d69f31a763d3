"""Puts the seccomp profile where the kubelet looks for it: `python -m … <profile> <folder>`.

The file's name carries the digest of its content, so that a node with another profile has no file
of the name that a cell asks for, and the cell does not start. Files of other versions stay: a cell
that was made for one of them may be about to start.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 10
DIGITS = 16


def main() -> None:
    """Install it, and again whenever it is gone or changed, until somebody ends this process."""
    source, folder = (Path(word) for word in sys.argv[1:])
    content = source.read_bytes()
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    install(content, folder)
    while signal.sigtimedwait(ending, SECONDS_BETWEEN_LOOKS) is None:
        install(content, folder)


def install(content: bytes, folder: Path) -> None:
    """Write the file, unless it is there: whole or not at all, whoever reads it meanwhile."""
    target = folder / f"agent-{hashlib.sha256(content).hexdigest()[:DIGITS]}.json"
    if target.is_file() and target.read_bytes() == content:
        return
    half = target.with_suffix(".half")
    with half.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(target)
    print(f"installed {target.name}", flush=True)  # noqa: T201  # the log of its Pod


if __name__ == "__main__":
    main()
