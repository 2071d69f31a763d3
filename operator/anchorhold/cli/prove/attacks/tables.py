"""What is tried, as data."""

from anchorhold.cli.api import Document

NEW_USER, NEW_MOUNTS, SIGNAL_CHILD = 0x10000000, 0x20000, 17
HERE, NOWHERE = -100, 1

# A call, its numbers on x86_64 and aarch64, and its arguments; a text is a pointer to it.
CALLS: list[tuple[str, tuple[int, int], list[int | str]]] = [
    ("a socket of AF_ALG", (41, 198), [38, 5, 0]),
    ("a socket of AF_PACKET", (41, 198), [17, 3, 0]),
    ("a socket of AF_VSOCK", (41, 198), [40, 1, 0]),
    ("a raw socket", (41, 198), [2, 3, 1]),
    ("a socket for the firewall", (41, 198), [16, 3, 12]),
    ("io_uring_setup", (425, 425), [8, "\0" * 120]),
    ("bpf", (321, 280), [0, NOWHERE, 128]),
    ("perf_event_open", (298, 241), [NOWHERE, 0, -1, -1, 0]),
    ("userfaultfd", (323, 282), [1]),
    ("keyctl", (250, 219), [0, -3, 1]),
    ("add_key", (248, 217), ["user", "anchorhold", "x", 1, -2]),
    ("unshare a user namespace", (272, 97), [NEW_USER]),
    ("clone a user namespace", (56, 220), [NEW_USER | SIGNAL_CHILD, 0, 0, 0, 0]),
    ("unshare mounts", (272, 97), [NEW_MOUNTS]),
    ("setns", (308, 268), [-1, 0]),
    ("ptrace", (101, 117), [0, 0, 0, 0]),
    ("process_vm_readv", (310, 270), [1, 0, 0, 0, 0, 0]),
    ("mount", (165, 40), ["none", "/tmp", "tmpfs", 0, 0]),
    ("pivot_root", (155, 41), ["/nowhere", "/nowhere"]),
    ("chroot", (161, 51), ["/tmp"]),
    ("fsopen", (430, 430), ["tmpfs", 0]),
    ("open_tree", (428, 428), [HERE, "/tmp", 0]),
    ("open past a mount", (303, 264), [HERE, "/tmp", "\0" * 8, "\0" * 8, 0]),
    ("fanotify_init", (300, 262), [0x200, 0]),
]
# The answers of a filter, of a kernel that asks for a capability, and of one that lacks the thing.
REFUSED = ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "SIGSYS")
# Behind a RuntimeClass, what a guest's kernel lets everybody do, to nobody but its guest: it keeps
# keys, users, processes and mounts of its own. Seen under gVisor; the rest is refused there too.
OF_THE_GUEST = (
    "keyctl", "unshare a user namespace", "clone a user namespace", "setns", "ptrace",
    "process_vm_readv", "open_tree",
)  # fmt: skip
# Its answers where it has no counters of a processor to give, and no numbers of files.
REFUSED_BY_A_GUEST = ("ENODEV", "ENOTSUP")
# Its own device, which is a file system of its own and no driver of the node's.
DOORS_OF_THE_GUEST = ("fuse",)
# And of what public escapes begin with: users of its own, and what they mount over its files.
BEGINNINGS_OF_THE_GUEST = ("users of its own", "users of its own, and an overlay")
# How an author would ask for an escape, if a run had these words: the word, and what it is in.
WORDS_OF_ESCAPES: dict[str, Document] = {
    "hostPath": {"inputs": [{"name": "input", "hostPath": {"path": "/"}}]},
    "volumes": {"volumes": [{"name": "node", "hostPath": {"path": "/var/run"}}]},
    "volumeMounts": {"volumeMounts": [{"name": "node", "mountPath": "/node"}]},
    "volumeDevices": {"volumeDevices": [{"name": "disk", "devicePath": "/dev/sda"}]},
    "privileged": {"privileged": True},
    "capabilities": {"capabilities": {"add": ["SYS_ADMIN"]}},
    "securityContext": {"securityContext": {"runAsUser": 0}},
    "seccompProfile": {"seccompProfile": {"type": "Unconfined"}},
    "appArmorProfile": {"appArmorProfile": {"type": "Unconfined"}},
    "procMount": {"procMount": "Unmasked"},
    "sysctls": {"sysctls": [{"name": "kernel.core_pattern", "value": "|/x"}]},
    "hostPID": {"hostPID": True},
    "hostIPC": {"hostIPC": True},
    "hostNetwork": {"hostNetwork": True},
    "hostUsers": {"hostUsers": True},
    "nodeName": {"nodeName": "any"},
    "runtimeClassName": {"runtimeClassName": "runc"},
    "serviceAccountName": {"serviceAccountName": "default"},
    "automountServiceAccountToken": {"automountServiceAccountToken": True},
    "containers": {"containers": [{"name": "second"}]},
    "initContainers": {"initContainers": [{"name": "first"}]},
    "template": {"template": {"spec": {"hostPID": True}}},
}


def targets(host: str, port: int) -> list[Document]:
    """What no cell may reach, by every way. Not everything is there on every cluster."""
    api = "KUBERNETES_SERVICE_HOST"
    return [
        {"name": "TCP to the API server", "kind": "tcp", "host": api},
        {"name": "ping to the API server", "kind": "icmp", "host": api, "optional": True},
        {"name": "TCP to the internet", "kind": "tcp", "host": host, "port": port,
         "optional": True},
        {"name": "DNS to the internet", "kind": "dns", "host": host, "port": 53, "optional": True},
        {"name": "ping to the internet", "kind": "icmp", "host": host, "optional": True},
        {"name": "a raw packet to the internet", "kind": "raw", "host": host, "optional": True},
        {"name": "TCP to the metadata service", "kind": "tcp", "host": "169.254.169.254",
         "port": 80, "optional": True},
        {"name": "UDP to everybody", "kind": "udp", "host": "255.255.255.255", "port": 8080,
         "optional": True},
        {"name": "UDP to a group", "kind": "udp", "host": "224.0.0.1", "port": 8080,
         "optional": True},
    ]  # fmt: skip


def nodes(addresses: list[str]) -> list[Document]:
    """The ports of a node that matter most."""
    ports = {"the kubelet": 10250, "the API server's node": 6443}
    return [
        {"name": f"TCP to {what} at {address}", "kind": "tcp", "host": address, "port": port,
         "optional": True}
        for address in addresses for what, port in ports.items()
    ]  # fmt: skip


def canary(address: str, port: int) -> list[Document]:
    """Somebody who answers everybody."""
    return [
        {"name": "TCP to a Pod", "kind": "tcp", "host": address, "port": port},
        {"name": "UDP to a Pod", "kind": "udp", "host": address, "port": port},
        {"name": "ping to a Pod", "kind": "icmp", "host": address, "optional": True},
    ]
