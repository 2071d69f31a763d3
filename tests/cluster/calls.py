"""System calls that a hostile agent tries, as a program for a cell, and what becomes of them.

Each attempt is made in a process of its own, because some of them kill it. The answer is the
error's name, the signal that killed it, or the number that the call returned.
"""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from bed.kube import Document, Kubectl, wait_for

NAMESPACE = "seccomp-control"
SUCCESS = "works"


@dataclass(frozen=True)
class Attempt:
    """One call: its number on x86_64 and aarch64, its arguments, and the answer in a cell.

    An argument that is a text is a pointer to it. `control` is the answer where nothing filters:
    an error there shows that the call got as far as the kernel's look at its arguments. '*' is any
    answer but the cell's: kernels are built without some of these.
    """

    what: str
    numbers: tuple[int, int]
    words: tuple[int | str, ...] = ()
    cell: str = "EPERM"
    control: str = SUCCESS


def socket(what: str, *words: int, cell: str = "EPERM", control: str = SUCCESS) -> Attempt:
    """An attempt to make a socket."""
    return Attempt(f"a socket, {what}", (41, 198), words, cell, control)


NEW_USER, SIGNAL_CHILD = 0x10000000, 17
HERE, NOWHERE = -100, 1  # AT_FDCWD; and an address that nothing is at.
TMP = "/tmp"  # noqa: S108  # A folder that there is.
ATTEMPTS = (
    socket("AF_INET6", 10, 2, 0, cell="EAFNOSUPPORT"),
    socket("AF_ALG, the kernel's cryptography", 38, 5, 0, control="*"),
    socket("AF_PACKET, raw frames", 17, 3, 0),
    socket("AF_VSOCK, the machine's host", 40, 1, 0, control="*"),
    socket("AF_INET, raw", 2, 3, 1),
    socket("AF_INET, MPTCP", 2, 1, 262, control="*"),
    socket("AF_NETLINK, the node's devices", 16, 3, 15),
    socket("AF_NETLINK, the firewall", 16, 3, 12),
    Attempt("socketpair of AF_INET6", (53, 199), (10, 2, 0, "\0" * 8),
            "EAFNOSUPPORT", "ENOTSUP"),
    Attempt("io_uring_setup", (425, 425), (8, "\0" * 120), "ENOSYS"),
    Attempt("io_setup", (206, 0), (8, "\0" * 8), "ENOSYS"),
    Attempt("bpf", (321, 280), (0, NOWHERE, 128), control="EFAULT"),
    Attempt("perf_event_open", (298, 241), (NOWHERE, 0, -1, -1, 0), control="EFAULT"),
    Attempt("userfaultfd", (323, 282), (1,)),
    Attempt("keyctl", (250, 219), (0, -3, 1)),
    Attempt("add_key", (248, 217), ("user", "anchorhold", "x", 1, -2)),
    Attempt("request_key", (249, 218), ("user", "anchorhold", 0, 0), control="ENOKEY"),
    Attempt("unshare, a user namespace", (272, 97), (NEW_USER,)),
    Attempt("clone, a user namespace", (56, 220), (NEW_USER | SIGNAL_CHILD, 0, 0, 0, 0)),
    Attempt("clone, a network namespace", (56, 220), (0x40000000 | SIGNAL_CHILD, 0, 0, 0, 0)),
    Attempt("clone3", (435, 435), (0, 0), "ENOSYS", "EINVAL"),
    Attempt("setns", (308, 268), (-1, 0), control="EBADF"),
    Attempt("ptrace", (101, 117), (0, 0, 0, 0)),
    Attempt("process_vm_readv", (310, 270), (1, 0, 0, 0, 0, 0)),
    Attempt("process_vm_writev", (311, 271), (1, 0, 0, 0, 0, 0)),
    Attempt("kcmp", (312, 272), (1, 1, 1, 0, 0)),
    Attempt("pidfd_getfd", (438, 438), (-1, 0, 0), control="EBADF"),
    Attempt("mount", (165, 40), ("none", TMP, "tmpfs", 0, 0)),
    Attempt("umount2", (166, 39), ("/nowhere", 0), control="ENOENT"),
    Attempt("pivot_root", (155, 41), ("/nowhere", "/nowhere"), control="ENOENT"),
    Attempt("chroot", (161, 51), (TMP,)),
    Attempt("fsopen", (430, 430), ("tmpfs", 0)),
    Attempt("fspick", (433, 433), (HERE, "/nowhere", 0), control="ENOENT"),
    Attempt("fsconfig", (431, 431), (-1, 0, 0, 0, 0), control="EINVAL"),
    Attempt("fsmount", (432, 432), (-1, 0, 0), control="EBADF"),
    Attempt("open_tree", (428, 428), (HERE, TMP, 0)),
    Attempt("move_mount", (429, 429), (-1, "", -1, "", 0), control="ENOENT"),
    Attempt("mount_setattr", (442, 442), (-1, "", 0, 0, 0), control="EINVAL"),
    Attempt("statmount", (457, 457), (NOWHERE, NOWHERE, 512, 0), "ENOSYS", "EFAULT"),
    Attempt("name_to_handle_at", (303, 264), (HERE, TMP, "\0" * 8, "\0" * 8, 0),
            control="EOVERFLOW"),
    Attempt("fanotify_init", (300, 262), (0x200, 0)),
    Attempt("vmsplice", (278, 75), (-1, 0, 0, 0), control="EBADF"),
    Attempt("sethostname", (170, 161), ("elsewhere", 9)),
    Attempt("personality without random addresses", (135, 92), (0x0040000,)),
    Attempt("modify_ldt", (154, 0), (0, "\0" * 16, 16)),
    Attempt("iopl", (172, 0), (0,), control="*"),
    Attempt("quotactl", (179, 60), (NOWHERE, 0, 0, 0), control="*"),
)  # fmt: skip
# What the same cell may do: the program and its table can tell one from the other.
ALLOWED = (
    socket("AF_UNIX", 1, 1, 0, cell=SUCCESS),
    socket("AF_INET, TCP", 2, 1, 6, cell=SUCCESS),
    socket("AF_INET, UDP", 2, 2, 0, cell=SUCCESS),
    socket("AF_NETLINK, routes", 16, 3, 0, cell=SUCCESS),
    Attempt("socketpair of AF_UNIX", (53, 199), (1, 1, 0, "\0" * 8), SUCCESS),
    Attempt("clone, a process", (56, 220), (SIGNAL_CHILD, 0, 0, 0, 0), SUCCESS),
    Attempt("personality, to ask", (135, 92), (0xFFFFFFFF,), SUCCESS),
    Attempt("openat2", (437, 437), (HERE, TMP, "\0" * 24, 24), SUCCESS),
)
# mov eax, 20 (getpid of i386); int 0x80; ret
ENTRY_32 = "b814000000cd80c3"
ENTRY = "the 32-bit entry, int 0x80"

