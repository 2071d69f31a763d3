"""Listens on all its addresses and prints every word that arrives, until somebody ends it."""

import socket
import threading

PORT = 8080


def probe(settings):
    """For ever."""
    stream = socket.create_server(("0.0.0.0", PORT))
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("0.0.0.0", PORT))
    print("listening", flush=True)

    def datagrams():
        while True:
            said, who = datagram.recvfrom(512)
            print("udp", who[0], said.decode("ascii", "replace").strip(), flush=True)
            datagram.sendto(b"!", who)

    threading.Thread(target=datagrams, daemon=True).start()
    while True:
        visitor, who = stream.accept()
        threading.Thread(target=hear, args=(visitor, who), daemon=True).start()


def hear(visitor, who):
    """One visitor; a connection without a word is a visit too."""
    visitor.settimeout(2)
    try:
        said = visitor.recv(512).decode("ascii", "replace").strip()
    except OSError:
        said = "-"
    print("tcp", who[0], said, flush=True)
    visitor.close()
