"""Tries to get something out, by every channel that there is: a word that only it knows."""

import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

SECONDS = 2.0


def probe(settings):
    """What came of each target; `own` is the same by its own loopback."""
    targets = [dict(target, word=settings["word"]) for target in settings["targets"]]
    for target in targets:
        if target["host"] == "KUBERNETES_SERVICE_HOST":
            target["port"] = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
        target["host"] = os.environ.get(target["host"], target["host"])
    targets += [dict(t, word=settings["word"], name="own " + t["kind"]) for t in own()]
    targets += [
        dict(
            name="node by link-local IPv6, port %d" % port,
            kind="tcp6",
            host=host,
            port=port,
            word="-",
        )
        for host in neighbours()
        for port in (6443, 10250)
    ]
    with ThreadPoolExecutor(16) as pool:
        said = list(pool.map(attempt, targets))
    return {target["name"]: what for target, what in zip(targets, said)}


def attempt(target):
    """'answered', 'sent', or the error."""
    try:
        return KINDS[target["kind"]](target)
    except OSError as error:
        return NAMES.get(
            error.errno, "timeout" if isinstance(error, socket.timeout) else type(error).__name__
        )


def tcp(target, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as sender:
        sender.settimeout(SECONDS)
        sender.connect(
            socket.getaddrinfo(target["host"], target["port"], family, socket.SOCK_STREAM)[0][4]
        )
        sender.sendall(target["word"].encode() + b"\n")
        return "answered"


def udp(target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SECONDS)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(target["word"].encode() + b"\n", (target["host"], target["port"]))
        sender.recvfrom(512)
        return "answered"


def dns(target):
    label = target["word"].encode()[:40]
    query = (
        b"\x12\x34\x01\0\0\1\0\0\0\0\0\0"
        + bytes([len(label)])
        + label
        + b"\7example\3com\0\0\1\0\1"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SECONDS)
        sender.sendto(query, (target["host"], target["port"]))
        sender.recvfrom(512)
        return "answered"


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def icmp(target, kind=socket.SOCK_DGRAM):
    """An echo request; the kernel's own socket for it, or a raw one."""
    body = target["word"].encode().ljust(32, b".")[:32]
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    packet = struct.pack("!BBHHH", 8, 0, checksum(head + body), 7, 1) + body
    with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(SECONDS)
        sender.sendto(packet, (target["host"], 0))
        while True:
            if body in sender.recvfrom(512)[0]:
                return "answered"


def own():
    """A server on the loopback, for each way that has one."""
    stream, datagram = (
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    )
    datagram.bind(("127.0.0.1", 0))

    def echo():
        while True:
            said, who = datagram.recvfrom(512)
            datagram.sendto(said, who)

    threading.Thread(target=echo, daemon=True).start()
    KEPT.append(stream)
    return [
        {"kind": "tcp", "host": "127.0.0.1", "port": stream.getsockname()[1]},
        {"kind": "udp", "host": "127.0.0.1", "port": datagram.getsockname()[1]},
    ]


def neighbours():
    """Link-local addresses of the neighbours that the kernel knows, the node above all (EUI-64)."""
    try:
        rows = [line.split() for line in open("/proc/net/arp").readlines()[1:]]
    except OSError:
        rows = []
    found = set()
    for row in rows:
        octets = bytes.fromhex(row[3].replace(":", ""))
        if any(octets):
            identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
            found.add(
                "%s%%%s"
                % (socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + identifier), row[5])
            )
    return sorted(found)[:2]


# What would be closed otherwise, when nobody holds it any more.
KEPT = []
KINDS = {
    "tcp": tcp,
    "tcp6": lambda target: tcp(target, socket.AF_INET6),
    "udp": udp,
    "dns": dns,
    "icmp": icmp,
    "raw": lambda target: icmp(target, socket.SOCK_RAW),
}
