"""Takes more than it was given, of one thing."""

import time

MEBIBYTE = 1 << 20


def probe(settings):
    """How much it got."""
    return {"got": KINDS[settings["what"]](settings["much"])}


def memory(much):
    """In children, which the kernel could end one by one."""
    children = []
    for _ in range(max(1, much // 16)):
        child = os.fork()
        if child == 0:
            held = bytearray(os.urandom(MEBIBYTE)) * 16
            time.sleep(3)
            os._exit(len(held) == 0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] == 0 for child in children) * 16


def disk(much):
    """In the workspace."""
    with open("/workspace/fill", "wb", 0) as file:
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
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
    return len(children)


KINDS = {"memory": memory, "disk": disk, "log": log, "forks": forks}
