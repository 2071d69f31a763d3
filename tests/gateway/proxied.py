"""A client that takes the gateway for its HTTPS proxy, and that can lie at each step."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from gatebed import CELLS, Bed


class NotLetInError(Exception):
    """The gateway's answer, where it is no tunnel."""

    def __init__(self, status: int, body: bytes, heads: dict[str, str]) -> None:
        super().__init__(status, body)
        self.status, self.body, self.heads = status, body, heads

    @property
    def reason(self) -> str:
        """Why, as an agent reads it; empty where it was Envoy that said so."""
        return str(json.loads(self.body)["error"]["reason"]) if self.body else ""


def basic(token: str) -> dict[str, str]:
    """How a client shows a proxy the password of its URL."""
    encoded = base64.b64encode(f"run:{token}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}


@contextmanager
def tunnel(
    bed: Bed, authority: str, *, heads: dict[str, str] | None = None, source: str = CELLS[0]
) -> Iterator[socket.socket]:
    """A tunnel as it is before anything went through it. Raises NotLetInError."""
    shown = basic(bed.token(0)) if heads is None else heads
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in shown.items()]
    with socket.create_connection((CELLS[0], 8080), 10, source_address=(source, 0)) as sender:
        sender.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with closing(http.client.HTTPResponse(sender, method="CONNECT")) as response:
            response.begin()
            if response.status != 200:
                length = int(response.headers.get("content-length") or 0)
                body = response.fp.read(length)
                raise NotLetInError(response.status, body, dict(response.headers))
        yield sender


@contextmanager
def secured(sender: socket.socket, name: str | None, authorities: Path) -> Iterator[ssl.SSLSocket]:
    """TLS through a tunnel, under any name; whose certificate it is the client looks at later."""
    context = ssl.create_default_context(cafile=authorities)
    context.check_hostname = False
    with context.wrap_socket(sender, server_hostname=name) as wrapped:
        yield wrapped


def asked(
    sender: ssl.SSLSocket,
    host: str,
    path: str = "/v1/chat",
    method: str = "GET",
    heads: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request through a tunnel, and its answer."""
    connection = http.client.HTTPConnection(host)
    connection.sock = sender
    connection.request(method, path, headers=heads or {})
    response = connection.getresponse()
    return response.status, response.read()


def receive(sender: socket.socket) -> bytes:
    """What comes next; nothing where the other end is gone, or silent."""
    try:
        return sender.recv(4096)
    except OSError:
        return b""


def attempt(bed: Bed, host: str, name: str | None = None, authorities: Path | None = None) -> int:
    """All of it, as honest clients do it, or with another name in the greeting: what came back.

    0 is a connection that was cut. `authorities` are those of the world where nothing else is said.
    """
    trusted = authorities or bed.internet.authorities
    try:
        with (
            tunnel(bed, f"{host}:443") as sender,
            secured(sender, name or host, trusted) as wrapped,
        ):
            return asked(wrapped, host)[0]
    except NotLetInError as refusal:
        return refusal.status
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return 0


def attempts(bed: Bed, host: str, names: Sequence[str]) -> list[int]:
    """An attempt with each name in the greeting, all at a time: to be cut off takes a while."""
    with ThreadPoolExecutor(len(names)) as agents:
        return list(agents.map(lambda name: attempt(bed, host, name), names))
