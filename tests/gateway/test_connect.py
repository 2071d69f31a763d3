"""The mode Connect: a tunnel to the host that a rule names, and through it to nobody else.

What is refused is counted where it would arrive: no server sees as much as a connection.
"""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import proxied
from bed.kube import wait_for
from gatebed import CELLS, GOOD, KEY, OLD_KEY, Bed, rule, tunnelled
from proxied import NotLetInError, asked, attempt, attempts, basic, secured, tunnel


def refusal(bed: Bed, authority: str, **fields: Any) -> NotLetInError:  # noqa: ANN401
    """How a tunnel is refused."""
    with pytest.raises(NotLetInError) as refused, tunnel(bed, authority, **fields):
        pass
    return refused.value


def test_a_tunnel_leads_to_the_host_itself(bed: Bed):
    """TLS is the agent's own from end to end: it checks the host's certificate itself."""
    bed.cell(0, tunnelled())
    context = ssl.create_default_context(cafile=bed.internet.authorities)

    with (
        tunnel(bed, "model.test:443") as sender,
        context.wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        status, body = asked(wrapped, "model.test", "/any/path?at=all", "DELETE")

    assert (status, body) == (200, b"world saw 203.0.113.10\n")
    assert bed.internet.requests == [("DELETE", "model.test", "/any/path?at=all")]


def test_a_tunnel_to_upper_case_is_the_same_tunnel(bed: Bed):
    bed.cell(0, tunnelled())

    assert attempt(bed, "MODEL.test") == 200


@pytest.mark.parametrize(
    ("authority", "why"),
    [
        ("files.test:443", "host-not-allowed"),
        ("x.model.test:443", "host-not-allowed"),
        ("model.test.:443", "host-not-allowed"),
        ("model.test:22", "host-not-allowed"),
        ("203.0.113.10:443", "host-not-allowed"),
        ("169.254.169.254:443", "host-not-allowed"),
        ("127.0.0.1:443", "host-not-allowed"),
        ("3405803786:443", "host-not-allowed"),
        ("0xcb00710a:443", "host-not-allowed"),
        ("0313.0.0161.012:443", "host-not-allowed"),
        ("[::1]:443", "no-host"),
        ("[::ffff:203.0.113.10]:443", "no-host"),
        ("reverse.test:443", "host-not-allowed"),
    ],
)
def test_a_tunnel_that_no_rule_allows_is_refused_and_nothing_arrives(
    bed: Bed, authority: str, why: str
):
    bed.cell(0, tunnelled())

    refused = refusal(bed, authority)

    assert (refused.status, refused.reason) == (403, why)
    assert bed.internet.visits == []
    assert attempt(bed, "model.test") == 200


@pytest.mark.parametrize(
    ("heads", "source", "status", "why"),
    [
        pytest.param({}, CELLS[0], 407, "unknown-run", id="none"),
        pytest.param(basic("ah1.x.y"), CELLS[0], 407, "unknown-run", id="made up"),
        pytest.param({"Authorization": "{0}"}, CELLS[0], 407, "unknown-run", id="elsewhere"),
        pytest.param({"Proxy-Authorization": "{1}"}, CELLS[0], 407, "unknown-run", id="old key"),
        pytest.param({"Proxy-Authorization": "{0}"}, CELLS[1], 403, "wrong-source", id="stolen"),
    ],
)
def test_only_the_run_itself_gets_a_tunnel(
    bed: Bed, heads: dict[str, str], source: str, status: int, why: str
):
    bed.cell(0, tunnelled())
    tokens = [basic(bed.token(0, key))["Proxy-Authorization"] for key in (KEY, OLD_KEY)]
    shown = {name: value.format(*tokens) for name, value in heads.items()}

    refused = refusal(bed, "model.test:443", heads=shown, source=source)

    assert (refused.status, refused.reason) == (status, why)
    assert ("proxy-authenticate" in refused.heads) == (status == 407)
    assert bed.internet.visits == []
    assert attempt(bed, "model.test") == 200


def test_a_mode_is_exclusive(bed: Bed):
    """No limit on methods and paths is got around by a tunnel; no tunnel is a way to ask."""
    bed.cell(0, rule(), tunnelled(host="files.test"))
    sent = {"Authorization": f"Bearer {bed.token(0)}"}

    assert refusal(bed, "model.test:443").reason == "mode-not-allowed"
    assert reverse(bed, "/files.test/v1/chat", sent) == 403
    assert bed.internet.visits == []
    assert attempt(bed, "files.test") == 200
    assert reverse(bed, "/model.test/v1/chat", sent) == 200


def reverse(bed: Bed, path: str, heads: dict[str, str]) -> int:
    """A request in the mode Reverse, at the same port."""
    head = "".join(f"{name}: {value}\r\n" for name, value in heads.items())
    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        return int(sender.recv(4096).split()[1])


def test_another_name_in_the_greeting_is_cut_off_before_it_leaves(bed: Bed):
    """Fronting: the server at the very address would answer to that name as well."""
    bed.cell(0, tunnelled())
    names = ["files.test", "xmodel.test", "model.test.evil.test", "test", "model.test."]

    assert attempts(bed, "model.test", names) == [0] * len(names)

    assert bed.internet.visits == []
    assert attempt(bed, "model.test") == 200
    assert bed.internet.visits == [GOOD]


def test_a_greeting_without_a_name_is_cut_off(bed: Bed):
    bed.cell(0, tunnelled())
    context = ssl.create_default_context(cafile=bed.internet.authorities)
    context.check_hostname = False

    with tunnel(bed, "model.test:443") as sender, pytest.raises((OSError, ssl.SSLError)):
        context.wrap_socket(sender)

    assert bed.internet.visits == []


NOT_TLS = (
    b"GET / HTTP/1.1\r\nHost: model.test\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"PROXY TCP4 10.244.0.12 203.0.113.10 1 443\r\n",
)


def test_what_is_not_tls_is_cut_off(bed: Bed):
    bed.cell(0, tunnelled())

    def say(said: bytes) -> bool:
        with tunnel(bed, "model.test:443") as sender:
            sender.sendall(said)
            return ended(sender)

    with ThreadPoolExecutor() as agents:
        assert all(agents.map(say, NOT_TLS))

    assert bed.internet.visits == []
    assert attempt(bed, "model.test") == 200


def ended(sender: socket.socket) -> bool:
    """Whether the other end is gone, without a word (a TLS alert is none of the upstream's)."""
    sender.settimeout(40)
    try:
        return sender.recv(4096) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("model.test:443", "model.test:443", 200),
        ("model.test:443", "files.test:443", 200),
        ("files.test:443", "model.test:443", 403),
        ("model.test:443@files.test:443", "model.test:443", 403),
        ("https://model.test:443/", "model.test:443", 403),
        ("/model.test:443", "model.test:443", 403),
    ],
)
def test_a_tunnel_leads_where_its_first_line_says(
    bed: Bed, target: str, host: str, status: int, version: str
):
    """Two places in one request are no way to be judged by one and led to the other."""
    bed.cell(0, tunnelled())
    head = basic(bed.token(0))["Proxy-Authorization"]
    text = f"CONNECT {target} HTTP/{version}\r\nHost: {host}\r\nProxy-Authorization: {head}\r\n\r\n"

    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(text.encode())
        first = int(proxied.receive(sender).split()[1])
        if first == 200:
            with secured(sender, "model.test", bed.internet.authorities) as wrapped:
                assert asked(wrapped, "model.test")[0] == 200

    assert first == status or (status == 403 and first in (400, 404))
    assert set(bed.internet.requests) <= {("GET", "model.test", "/v1/chat")}
    assert bool(bed.internet.visits) == (status == 200)


