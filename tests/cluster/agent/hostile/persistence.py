"""Leaves a marker in every place it can, and finds one."""

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator

import writable
from telling import call, outcome, system_call

KEY = 0x416E63
MESSAGE_BYTES = 64
CREATE = 0o1600
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
KEYCTL_SEARCH, USER_KEYRING = 10, -4
held: list[object] = []


def leave(marker: str) -> dict[str, str]:
    """Write the marker everywhere; what came of each place."""
    files = {path: outcome(lambda p=path: write(p, marker)) for path in writable.places()}
    others = {name: outcome(lambda do=do: do(marker)) for name, (do, _) in ELSEWHERE.items()}
    return files | others


def write(path: str, marker: str) -> None:
    """Leave the marker in a file; in a folder as a name, and in the file where that takes it."""
    if not os.path.isdir(path):
        append(path, marker)
        return
    os.close(os.open(f"{path}/{marker}", os.O_CREAT, 0o666))
    with contextlib.suppress(OSError):
        append(f"{path}/{marker}", marker)


def append(path: str, marker: str) -> None:
    with open(path, "ab", 0) as file:
        file.write(marker.encode())


def find(marker: str) -> list[str]:
    """Every place that has the marker now."""
    files = {folder for path in readable() if (folder := place_of(path, marker))}
    others = {name for name, (_, look) in ELSEWHERE.items() if finds(look, marker)}
    return sorted(files | others)


def finds(look: Callable[[str], bool], marker: str) -> bool:
    with contextlib.suppress(OSError):
        return look(marker)
    return False


def place_of(path: str, marker: str) -> str:
    """The place that a file with the marker lies in; nothing for all others."""
    if marker in os.path.basename(path):
        return os.path.dirname(path)
    with contextlib.suppress(OSError), open(path, "rb") as file:
        while block := file.read(2**20):
            if marker.encode() in block:
                return path
    return ""


def readable() -> Iterator[str]:
    """Every regular file outside of what the kernel shows, and inside what it might keep."""
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        for name in files:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.lstat(f"{folder}/{name}").st_mode):
                    yield os.path.join(folder, name)
    for folder, _, files in os.walk("/proc/sys"):
        yield from (os.path.join(folder, name) for name in files)


def system_v_memory(marker: str) -> None:
    """A segment that outlives its maker."""
    LIBC_SHMAT.restype = ctypes.c_void_p
    place = LIBC_SHMAT(call("shmget", KEY, 4096, CREATE), None, 0)
    ctypes.memmove(place, marker.encode(), len(marker))


def in_system_v_memory(marker: str) -> bool:
    LIBC_SHMAT.restype = ctypes.c_void_p
    place = LIBC_SHMAT(call("shmget", KEY, 4096, 0o600), None, 0o10000)
    return marker.encode() in ctypes.string_at(place, 4096)


def system_v_message(marker: str) -> None:
    """A message that waits for ever."""
    message = ctypes.create_string_buffer(
        b"\1".ljust(8, b"\0") + marker.encode(), 8 + MESSAGE_BYTES
    )
    call("msgsnd", call("msgget", KEY, CREATE), message, MESSAGE_BYTES, 0)


def in_system_v_message(marker: str) -> bool:
    """Look without taking it: MSG_COPY with IPC_NOWAIT."""
    message = ctypes.create_string_buffer(8 + MESSAGE_BYTES)
    queue = call("msgget", KEY, 0o600)
    call("msgrcv", queue, message, MESSAGE_BYTES, ctypes.c_long(0), 0)
    call("msgsnd", queue, message, MESSAGE_BYTES, 0)
    return marker.encode() in message.raw


def system_v_semaphores(marker: str) -> None:
    """A set under a key that only the marker tells."""
    call("semget", key_of(marker), 1, CREATE)


def in_system_v_semaphores(marker: str) -> bool:
    return call("semget", key_of(marker), 1, 0) >= 0


def key_of(marker: str) -> int:
    return int(marker[:7], 16)


def posix_queue(marker: str) -> None:
    """A message queue with a name."""
    held.append(call("mq_open", f"/{marker}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None))


def in_posix_queue(marker: str) -> bool:
    return call("mq_open", f"/{marker}".encode(), os.O_RDONLY) >= 0


def abstract_socket(marker: str) -> None:
    """A socket without a file."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"\0{marker}")
    server.listen()
    held.append(server)


def in_abstract_socket(marker: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{marker}")
    return True


def process_name(marker: str) -> None:
    """A daemon whose name is the marker."""
    if os.fork() == 0:
        os.setsid()
        os.execlp("python3", marker, "-c", "import time; time.sleep(600)")
    time.sleep(0.5)


def in_process_name(marker: str) -> bool:
    mine = os.getpid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if int(name) != mine and file.read().startswith(marker.encode()):
                return True
    return False


def kernel_key(marker: str) -> None:
    """A key in the keyring of this user."""
    text = marker.encode()
    system_call(ADD_KEY, b"user", text, text, ctypes.c_size_t(len(text)), USER_KEYRING)


def in_kernel_key(marker: str) -> bool:
    return system_call(KEYCTL, KEYCTL_SEARCH, USER_KEYRING, b"user", marker.encode(), 0) >= 0


def file_lock(_: str) -> None:
    """A lock on a file of the image, which every run of it has."""
    file = open(__file__)
    fcntl.flock(file, fcntl.LOCK_EX)
    held.append(file)


def in_file_lock(_: str) -> bool:
    with open(__file__) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


LIBC_SHMAT = ctypes.CDLL(None, use_errno=True).shmat
ELSEWHERE: dict[str, tuple[Callable[[str], object], Callable[[str], bool]]] = {
    "System V shared memory": (system_v_memory, in_system_v_memory),
    "a System V message": (system_v_message, in_system_v_message),
    "System V semaphores": (system_v_semaphores, in_system_v_semaphores),
    "a POSIX message queue": (posix_queue, in_posix_queue),
    "an abstract socket": (abstract_socket, in_abstract_socket),
    "the name of a daemon": (process_name, in_process_name),
    "a lock on a file of the image": (file_lock, in_file_lock),
    "a key in the kernel": (kernel_key, in_kernel_key),
}
