"""The canary: something that anybody can reach, and no cell may. `python3 -m …inside.canary`.

The controller asks it from outside, so that silence in a cell means a fence and no dead canary.
It answers a TCP connection by ending it, and a datagram by another.
"""

import socket
import socketserver
import threading

PORT = 8443
# One socket for both, where the kernel has IPv6 at all.
FAMILY = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET


class Greeter(socketserver.BaseRequestHandler):
    """Takes a connection, and lets it go."""


class Echo(socketserver.BaseRequestHandler):
    """Says one byte to whoever sends one datagram."""

    def handle(self) -> None:
        """Answer."""
        self.request[1].sendto(b"!", self.client_address)


class Streams(socketserver.ThreadingTCPServer):
    """All of the Pod's addresses, IPv4 and IPv6."""

    address_family = FAMILY
    allow_reuse_address = True


class Datagrams(socketserver.UDPServer):
    """The same by UDP."""

    address_family = FAMILY


def main() -> None:
    """Answer for ever."""
    with Streams(("", PORT), Greeter) as streams, Datagrams(("", PORT), Echo) as datagrams:
        threading.Thread(target=streams.serve_forever, daemon=True).start()
        datagrams.serve_forever()


if __name__ == "__main__":
    main()
