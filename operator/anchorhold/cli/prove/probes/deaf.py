"""Hears no signal, leaves a daemon behind that hears none either, and shows that it lives."""

import time


def probe(_):
    """For ever."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
    while True:
        print("alive", os.getpid(), flush=True)
        time.sleep(1)
