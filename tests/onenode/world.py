"""The internet as far as the node sees it: servers that answer everybody and write down who came.

`python3 -m onenode.world serve PKI` runs in the network namespace `world`; a refusal means
something only because this would have answered. It also serves the names of `settings`, and the
scripted model server.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

from onenode import repository, scripted, settings
from onenode.nameserver import NameServer

CHUNK = b"x" * 65_536
# RFC 6455: what a server adds to a client's key, and a frame of text that is not split.
WEBSOCKET_GUID, TEXT_FRAME = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 0x81


class Server(http.server.ThreadingHTTPServer):
    """Logs every connection, so that one without a request counts as a visit too."""

    tls: ssl.SSLContext | None = None
    files = Path("/nonexistent")

    def server_bind(self) -> None:
        """Bind, without asking for a name: there is no name server, and the wait is long."""
        socketserver.TCPServer.server_bind(self)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401
        """Admit everybody."""
        server = ":".join(str(part) for part in self.server_address[:2])
        print(f"{client_address[0]} connected to {server}", flush=True)
        return super().verify_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Shake hands in the connection's own thread, if at all."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        try:
            with self.tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        except OSError as error:
            print(f"{client_address[0]} hung up: {error}", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers any request with the address that it came from, and some with more."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait for an acknowledgement of the first.
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Read what was sent, and answer by the first part of the path."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        special = {
            "bytes": self._bytes,
            "ticks": self._ticks,
            "websocket": self._echo_frames,
            "echo": self._echo,
            "repeat": self._repeat,
            "digest": self._digest,
            "redirect": self._redirect,
            "repo.git": self._file,
        }
        if path in scripted.PROTOCOLS and self.command == "POST":
            self._play(scripted.PROTOCOLS[path], json.loads(self.body))
        else:
            special.get(path.split("/")[1], self._greet)()

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = answer  # noqa: N815
    do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write the source, the host that was asked for, and the request."""
        host = self.headers.get("Host", "-") if hasattr(self, "headers") else "-"
        print(f"{self.client_address[0]} {format % args} for {host}", flush=True)

    def _send(self, body: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def _greet(self) -> None:
        self._send(f"world saw {self.client_address[0]}\n".encode())

    def _echo(self) -> None:
        """All that was said, which no server should tell who brings secrets."""
        seen = {"method": self.command, "path": self.path, "headers": dict(self.headers)}
        self._send(json.dumps(seen).encode())

    def _repeat(self) -> None:
        """What was shown, in a header and in a body: cut at a place, and each piece in pieces."""
        cut, size = (int(word.partition("=")[2]) for word in self.path.partition("?")[2].split("&"))
        shown = self.headers.get("Authorization", "")
        place = len("before Bearer ") + cut
        body = f"before {shown} after".encode()
        self.send_response(200)
        self.send_header("X-Repeated", shown)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for part in (body[:place], body[place:]):
            step = size or len(part) or 1
            for at in range(0, len(part), step):
                self.wfile.write(part[at : at + step])
                self.wfile.flush()
                time.sleep(0.01)

    def _digest(self) -> None:
        """Whoever sent a secret can tell that it arrived, and nobody learns it from this."""
        sent = self.headers.get("Authorization", "").encode()
        self._send(hashlib.sha256(sent).hexdigest().encode())

    def _file(self) -> None:
        """A file of the repository."""
        wanted = self.server.files / self.path.partition("?")[0].lstrip("/")
        if ".." in self.path or not wanted.is_file():
            self.send_error(404)
            return
        self._send(wanted.read_bytes(), "application/octet-stream")

    def _redirect(self) -> None:
        """Send whoever asks to where the query says."""
        self.send_response(302)
        self.send_header("Location", self.path.partition("?")[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _play(self, script: scripted.OpenAI | scripted.Anthropic, asked: dict[str, Any]) -> None:
        if not asked.get("stream"):
            self._send(json.dumps(script.whole(asked)).encode())
            return
        self._begin_stream()
        for name, event in script.stream(asked):
            head = f"event: {name}\n" if name else ""
            self._piece(f"{head}data: {json.dumps(event)}\n\n".encode())
        if isinstance(script, scripted.OpenAI):
            self._piece(b"data: [DONE]\n\n")
        self._piece(b"")

    def _ticks(self) -> None:
        """Some events, a little apart, each with the moment that it was sent."""
        self._begin_stream()
        for _ in range(int(self.path.rpartition("=")[2])):
            self._piece(f"data: {time.time()}\n\n".encode())
            time.sleep(0.2)
        self._piece(b"")

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _piece(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def _bytes(self) -> None:
        count = int(self.path.rpartition("/")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(count))
        self.end_headers()
        for left in range(count, 0, -len(CHUNK)):
            self.wfile.write(CHUNK[:left])

    def _echo_frames(self) -> None:
        """A WebSocket that sends one short message back and closes."""
        key = self.headers["Sec-WebSocket-Key"] + WEBSOCKET_GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())  # noqa: S324  # RFC 6455
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        _, length = self.rfile.read(2)
        mask = self.rfile.read(4)
        masked = self.rfile.read(length & 0x7F)
        text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
        self.wfile.write(bytes([TEXT_FRAME, len(text)]) + text)
        self.close_connection = True


def answers() -> bool:
    """Say whether every server accepts connections; to be run where they should be reachable."""
    for server in (*settings.WORLD_SERVERS, *settings.WORLD_TLS):
        try:
            socket.create_connection(server, timeout=1).close()
        except OSError:
            return False
    return True


def tls(pki: Path) -> ssl.SSLContext:
    """What makes a server speak TLS under the names of the world."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "world.crt", pki / "world.key")
    return context


def serve(pki: Path) -> None:
    """Serve on every address of the world."""
    Server.files = repository.create(pki.parent / "world")
    servers: list[socketserver.BaseServer] = [
        Server(address, Handler) for address in settings.WORLD_SERVERS
    ]
    for address in settings.WORLD_TLS:
        server = Server(address, Handler)
        server.tls = tls(pki)
        servers.append(server)
    servers.append(NameServer(settings.NAME_SERVER, settings.WORLD_NAMES))
    for each in servers:
        threading.Thread(target=each.serve_forever).start()


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(not answers())
    serve(Path(sys.argv[2]))
