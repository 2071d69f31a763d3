"""How a hostile program tells the test what it saw."""

import ctypes
import errno
import json
import os
import time
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
MEBIBYTE = 2**20


def report(**seen: object) -> None:
    """Say what was seen so far; the last word counts, however the program ends."""
    # In one write and without emptying the file, so that the end may come at any moment.
    text = json.dumps(seen).encode()
    result = os.open(os.environ["ANCHORHOLD_RESULT"], os.O_WRONLY)
    os.pwrite(result, text, 0)
    os.ftruncate(result, len(text))
    os.close(result)


def outcome(attempt: Callable[[], object]) -> str:
    """'ok' if an attempt works, else the name of its error."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def call(name: str, *arguments: object) -> int:
    """Call the C library. Raises OSError."""
    result = int(getattr(LIBC, name)(*arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def system_call(number: int, *arguments: object) -> int:
    """Make a system call that the C library may have no name for. Raises OSError."""
    return call("syscall", ctypes.c_long(number), *arguments)


def sleep_on() -> None:
    """Do nothing, for longer than any deadline."""
    while True:
        time.sleep(60)
