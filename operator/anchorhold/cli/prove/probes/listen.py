"""Listens on all its addresses and prints every word that arrives, until somebody ends it."""

import contextlib
import socket
import threading

# The second is where whoever is not told otherwise goes; not everybody may listen there.
PORT, USUAL = 8080, 443


def probe(settings):
    """For ever."""
    streams = [socket.create_server(("0.0.0.0", PORT))]
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("0.0.0.0", PORT))
    with contextlib.suppress(OSError):
        streams.append(socket.create_server(("0.0.0.0", USUAL)))
    print("listening", flush=True)

    def datagrams():
        while True:
            said, who = datagram.recvfrom(512)
            print("udp", who[0], said.decode("ascii", "replace").strip(), flush=True)
            datagram.sendto(b"!", who)

    threading.Thread(target=datagrams, daemon=True).start()
    for stream in streams[1:]:
        threading.Thread(target=accept, args=(stream,), daemon=True).start()
    accept(streams[0])


def accept(stream):
    while True:
        visitor, who = stream.accept()
        threading.Thread(target=hear, args=(visitor, who), daemon=True).start()


def hear(visitor, who):
    """One visitor, in one line; a connection without a word is a visit too."""
    visitor.settimeout(2)
    try:
        said = visitor.recv(512).decode("ascii", "replace")
    except OSError:
        said = "-"
    print("tcp", who[0], " ".join(said.split()), flush=True)
    visitor.close()
