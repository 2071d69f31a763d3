"""Every way to change a file that was given read-only."""

import contextlib
import ctypes
import fcntl
import json
import os
import struct
from collections.abc import Callable

from telling import call, outcome, system_call

READ_ONLY, REMOUNT, BIND, DETACH = 1, 32, 4096, 2
OPEN_TREE, MOUNT_SETATTR, CLONE, HERE = 428, 442, 1, -100
NAME_TO_HANDLE, OPEN_BY_HANDLE = {"x86_64": (303, 304), "aarch64": (264, 265)}[os.uname().machine]
NEW_USER_AND_MOUNTS = 0x10000000 | 0x20000
MINE = "/workspace"
BOUND = f"{MINE}/bound"
Trick = Callable[[str, str], object]


def opened(path: str, flags: int) -> None:
    """Open a file and close it again."""
    os.close(os.open(path, flags, 0o600))


def fresh() -> str:
    """The path of a new file of the agent's own."""
    path = f"{MINE}/mine-{os.urandom(4).hex()}"
    opened(path, os.O_CREAT | os.O_WRONLY)
    return path


def reopened(file: str, folder: str) -> None:
    """Open a descriptor that may only read once more, for writing."""
    reader = os.open(file, os.O_RDONLY)
    try:
        opened(f"{folder}/{reader}", os.O_RDWR)
    finally:
        os.close(reader)


def linked_to(file: str) -> None:
    """Write through a symbolic link of the agent's own."""
    link = f"{MINE}/link-{os.urandom(4).hex()}"
    os.symlink(file, link)
    opened(link, os.O_WRONLY)


def flagged(file: str) -> None:
    """Change the flags that the file system keeps (FS_IOC_SETFLAGS: no dump)."""
    reader = os.open(file, os.O_RDONLY)
    try:
        fcntl.ioctl(reader, 0x40086602, struct.pack("l", 0x40))
    finally:
        os.close(reader)


def renamed_twice(folder: str) -> None:
    """Away and back."""
    os.rename(folder, f"{folder}-gone")
    os.rename(f"{folder}-gone", folder)


