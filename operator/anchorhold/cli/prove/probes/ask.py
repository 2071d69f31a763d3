"""Asks the gateway for this and that, and tells what it was answered."""

import http.client
import socket
import time

SECONDS = 20


def probe(settings):
    """The status and the gateway's reason for each request; for each port, whether it is open."""
    token = os.environ.get("ANCHORHOLD_TOKEN", "")
    asked = {}
    for name, row in settings["requests"].items():
        asked[name] = ask(row[0], row[1], row[2] or token, row[3:])
    time.sleep(settings.get("wait", 0))
    return {"asked": asked, "open": [port for port in settings["ports"] if is_open(port)]}


def ask(method, path, token, more):
    """[status, reason, whether a secret came back]; a reason is the gateway's own word."""
    host, _, port = os.environ["ANCHORHOLD_GATEWAY"].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        connection.putrequest(method, path, skip_host=bool(more))
        if more:
            connection.putheader("Host", more[0])
        connection.putheader("Authorization", "Bearer " + token)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        reply = connection.getresponse()
        body = reply.read(1 << 16)
        return [reply.status, reason(body), told(reply, body)]
    except (OSError, http.client.HTTPException) as error:
        return [0, type(error).__name__, ""]


def reason(body):
    """Why the gateway refused, if it did."""
    try:
        error = json.loads(body)["error"]
        return error["reason"] if error["type"] == "egress_denied" else ""
    except (ValueError, KeyError, TypeError):
        return ""


def told(reply, body):
    """What an upstream repeated of what it was sent: the scheme and what follows it."""
    text = body.decode("utf-8", "replace") + " ".join(value for _, value in reply.getheaders())
    start = text.find("Bearer ")
    return text[start : start + 60] if start >= 0 else ""


def is_open(port):
    """Whether something listens at the gateway's address."""
    host = os.environ["ANCHORHOLD_GATEWAY"].rpartition(":")[0]
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True
