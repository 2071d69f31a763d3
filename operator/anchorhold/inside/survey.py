"""The survey: what this node does not enforce on a cell, tried from inside a Pod that is like one.

`python3 -S -P -m anchorhold.inside.survey`, once a node, before its sentinel. Its last word is a
JSON list: what is not enforced, and the setting of the node that would do so. What a cell must have
(users of its own, a filter of system calls) is for its netgate to see.
"""

import json
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

from anchorhold.inside.netgate import LAST_WORD

# More than any agent needs, and few enough for the survey's own memory.
TASKS = 1_024
STACK_BYTES = 64 * 1024
# Our own image declares this VOLUME and uses it for nothing.
VOLUME = Path("/opt/anchorhold/volume")
MOUNTS = Path("/proc/self/mountinfo")
# Message queues are bounded by RLIMIT_MSGQUEUE.
SMALL = ("mqueue",)

Finding = tuple[str, str]


def main() -> None:
    """Look at everything once, and say what was found."""
    looks = (tasks, volumes, paths)
    found = [{"what": what, "setting": setting} for look in looks for what, setting in look()]
    LAST_WORD.write_text(json.dumps(found), encoding="ascii")


def tasks() -> Iterator[Finding]:
    """How many processes and threads there may be: tried, as no file of a cell tells."""
    done = threading.Event()
    threading.stack_size(STACK_BYTES)
    try:
        for _ in range(TASKS):
            threading.Thread(target=done.wait, daemon=True).start()
        yield f"processes: a cell can start {TASKS} and more", "the kubelet's `podPidsLimit`"
    except RuntimeError:
        # It was kept from it.
        return
    finally:
        done.set()


def volumes() -> Iterator[Finding]:
    """Whether what an image declares as a VOLUME becomes a writable folder that nothing sizes."""
    if VOLUME.is_mount():
        setting = "containerd's `ignore_image_defined_volumes`"
        yield "disk: a `VOLUME` of the agent's image is writable and has no size", setting


def paths() -> Iterator[Finding]:
    """What is mounted, can be written and is not sized as it is mounted.

    The kubelet watches the bytes of a folder, but not its files; nobody watches a single file.
    """
    largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    for row in MOUNTS.read_text(encoding="utf-8").splitlines():
        mounted, source = row.split(" - ", 1)
        point, (kind, _, options) = mounted.split()[4], source.split(" ", 2)
        sized = kind in SMALL or (kind == "tmpfs" and "size=" in options)
        if sized or point == str(VOLUME) or not os.access(point, os.W_OK):
            continue
        if Path(point).is_dir():
            setting = "a file system of its own, or the kubelet's eviction by `nodefs.inodesFree`"
            yield f"disk: `{point}` may hold any number of files", setting
        elif Path(point).is_file() and largest == resource.RLIM_INFINITY:
            setting = "RLIMIT_FSIZE in containerd's `base_runtime_spec`"
            yield f"disk: the file `{point}` may have any size", setting


if __name__ == "__main__":
    main()
