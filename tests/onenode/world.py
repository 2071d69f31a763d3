"""The internet as far as the node sees it: servers that answer everybody and write down who came.

`python3 -m onenode.world` runs in the network namespace `world`; a refusal means something only
because this would have answered.
"""

from __future__ import annotations

import http.server
import socket
import socketserver
import sys
import threading
from typing import Any

from onenode import settings


class Server(http.server.ThreadingHTTPServer):
    """Logs every connection, so that one without a request counts as a visit too."""

    def server_bind(self) -> None:
        """Bind, without asking for a name: there is no name server, and the wait is long."""
        socketserver.TCPServer.server_bind(self)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401
        """Admit everybody."""
        server = ":".join(str(part) for part in self.server_address[:2])
        print(f"{client_address[0]} connected to {server}", flush=True)
        return super().verify_request(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers any request with the address that it came from."""

    def answer(self) -> None:
        """Read what was sent and say who was seen."""
        size = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(size)
        body = f"world saw {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    # The names that http.server looks for.
    do_GET = do_HEAD = do_POST = answer  # noqa: N815
    do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write the source and the request."""
        print(f"{self.client_address[0]} {format % args}", flush=True)


def answers() -> bool:
    """Say whether every server accepts connections; to be run where they should be reachable."""
    for server in settings.WORLD_SERVERS:
        try:
            socket.create_connection(server, timeout=1).close()
        except OSError:
            return False
    return True


def serve() -> None:
    """Serve on every address of the world."""
    servers = [Server(address, Handler) for address in settings.WORLD_SERVERS]
    for server in servers:
        threading.Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(not answers())
    serve()
