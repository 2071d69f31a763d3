"""Hears every word that arrives, by TCP, UDP and ping, and prints it, until somebody ends it."""

import socket
import threading

PORT, MOST_BYTES = 8080, 1 << 16


def probe(_):
    """For ever."""
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("0.0.0.0", PORT))
    ping = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    stream = socket.create_server(("0.0.0.0", PORT))
    for receiver in (datagram, ping):
        threading.Thread(target=packets, args=(receiver,), daemon=True).start()
    print("listening", flush=True)
    while True:
        visitor, _ = stream.accept()
        threading.Thread(target=hear, args=(visitor,), daemon=True).start()


def packets(receiver):
    while True:
        say(receiver.recv(MOST_BYTES))


def hear(visitor):
    """All that one visitor says, until it is silent."""
    visitor.settimeout(1)
    said = b""
    try:
        while chunk := visitor.recv(MOST_BYTES):
            said += chunk
    except OSError:
        pass
    say(said)
    visitor.close()


def say(said):
    print(said.decode("latin-1").replace("\n", " "), flush=True)
