"""Waiting for conditions, never for time."""

from __future__ import annotations

import time
from collections.abc import Callable

from onenode.faults import Fault

INTERVAL_SECONDS = 0.05


def until(
    condition: Callable[[], bool],
    what: str,
    seconds: float,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return once the condition holds; a Fault when the bound is reached or `check` raises one."""
    deadline = time.monotonic() + seconds
    while not condition():
        check()
        if time.monotonic() > deadline:
            raise Fault(f"{what} did not happen within {seconds:g} seconds.")
        time.sleep(INTERVAL_SECONDS)
