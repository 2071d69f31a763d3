"""Tries what public escapes from containers begin with, and looks each time what has changed."""

import ctypes
import glob
import socket
import stat

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_MOUNTS, NEW_USER, HERE = 0x20000, 0x10000000, -100
MARKER = "anchorhold-was-here"
SCRATCH = "/workspace" if os.path.isdir("/workspace") else "/tmp"
TASK = "/run/anchorhold/task"
# Settings of the whole node that name a program, which the node's own root then runs.
SETTINGS = {
    "core_pattern": "/proc/sys/kernel/core_pattern",
    "modprobe": "/proc/sys/kernel/modprobe",
    "uevent_helper": "/sys/kernel/uevent_helper",
    "hotplug": "/proc/sys/kernel/hotplug",
}
SOCKETS = (
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
)


def probe(_):
    """What came of each attempt."""
    return {name: reached(act) for name, act in {**TRIED, **node_settings()}.items()}


def reached(act):
    """'reached' where the change is there to be seen, 'not there' where it is not; or the error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = "reached" if act() else "not there"
        except OSError as error:
            said = NAMES.get(error.errno, type(error).__name__)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 99).decode()
    os.close(reader)
    os.waitpid(child, 0)
    return said or "killed"


def text(path):
    with open(path) as file:
        return file.read()


def write(path, words):
    with open(path, "w") as file:
        file.write(words)


def node_settings():
    return {name: lambda p=path: is_set(p) for name, path in SETTINGS.items()}


def is_set(path):
    """Whether the marker can be read where it was written; the node has its own word back then."""
    before = text(path)
    write(path, "/" + MARKER)
    found = MARKER in text(path)
    write(path, before)
    return found


def folder():
    """A new one in scratch space."""
    path = "%s/%s-%s" % (SCRATCH, MARKER, os.urandom(4).hex())
    os.mkdir(path)
    return path


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def mounted(kind, options, wanted):
    """Whether a file system that was mounted here shows a file of its own."""
    place = folder()
    before = os.stat(place).st_dev
    checked(LIBC.mount(b"none", place.encode(), kind, ctypes.c_ulong(0), options))
    return os.stat(place).st_dev != before and os.path.exists(os.path.join(place, wanted))


def own_interpreter():
    """A program beside the one that runs, whose first line makes the runtime run itself."""
    path = os.path.join(os.path.dirname(os.path.realpath("/proc/self/exe")), MARKER)
    write(path, "#!/proc/self/exe\n")
    return os.path.exists(path)


def runtime_socket():
    """Whether somebody who makes containers listens."""
    return any(is_answered(path) for path in SOCKETS)


def is_answered(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def device():
    """The first disk, by its number."""
    path = folder() + "/disk"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(8, 0))
    return stat.S_ISBLK(os.stat(path).st_mode)


def node_processes():
    """Whether there is a process in namespaces that are not one's own, to be stepped into."""
    mine = os.readlink("/proc/self/ns/pid")
    return any(link(path) not in ("", mine) for path in glob.glob("/proc/[0-9]*/ns/pid"))


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def another_mount_namespace():
    before = os.readlink("/proc/self/ns/mnt")
    checked(LIBC.unshare(NEW_MOUNTS))
    return os.readlink("/proc/self/ns/mnt") != before


def own_users():
    before, user, group = os.readlink("/proc/self/ns/user"), os.getuid(), os.getgid()
    checked(LIBC.unshare(NEW_USER | NEW_MOUNTS))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", "0 %d 1" % user)
    write("/proc/self/gid_map", "0 %d 1" % group)
    return os.readlink("/proc/self/ns/user") != before


def overlay():
    """Users of one's own, and in them one file system over another."""
    own_users()
    top = folder()
    checked(LIBC.mount(b"none", top.encode(), b"tmpfs", ctypes.c_ulong(0), None))
    for name in ("lower", "upper", "work", "all"):
        os.mkdir("%s/%s" % (top, name))
    options = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(top)
    checked(
        LIBC.mount(
            b"none", (top + "/all").encode(), b"overlay", ctypes.c_ulong(0), options.encode()
        )
    )
    open(top + "/all/" + MARKER, "w").close()
    return os.path.exists(top + "/upper/" + MARKER)


def spliced():
    """A page of its task, which may only be read, by a pipe that believes it to be its own."""
    path = TASK if os.path.exists(TASK) else folder() + "/file"
    if path != TASK:
        write(path, "as it was")
    before = text(path)
    reader, writer = os.pipe()
    for _ in range(16):
        os.write(writer, b"x" * 4096)
    for _ in range(16):
        os.read(reader, 4096)
    source = os.open(path, os.O_RDONLY)
    offset = ctypes.c_longlong(0)
    size = ctypes.c_size_t(1)
    checked(LIBC.splice(source, ctypes.byref(offset), writer, None, size, 0))
    os.write(writer, b"#")
    return text(path) != before


def leaked():
    """A folder that somebody forgot to close, in any process that it can see."""
    open_folders = [p for p in glob.glob("/proc/[0-9]*/fd/*") if os.path.isdir(p)]
    mine = "/proc/%d/" % os.getpid()
    return any(bool(os.listdir(path)) for path in open_folders if not path.startswith(mine))


def planted():
    """The same, of a folder that it opened itself: so that it would be found."""
    kept = os.open("/", os.O_RDONLY)
    found = os.path.isdir("/proc/%d/fd/%d" % (os.getpid(), kept))
    return found and bool(os.listdir("/proc/self/fd/%d" % kept))


def other_root():
    """Another root, from which the way up leads past the old one."""
    before, place = os.stat("/").st_ino, folder()
    os.chroot(place)
    return os.stat("/").st_ino != before


def by_handle():
    """Any file by its number, past every mount."""
    handle = ctypes.create_string_buffer(b"\x80\0\0\0\0\0\0\0" + b"\0" * 128)
    number = ctypes.c_int(0)
    checked(LIBC.name_to_handle_at(HERE, b"/tmp", handle, ctypes.byref(number), 0))
    place = os.open("/tmp", os.O_RDONLY)
    opened = LIBC.open_by_handle_at(place, handle, os.O_RDONLY)
    checked(opened)
    return os.path.isdir("/proc/self/fd/%d" % opened)


def sysrq():
    """Opened and not used: the node would stop."""
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return True


def socket_of(family):
    def act():
        with socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM):
            return True

    return act


TRIED = {
    "the runtime's own program": own_interpreter,
    "the runtime's socket": runtime_socket,
    "release_agent": lambda: mounted(b"cgroup", b"rdma", "release_agent"),
    "cgroups": lambda: mounted(b"cgroup2", None, "cgroup.procs"),
    "debugfs": lambda: mounted(b"debugfs", None, "sched"),
    "tracefs": lambda: mounted(b"tracefs", None, "trace"),
    "a file system": lambda: mounted(b"tmpfs", None, "."),
    "processes without masks": lambda: mounted(b"proc", None, "kcore"),
    "a disk by its number": device,
    "processes of the node": node_processes,
    "another mount namespace": another_mount_namespace,
    "users of its own": own_users,
    "users of its own, and an overlay": overlay,
    "a page of a read-only file": spliced,
    "a folder that was left open": leaked,
    "a folder that it left open itself": planted,
    "another root": other_root,
    "a file by its number": by_handle,
    "sysrq": sysrq,
    "AF_ALG": socket_of(38),
    "AF_VSOCK": socket_of(40),
}
