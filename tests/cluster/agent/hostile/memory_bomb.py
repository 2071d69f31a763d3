"""Takes memory in each way there is."""

import os
import time

from telling import MEBIBYTE, report

TOO_MUCH = 1024


def by_children(children: int) -> None:
    """Each takes 16 MiB and keeps it for a while; the parent ends as the first that is killed.

    With the exit code that a shell makes of it: the runtime looks for an OOM only behind that one.
    """
    for _ in range(children):
        if os.fork() == 0:
            taken = os.urandom(MEBIBYTE) * 16
            time.sleep(5)
            os._exit(len(taken) % 2)
    for ended in range(1, children + 1):
        end = os.waitstatus_to_exitcode(os.wait()[1])
        report(children=ended, end=end)
        if end < 0:
            os._exit(128 - end)


def by_file(folder: str) -> None:
    """Fill a folder that lies in memory; whoever is stopped before says with what error."""
    written = 0
    with open(f"{folder}/fill", "wb", 0) as file:
        try:
            while written < TOO_MUCH:
                file.write(bytes(MEBIBYTE))
                written += 1
                report(mebibytes=written)
        except OSError as error:
            report(mebibytes=written, error=error.strerror)