PROGRAM = """
import ctypes, errno, json, mmap, os, platform, signal
libc = ctypes.CDLL(None, use_errno=True)
arch = ('x86_64', 'aarch64').index(platform.machine())
def call(numbers, words):
    def do():
        kept = [ctypes.create_string_buffer(w.encode()) if isinstance(w, str) else ctypes.c_long(w)
                for w in words]
        if libc.syscall(ctypes.c_long(numbers[arch]), *kept) == -1:
            return errno.errorcode[ctypes.get_errno()]
        return 'works'
    return do
def entry():
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex(CODE))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return 'works' if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid() else 'another answer'
def attempt(do):
    end = os.pipe()
    child = os.fork()
    if child == 0:
        us = os.getpid()
        said = do()
        if os.getpid() == us:  # And not what it made.
            os.write(end[1], said.encode())
        os._exit(0)
    os.close(end[1])
    said = os.read(end[0], 99).decode()
    os.close(end[0])
    status = os.waitpid(child, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else said
found = {what: attempt(call(numbers, words)) for what, numbers, words in ATTEMPTS
         if numbers[arch]}
if arch == 0:
    found[ENTRY] = attempt(entry)
open('/dev/termination-log', 'w').write(json.dumps(found))
"""


def program() -> str:
    """The program that tries all of it."""
    table = [(a.what, a.numbers, a.words) for a in (*ATTEMPTS, *ALLOWED)]
    return f"ATTEMPTS, ENTRY, CODE = {table!r}, {ENTRY!r}, {ENTRY_32!r}\n{PROGRAM}"


def unfiltered(admin: Kubectl, image: str) -> dict[str, str]:
    """What becomes of the attempts of root in a user namespace of its own, without any filter."""
    security = {
        "runAsUser": 0,
        "capabilities": {"add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT"]},
        "seccompProfile": {"type": "Unconfined"},
    }
    container = {"name": "agent", "image": image, "args": [program()], "securityContext": security}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "unfiltered", "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "hostUsers": False, "containers": [container]},
    }
    admin.namespace(NAMESPACE)
    try:
        admin.create(pod)
        return dict(json.loads(wait_for(partial(result, admin), 60, "the Pod's end")))
    finally:
        admin.delete("namespace", NAMESPACE, "", "--wait=true")


def result(admin: Kubectl) -> str | None:
    """What the Pod returned, once it has ended."""
    found: Document | None = admin.get("pod", "unfiltered", NAMESPACE)
    assert found is not None
    state: Any = found["status"].get("containerStatuses", [{}])[0].get("state", {})
    return state.get("terminated", {}).get("message")
