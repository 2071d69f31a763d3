"""Everything that must not answer a cell, and one way to try it all at once.

An error and a time-out both count as blocked: a fence may reject or swallow. That something is
there to answer at all is for others to know: the API server and the kubelet live, and the
controller asks the canary.
"""

import socket
import struct
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIMEOUT_SECONDS = 1.0
# A neighbour on the same link answers in no time; many answers are as good as few.
LISTEN_SECONDS, MAX_ANSWERS = 0.1, 16
# The API server and the kubelet, where they share the cell's node. What listens on all addresses
# answers on the node's link-local one as well, which a fence of IPv4 rules forgets.
NODE_PORTS = (6443, 10250)
ALL_NODES = "ff02::1"
ARP_TABLE = Path("/proc/net/arp")
ECHO_REQUEST = struct.pack("!BBHHH", 128, 0, 0, 0, 1)

Address = tuple[str, int]


def addresses(environment: Mapping[str, str]) -> list[Address]:
    """What the cell's environment says there is to try. Raises KeyError for what is missing."""
    api_server = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    nodes = environment["ANCHORHOLD_NODE_ADDRESSES"].split(",")
    named = [environment["ANCHORHOLD_CANARY"], *environment["ANCHORHOLD_CLOSED"].split()]
    return [
        (api_server[0], int(api_server[1])),
        *((node, port) for node in nodes for port in NODE_PORTS),
        *map(parse, named),
    ]


def parse(text: str) -> Address:
    """An address as 'host:port'; an IPv6 host may stand in brackets."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def answering(environment: Mapping[str, str]) -> list[str]:
    """What answers a cell at this moment; it ought to be nothing."""
    canary = parse(environment["ANCHORHOLD_CANARY"])
    answered = connect(addresses(environment))
    # The attempts above have put the node into the neighbour table.
    answered += connect((host, port) for host in link_local() for port in NODE_PORTS)
    return answered + [f"{host} by multicast" for host in heard(0, b"?", canary[1])]


def connect(wanted: Iterable[Address]) -> list[str]:
    """Those that accept a TCP connection within a second; all are tried at once."""
    known = list(wanted)
    with ThreadPoolExecutor(max(1, len(known))) as pool:
        accepted = pool.map(accepts, known)
    return [f"{host}:{port}" for (host, port), yes in zip(known, accepted, strict=True) if yes]


def accepts(address: Address) -> bool:
    """Whether a connection comes about. A kernel that refuses to try is as good as a wall."""
    try:
        socket.create_connection(address, TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def link_local() -> set[str]:
    """Link-local addresses of the neighbours that are known, the node above all.

    The neighbour table of IPv4 has their hardware addresses, from which theirs are made
    (RFC 4291, appendix A). A kernel without one (gVisor's) lets us ask who is there.
    """
    try:
        rows = [line.split() for line in ARP_TABLE.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        rows = []
    known = {f"{from_hardware(row[3])}%{row[5]}" for row in rows if row[3] != "00:00:00:00:00:00"}
    return known | heard(socket.IPPROTO_ICMPV6, ECHO_REQUEST, 0)


def from_hardware(address: str) -> str:
    """The link-local address that belongs to a hardware address (modified EUI-64)."""
    octets = bytes.fromhex(address.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + identifier)


def heard(protocol: int, message: bytes, port: int) -> set[str]:
    """Who answers a message to all nodes of the link: an echo request, or a datagram to a port."""
    found: set[str] = set()
    for index, interface in socket.if_nameindex():
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, protocol) as sender:
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
                sender.settimeout(LISTEN_SECONDS)
                sender.sendto(message, (ALL_NODES, port, 0, index))
                for _ in range(MAX_ANSWERS):
                    _, (host, *_) = sender.recvfrom(64)
                    found.add(f"{host.partition('%')[0]}%{interface}")
        except OSError:
            # No IPv6 here, or nobody answers any more.
            continue
    return found