def test_bytes_that_come_with_the_request_are_judged_as_well(bed: Bed):
    """Some clients do not wait for the proxy's answer."""
    bed.cell(0, tunnelled())
    head = basic(bed.token(0))["Proxy-Authorization"]
    text = f"CONNECT model.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {head}\r\n\r\n"

    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(text.encode() + b"GET / HTTP/1.1\r\nHost: model.test\r\n\r\n")
        received = b""
        while piece := proxied.receive(sender):
            received += piece

    assert b"world" not in received
    assert bed.internet.visits == []


def test_a_tunnel_that_says_nothing_is_closed(bed: Bed):
    """It holds memory of ours, and nobody upstream has heard of it."""
    bed.cell(0, tunnelled())

    with tunnel(bed, "model.test:443") as sender:
        assert ended(sender)

    assert bed.internet.visits == []


def test_a_run_that_has_ended_gets_no_new_tunnel(bed: Bed):
    bed.cell(0, tunnelled())
    assert attempt(bed, "model.test") == 200

    bed.cell(0, tunnelled(), suspended=True)
    assert refusal(bed, "model.test:443").reason == "policy-suspended"
    bed.decider.cells.clear()
    assert attempt(bed, "model.test") == 407
    assert len(bed.internet.visits) == 1


def test_without_a_decider_there_is_no_tunnel(bed: Bed):
    bed.cell(0, tunnelled())
    bed.decider.stop()
    try:
        assert attempt(bed, "model.test") == 503
    finally:
        bed.decider.start()

    wait_for(lambda: attempt(bed, "model.test") == 200, 10, "the decider to answer again")


def test_an_agent_s_headers_choose_no_tunnel(bed: Bed):
    """A route, an address and filter state are nobody's to set but the decider's."""
    bed.cell(0, tunnelled())
    token = basic(bed.token(0))

    sent = {
        **token,
        "X-Anchorhold-Route": "connect",
        "X-Envoy-Original-Dst-Host": "198.51.100.30:443",
    }
    refused = refusal(bed, "files.test:443", heads=sent)
    with (
        tunnel(bed, "model.test:443", heads=sent) as sender,
        secured(sender, "model.test", bed.internet.authorities) as wrapped,
    ):
        assert asked(wrapped, "model.test")[0] == 200

    assert refused.status == 403
    assert bed.internet.visits == [GOOD]


def test_each_tunnel_is_a_line_and_so_is_what_was_cut_off(bed: Bed):
    bed.cell(0, tunnelled(host="a.wild.test"))
    attempt(bed, "a.wild.test")
    attempt(bed, "a.wild.test", "files.test")
    refusal(bed, "b.wild.test:443")

    def lines(**fields: str) -> list[dict[str, Any]]:
        return [line for line in bed.lines() if fields.items() <= line.items()]

    wait_for(
        lambda: lines(named="files.test", host="a.wild.test"), 20, "the line of the other name"
    )
    wait_for(lambda: lines(host="b.wild.test"), 20, "the line of the refusal")

    (passed,) = lines(named="a.wild.test")
    assert (passed["run"], passed["rule"], passed["host"]) == (
        "team-a/run-0",
        "model",
        "a.wild.test",
    )
    assert (passed["source"], passed["upstream"]) == (CELLS[0], f"{GOOD}:443")
    (cut,) = lines(named="files.test", host="a.wild.test")
    assert "upstream" not in cut
    assert (cut["run"], cut["host"]) == ("team-a/run-0", "a.wild.test")
    assert cut["details"] == "rbac_access_denied_matched_policy[none]"
    (refused,) = lines(host="b.wild.test")
    assert (refused["method"], refused["reason"]) == ("CONNECT", "host-not-allowed")
    assert bed.token(0) not in bed.log.read_text(encoding="utf-8")
