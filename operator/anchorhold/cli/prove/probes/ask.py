"""Asks the gateway for this and that, and tells what it was answered."""

import http.client
import socket
import ssl
import time

SECONDS = 20


def probe(settings):
    """The answers in order, and which ports are open; with a `pause` it asks and says for ever."""
    while "pause" in settings:
        answers = [ask(row) for row in settings["requests"]]
        print(", ".join(("%d %s" % tuple(each[:2])).strip() for each in answers), flush=True)
        time.sleep(settings["pause"])
    return {
        "asked": [ask(row) for row in settings["requests"]],
        "open": [is_open(host, port) for host, port in settings["ports"]],
    }


def ask(row):
    """[status, reason, what came back of secrets]; a reason is the gateway's own word."""
    try:
        return tunnel(row) if row["method"] == "CONNECT" else request(row)
    except (OSError, http.client.HTTPException) as error:
        return [0, type(error).__name__, []]


def gateway():
    host, _, port = os.environ["ANCHORHOLD_GATEWAY"].rpartition(":")
    return host, int(port)


def token(row):
    """Its own, or another one, or none."""
    return row.get("token", os.environ.get("ANCHORHOLD_TOKEN", ""))


def request(row):
    connection = http.client.HTTPConnection(*gateway(), timeout=SECONDS)
    connection.putrequest(row["method"], row["path"], skip_host="host" in row)
    if "host" in row:
        connection.putheader("Host", row["host"])
    if token(row):
        connection.putheader("Authorization", "Bearer " + token(row))
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    return answered(connection.getresponse())


def tunnel(row):
    """A tunnel; and what is said in it, if it is opened."""
    head = "CONNECT %s HTTP/1.1\r\nHost: %s\r\n" % (row["path"], row["path"])
    if token(row):
        head += "Proxy-Authorization: Bearer %s\r\n" % token(row)
    with socket.create_connection(gateway(), SECONDS) as sender:
        sender.sendall((head + "\r\n").encode())
        reply = http.client.HTTPResponse(sender, method="CONNECT")
        reply.begin()
        return inside(sender, row) if reply.status == 200 else answered(reply)


def inside(sender, row):
    """A greeting that names a host, and a request; whom it reaches, we do not ask for papers."""
    greeting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    greeting.check_hostname, greeting.verify_mode = False, ssl.CERT_NONE
    host = row["path"].rpartition(":")[0]
    try:
        sender = greeting.wrap_socket(sender, server_hostname=row.get("name", host))
    except OSError:
        return [0, "cut", []]
    head = "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
    sender.sendall((head % (row.get("inside", "/"), row.get("host", host))).encode())
    reply = http.client.HTTPResponse(sender)
    reply.begin()
    return answered(reply)


def answered(reply):
    body = reply.read(1 << 16)
    return [reply.status, reason(body), told(reply, body)]


def reason(body):
    """Why the gateway refused, if it did."""
    try:
        error = json.loads(body)["error"]
        return error["reason"] if error["type"] == "egress_denied" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def told(reply, body):
    """What an upstream repeated of what it was sent, wherever: what follows the scheme."""
    texts = [body.decode("utf-8", "replace"), *(value for _, value in reply.getheaders())]
    pieces = [piece for text in texts for piece in text.split("Bearer ")[1:]]
    return [piece[:50].split('"')[0].split(" ")[0] for piece in pieces[:4]]


def is_open(host, port):
    """Whether something listens there; without a host, at the gateway's address."""
    try:
        socket.create_connection((host or gateway()[0], port), timeout=2).close()
    except OSError:
        return False
    return True
