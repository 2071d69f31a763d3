"""Hears no signal that can be ignored."""

import contextlib
import signal

from telling import report, sleep_on

for number in signal.valid_signals():
    with contextlib.suppress(OSError):
        signal.signal(number, signal.SIG_IGN)
report(deaf=True)
sleep_on()
