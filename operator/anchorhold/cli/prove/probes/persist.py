"""Tries to outlive its run: leaves a marker wherever it can, or finds one."""

import ctypes
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
SKIP = ("proc", "sys")


def probe(settings):
    """Where the marker is now; with `leave`, after it was left everywhere."""
    marker = settings["marker"]
    left = leave(marker) if settings["leave"] else 0
    return {"left": left, "found": find(marker)[:20]}


def leave(marker):
    """The number of places that took it."""
    places = 0
    for folder, folders, _ in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in SKIP]
        try:
            with open(os.path.join(folder, marker), "w") as file:
                file.write(marker)
            places += 1
        except OSError:
            pass
    server = socket.socket(socket.AF_UNIX)
    server.bind("\0" + marker)
    KEPT.append(server)
    LIBC.shmget(int(marker[:7], 16), 4096, 0o1600)
    return places + 1


def find(marker):
    """Everywhere it is."""
    found = []
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in SKIP]
        found += [os.path.join(folder, name) for name in files if marker in name]
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.bind("\0" + marker)
    except OSError:
        found.append("an abstract socket")
    if LIBC.shmget(int(marker[:7], 16), 4096, 0o600) >= 0:
        found.append("shared memory")
    return found


KEPT = []
