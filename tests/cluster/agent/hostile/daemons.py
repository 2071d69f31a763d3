"""Leaves a family of daemons behind that nobody waits for, and ends as if all were well."""

import os
import signal

from telling import report, sleep_on

names = []
for number in range(5):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for ignored in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, signal.SIG_IGN)
        held = open(f"/workspace/held-{number}", "w")
        os.write(writer, str(os.getppid()).encode())
        sleep_on()
    os.wait()
    names.append(os.read(reader, 16).decode())
report(daemons=len(names), alive=sum(name.isdigit() for name in os.listdir("/proc")) - 1)
