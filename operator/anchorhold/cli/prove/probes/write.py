"""Tries to change what it was given to read only, by every way there is."""

import ctypes
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
HERE = -100


def probe(settings):
    """What works in each place, of the tricks on files and of those on mounts, and of how many."""
    mine, found = settings["mine"], {}
    if settings["own"]:
        own_mount(settings["own"], mine)
    for place in filter(os.path.isdir, settings["places"]):
        file = first_file(place)
        tricks = {"files": {**FOLDER, **(FILE if file else {})}, "mounts": MOUNT}
        found[place] = {kind: worked(tricks[kind], place, file, mine) for kind in settings["kinds"]}
    return found


def worked(tricks, place, file, mine):
    """[how many were tried, those that work]."""
    made = {name: in_child(lambda t=trick: t(place, file, mine)) for name, trick in tricks.items()}
    return [len(made), sorted(name for name, said in made.items() if said == "works")]


def own_mount(place, mine):
    """A file system of its own, for whoever may mount any."""
    for folder in (place, mine):
        os.makedirs(folder, exist_ok=True)
    checked(LIBC.mount(b"none", place.encode(), b"tmpfs", ctypes.c_ulong(0), None))


def first_file(place):
    """A file to try on; in a folder of its own, one that it makes."""
    if place in ("/workspace", "/tmp"):
        close(os.open(place + "/own", os.O_CREAT | os.O_WRONLY, 0o600))
    for name in sorted(os.listdir(place)):
        if os.path.isfile(os.path.join(place, name)):
            return os.path.join(place, name)
    return ""


def close(number):
    os.close(number)


def opened(path, flags):
    close(os.open(path, flags, 0o600))


def fresh(mine):
    path = "%s/mine-%s" % (mine, os.urandom(4).hex())
    opened(path, os.O_CREAT | os.O_WRONLY)
    return path


def reopened(file):
    reader = os.open(file, os.O_RDONLY)
    opened("/proc/self/fd/%d" % reader, os.O_RDWR)


def linked(file, mine):
    link = "%s/link-%s" % (mine, os.urandom(4).hex())
    os.symlink(file, link)
    opened(link, os.O_WRONLY)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def mount(source, target, flags):
    checked(LIBC.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def made_writable(place):
    change = struct.pack("QQQQ", 0, 1, 0, 0)
    checked(LIBC.syscall(442, HERE, place.encode(), 0x8000, change, ctypes.c_size_t(32)))


FOLDER = {
    "create": lambda p, f, m: opened(p + "/new", os.O_CREAT | os.O_WRONLY),
    "create without a name": lambda p, f, m: opened(p, os.O_TMPFILE | os.O_RDWR),
    "make a folder": lambda p, f, m: os.mkdir(p + "/folder"),
    "make a symbolic link": lambda p, f, m: os.symlink("x", p + "/symbolic"),
    "make a pipe": lambda p, f, m: os.mkfifo(p + "/pipe"),
    "rename in": lambda p, f, m: os.rename(fresh(m), p + "/renamed-in"),
    "chmod the folder": lambda p, f, m: os.chmod(p, 0o777),
}
FILE = {
    "write": lambda p, f, m: opened(f, os.O_WRONLY),
    "append": lambda p, f, m: opened(f, os.O_WRONLY | os.O_APPEND),
    "open and truncate": lambda p, f, m: opened(f, os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda p, f, m: os.truncate(f, 0),
    "write through /proc/self/root": lambda p, f, m: opened("/proc/self/root" + f, os.O_WRONLY),
    "write through /proc/self/fd": lambda p, f, m: reopened(f),
    "write through a link": lambda p, f, m: linked(f, m),
    "set times": lambda p, f, m: os.utime(f, (0, 0)),
    "chmod": lambda p, f, m: os.chmod(f, 0o600),
    "hard link inside": lambda p, f, m: os.link(f, p + "/hard"),
    "rename over": lambda p, f, m: os.rename(fresh(m), f),
    "rename inside": lambda p, f, m: os.rename(f, p + "/renamed"),
}
MOUNT = {
    "clear the flag of the mount": lambda p, f, m: made_writable(p),
    "remount": lambda p, f, m: mount("none", p, 32 | 4096),
    "bind over": lambda p, f, m: mount(m, p, 4096),
    "cover": lambda p, f, m: checked(
        LIBC.mount(b"none", p.encode(), b"tmpfs", ctypes.c_ulong(0), None)
    ),
    "unmount": lambda p, f, m: checked(LIBC.umount2(p.encode(), 2)),
}
