"""Takes more than it was given, of one thing."""

import contextlib
import select
import time

MEBIBYTE = 1 << 20


def probe(settings):
    """How much it got."""
    where = [settings["where"]] if "where" in settings else []
    return {"got": KINDS[settings["what"]](settings["much"], *where)}


def memory(much):
    """In children that hold it all at the same time; a kernel may end one, or everything."""
    wanted, held = max(1, much // 16), 0
    reader, writer = os.pipe()
    children = [child(writer) for _ in range(wanted)]
    while held < wanted:
        ready, _, _ = select.select([reader], [], [], 1)
        held += len(os.read(reader, wanted)) if ready else 0
        if os.waitpid(-1, os.WNOHANG)[0]:
            break
    end(children)
    return held * 16


def end(children):
    """All of them; some have ended."""
    for each in children:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGKILL)


def child(writer):
    """Takes 16 MiB, says so, and keeps it."""
    made = os.fork()
    if made == 0:
        held = b"x" * (16 * MEBIBYTE)
        os.write(writer, held[:1])
        signal.pause()
    return made


def disk(much, where="/workspace"):
    """In the workspace, or elsewhere."""
    with open(where + "/fill", "wb", 0) as file:
        for _ in range(much):
            file.write(b"x" * MEBIBYTE)
    return wait(much)


def log(much):
    """By talking."""
    line = "x" * 1023
    for _ in range(much * 1024):
        print(line)
    return wait(much)


def wait(much):
    """The kubelet looks now and then; who took too much is still there."""
    time.sleep(1 if much <= 8 else 100)
    return much


def forks(much):
    """As many processes as there may be, up to some."""
    children = []
    try:
        while len(children) < much:
            made = os.fork()
            if made == 0:
                signal.pause()
            children.append(made)
    except OSError:
        pass
    end(children)
    return len(children)


KINDS = {"memory": memory, "disk": disk, "log": log, "forks": forks}
