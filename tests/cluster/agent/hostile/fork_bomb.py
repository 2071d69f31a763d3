"""Doubles for as long as it may, and never stops trying."""

import errno
import os

from telling import report

made = 0
while True:
    try:
        if os.fork() == 0:
            continue
        made += 1
    except OSError as error:
        if os.getpid() == 1:
            report(children=made, error=errno.errorcode[error.errno or 0])