# By name: with the folder and the path of a file in it.
ON_FILES: dict[str, Trick] = {
    "write": lambda _, file: opened(file, os.O_WRONLY),
    "read and write": lambda _, file: opened(file, os.O_RDWR),
    "append": lambda _, file: opened(file, os.O_WRONLY | os.O_APPEND),
    "open and truncate": lambda _, file: opened(file, os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda _, file: os.truncate(file, 0),
    "write through /proc/self/root": lambda _, file: opened(f"/proc/self/root{file}", os.O_WRONLY),
    "write through /proc/self/fd": lambda _, file: reopened(file, "/proc/self/fd"),
    "write through /dev/fd": lambda _, file: reopened(file, "/dev/fd"),
    "write through a symbolic link": lambda _, file: linked_to(file),
    "set times": lambda _, file: os.utime(file, (0, 0)),
    "chmod": lambda _, file: os.chmod(file, 0o600),
    "chown": lambda _, file: os.chown(file, os.getuid(), os.getgid()),
    "set an attribute": lambda _, file: os.setxattr(file, "user.x", b"x"),
    "set a flag": lambda _, file: flagged(file),
    "create": lambda folder, _: opened(f"{folder}/new", os.O_CREAT | os.O_WRONLY),
    "create without a name": lambda folder, _: opened(folder, os.O_TMPFILE | os.O_RDWR),
    "make a folder": lambda folder, _: os.mkdir(f"{folder}/folder"),
    "make a symbolic link": lambda folder, _: os.symlink("x", f"{folder}/symbolic"),
    "make a pipe": lambda folder, _: os.mkfifo(f"{folder}/pipe"),
    "hard link inside": lambda folder, file: os.link(file, f"{folder}/hard"),
    "hard link out": lambda _, file: os.link(file, f"{MINE}/hard-{os.urandom(4).hex()}"),
    "hard link in": lambda folder, _: os.link(fresh(), f"{folder}/hard-in"),
    "rename over": lambda _, file: os.rename(fresh(), file),
    "rename inside": lambda folder, file: os.rename(file, f"{folder}/renamed"),
    "rename back": lambda folder, file: os.rename(f"{folder}/renamed", file),
    "rename the folder": lambda folder, _: renamed_twice(folder),
    "unlink": lambda _, file: os.unlink(file),
}


def mount(source: str, target: str, flags: int) -> int:
    """mount(2) without data."""
    return call("mount", source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)


def cloned(folder: str) -> int:
    """A detached copy of a mount (open_tree, Linux 5.2)."""
    return system_call(OPEN_TREE, HERE, folder.encode(), CLONE)


def made_writable(folder: str) -> int:
    """Clear the flag of the mount (mount_setattr, Linux 5.12)."""
    change = struct.pack("QQQQ", 0, READ_ONLY, 0, 0)
    return system_call(MOUNT_SETATTR, HERE, folder.encode(), 0x8000, change, ctypes.c_size_t(32))


def by_handle(folder: str) -> int:
    """Open the folder past its mount (open_by_handle_at), as an old escape from Docker did."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    number = ctypes.c_int()
    system_call(NAME_TO_HANDLE, HERE, folder.encode(), handle, ctypes.byref(number), 0)
    reader = os.open(folder, os.O_RDONLY)
    try:
        return system_call(OPEN_BY_HANDLE, reader, handle, os.O_RDONLY)
    finally:
        os.close(reader)


def bound_elsewhere(folder: str) -> None:
    """A second mount of the folder, where the agent likes."""
    os.makedirs(BOUND, exist_ok=True)
    mount(folder, BOUND, BIND)


def written_where_bound(file: str) -> None:
    """Write through that second mount, which may have forgotten what the first was told."""
    opened(f"{BOUND}/{os.path.basename(file)}", os.O_WRONLY)


def remounted_where_bound(file: str) -> None:
    """Write through it when its flag has been cleared: it is nobody else's."""
    mount("none", BOUND, REMOUNT | BIND)
    written_where_bound(file)


def left() -> None:
    """Be root over mounts of one's own, as far as the kernel lets one."""
    maps = {"setgroups": "deny", "uid_map": f"0 {os.getuid()} 1", "gid_map": f"0 {os.getgid()} 1"}
    call("unshare", NEW_USER_AND_MOUNTS)
    with contextlib.suppress(OSError):
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


# In an order in which each can work after the others have.
ON_MOUNTS: dict[str, Trick] = {
    "clear the flag of the mount": lambda folder, _: made_writable(folder),
    "remount": lambda folder, _: mount("none", folder, REMOUNT | BIND),
    "remount its file system": lambda folder, _: mount("none", folder, REMOUNT),
    "copy the mount": lambda folder, _: cloned(folder),
    "open past the mount": lambda folder, _: by_handle(folder),
    "bind elsewhere": lambda folder, _: bound_elsewhere(folder),
    "write where it is bound": lambda _, file: written_where_bound(file),
    "remount where it is bound": lambda _, file: remounted_where_bound(file),
    "bind over": lambda folder, _: mount(MINE, folder, BIND),
    "unmount": lambda folder, _: call("umount2", folder.encode(), DETACH),
    "leave the mount namespace": lambda *_: left(),
}
# After these the folder is no longer what was given.
HIDING = ("bind over", "unmount", "leave the mount namespace")
# Whoever has left tries the mounts first: files may be writable then.
HAVING_LEFT = {
    **{name: trick for name, trick in ON_MOUNTS.items() if name not in HIDING},
    **ON_FILES,
    **{name: ON_MOUNTS[name] for name in HIDING},
}


def all_on(folder: str, file: str, tricks: dict[str, Trick]) -> dict[str, str]:
    """What came of each trick."""
    path = f"{folder}/{file}"
    return {name: outcome(lambda do=trick: do(folder, path)) for name, trick in tricks.items()}


def thoroughly(folder: str, file: str) -> dict[str, str]:
    """What came of each trick, and of each by whoever has tried to leave the mount namespace."""
    seen = all_on(folder, file, {**ON_FILES, **ON_MOUNTS})
    again = all_on(folder, file, HAVING_LEFT)
    return seen | {f"{name}, having left": came for name, came in again.items()}


def apart(do: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What a child of the program has seen: the mounts of the program stay as they are."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writer, json.dumps(do()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as told:
        return dict(json.load(told))
