"""The name server of `world`: good names, and names that lead where no name may lead.

UDP, one question a packet; what it does not know does not exist (NXDOMAIN).
"""

from __future__ import annotations

import ipaddress
import socketserver
import struct
from collections.abc import Iterator, Mapping

TTL_SECONDS = 1
A, AAAA = 1, 28
ANSWER, NO_SUCH_NAME = 0x8580, 0x8583

# A name is given these addresses; of several lists, one after the other.
Names = Mapping[str, tuple[tuple[str, ...], ...]]


class NameServer(socketserver.ThreadingUDPServer):
    """Answers by a table."""

    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], names: Names) -> None:
        super().__init__(address, Question)
        self._names = names
        self._turns: dict[tuple[str, int], int] = {}

    def addresses(self, name: str, kind: int) -> tuple[str, ...] | None:
        """The addresses of this kind; None for a name that does not exist."""
        lists = self._names.get(name.lower())
        if lists is None:
            return None
        turn = self._turns.get((name, kind), 0)
        self._turns[name, kind] = turn + 1
        version = 4 if kind == A else 6
        listed = lists[min(turn, len(lists) - 1)]
        return tuple(each for each in listed if ipaddress.ip_address(each).version == version)


class Question(socketserver.BaseRequestHandler):
    """One packet."""

    server: NameServer

    def handle(self) -> None:
        """Answer."""
        packet, socket = self.request
        name, end = read_name(packet)
        (kind,) = struct.unpack_from("!H", packet, end)
        found = self.server.addresses(name, kind) if kind in (A, AAAA) else ()
        print(f"{self.client_address[0]} asked for {name}: {found}", flush=True)
        flags = NO_SUCH_NAME if found is None else ANSWER
        head = packet[:2] + struct.pack("!HHHHH", flags, 1, len(found or ()), 0, 0)
        records = b"".join(record(kind, address) for address in found or ())
        socket.sendto(head + packet[12 : end + 4] + records, self.client_address)


def read_name(packet: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels = list(read_labels(packet))
    length = sum(len(label) + 1 for label in labels) + 1
    return b".".join(labels).decode("ascii", "replace"), 12 + length


def read_labels(packet: bytes) -> Iterator[bytes]:
    """The labels of the name that is asked for."""
    at = 12
    while packet[at]:
        yield packet[at + 1 : at + 1 + packet[at]]
        at += packet[at] + 1


def record(kind: int, address: str) -> bytes:
    """One address, for the name that the question has."""
    packed = ipaddress.ip_address(address).packed
    return struct.pack("!HHHIH", 0xC00C, kind, 1, TTL_SECONDS, len(packed)) + packed
