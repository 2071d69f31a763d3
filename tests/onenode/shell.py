"""Running other programs, and talking to the person who waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from onenode.faults import Fault

# A plain user's PATH lacks the folders of ip, iptables and nsenter.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def say(text: str) -> None:
    """Report progress; standard output is kept for results."""
    print(text, file=sys.stderr, flush=True)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment with a complete PATH and what is asked for."""
    return {**os.environ, "PATH": SEARCH, **(extra or {})}


def run(*argv: str | Path, extra: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return what a program prints; a Fault with its last words if it fails or is missing."""
    command = [str(part) for part in argv]
    try:
        done = subprocess.run(
            command, env=environment(extra), cwd=cwd, check=False, text=True,
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Fault(f"`{command[0]}` is missing; run `python3 -m onenode build` first.") from error
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Fault(f"`{' '.join(command)}` failed with {done.returncode}:\n{words}")
    return done.stdout


def succeeds(*argv: str | Path) -> bool:
    """Say whether a program ends well."""
    command = [str(part) for part in argv]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True)
    return done.returncode == 0
