"""What each mode carries, as real clients send it: WebSockets, HTTP/2, gRPC, and much of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

import proxied
from anchorhold.api.egress import EgressRule
from gatebed import CELLS, GOOD, Bed, intercepted, rule, tunnelled

MODES = ("reverse", "connect", "intercept")
MEGABYTES = 100_000_000


def allowed(mode: str, *paths: str, **fields: object) -> EgressRule:
    """A rule for model.test in this mode."""
    if mode == "connect":
        return tunnelled(**fields)
    return (rule if mode == "reverse" else intercepted)(paths=list(paths), **fields)


def trusted(bed: Bed, mode: str) -> Path:
    """Whom an agent must trust for what it sees."""
    return bed.decider.authority / "tls.crt" if mode == "intercept" else bed.internet.authorities


def place(mode: str, path: str) -> str:
    """The URL of a path at model.test, as an agent asks for it in this mode."""
    if mode == "reverse":
        return f"http://{CELLS[0]}:8080/model.test{path}"
    return f"https://model.test{path}"


def environment(bed: Bed, mode: str) -> dict[str, str]:
    """What a rule's `env` sets for it."""
    if mode == "reverse":
        return {}
    return {
        "https_proxy": f"http://run:{bed.token(0)}@{CELLS[0]}:8080",
        "HTTPS_PROXY": f"http://run:{bed.token(0)}@{CELLS[0]}:8080",
        "SSL_CERT_FILE": str(trusted(bed, mode)),
        "CURL_CA_BUNDLE": str(trusted(bed, mode)),
    }


def curl(bed: Bed, mode: str, path: str, *words: str) -> tuple[str, ...]:
    """What curl says of a request: its status, the version of HTTP, and how much came and went."""
    said = "%{http_code} %{http_version} %{size_download} %{size_upload}"
    shown = ("-H", f"Authorization: Bearer {bed.token(0)}") if mode == "reverse" else ()
    done = subprocess.run(  # noqa: S603
        ["curl", "-sS", "-o", "/dev/null", "-w", said, *shown, *words, place(mode, path)],  # noqa: S607
        env={"PATH": os.environ["PATH"], **environment(bed, mode)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(done.stdout.split())


@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_megabytes_come(bed: Bed, mode: str):
    bed.cell(0, allowed(mode, "/bytes/*"))

    status, _, came, _ = curl(bed, mode, f"/bytes/{MEGABYTES}")

    assert (status, came) == ("200", str(MEGABYTES))


@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_megabytes_go(bed: Bed, mode: str, tmp_path: Path):
    bed.cell(0, allowed(mode, "/v1/**"))
    (tmp_path / "much").write_bytes(b"x" * MEGABYTES)

    status, _, _, went = curl(
        bed, mode, "/v1/much", "--data-binary", f"@{tmp_path}/much", "-H", "Expect:"
    )

    assert (status, went) == ("200", str(MEGABYTES))
    (head,) = bed.internet.heads
    assert {name.lower(): value for name, value in head.items()}["content-length"] == str(MEGABYTES)


@pytest.mark.parametrize(
    ("mode", "word"), [("reverse", "--http2-prior-knowledge"), ("intercept", "--http2")]
)
def test_an_agent_may_speak_http_2_where_we_read_it(bed: Bed, mode: str, word: str):
    """The upstream here speaks HTTP/1.1."""
    bed.cell(0, allowed(mode, "/v1/**"))

    assert curl(bed, mode, "/v1/chat", word)[:2] == ("200", "2")
    assert curl(bed, mode, "/v2/chat", word)[:2] == ("403", "2")
    assert len(bed.internet.requests) == 1


@pytest.mark.parametrize(("host", "let_in"), [("model.test", True), ("files.test", False)])
def test_a_tunnel_that_is_asked_for_by_http_2_is_judged_as_any(
    bed: Bed, host: str, *, let_in: bool
):
    """No client is known to do so. What comes through it is judged as well."""
    bed.cell(0, tunnelled())
    # A preface, settings, and the head of a CONNECT (RFC 9113, RFC 7541: literals, not indexed).
    heads = [(":method", "CONNECT"), (":authority", f"{host}:443")]
    heads += [(name.lower(), value) for name, value in proxied.basic(bed.token(0)).items()]
    block = b"".join(literal(name) + literal(value, first=False) for name, value in heads)
    sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block)

    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(sent + frame(0, 0, 1, b"GET / HTTP/1.1\r\nHost: model.test\r\n\r\n"))
        sender.settimeout(3)
        received = b""
        while piece := proxied.receive(sender):
            received += piece

    # ':status: 200', as HPACK has it.
    assert (b"\x88" in heads_of(received, 1)) == let_in
    assert b"world" not in received
    assert bed.internet.visits == []


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """A frame of HTTP/2."""
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


def literal(text: str, *, first: bool = True) -> bytes:
    """A string of HPACK, not indexed and not Huffman's; the first of two begins the field."""
    encoded = text.encode()
    size = bytes([len(encoded)]) if len(encoded) < 127 else bytes([127, len(encoded) - 127])
    return (b"\x00" if first else b"") + size + encoded


def heads_of(received: bytes, stream: int) -> bytes:
    """What the HEADERS frames of a stream hold."""
    found, at = b"", 0
    while at + 9 <= len(received):
        size = int.from_bytes(received[at : at + 3], "big")
        number = int.from_bytes(received[at + 5 : at + 9], "big")
        if received[at + 3] == 1 and number == stream:
            found += received[at + 9 : at + 9 + size]
        at += 9 + size
    return found


@contextmanager
def speaking_grpc(bed: Bed) -> Iterator[None]:
    """A server at the good address that speaks HTTP/2 and nothing else."""

    class Echo(grpc.GenericRpcHandler):
        def service(self, _: object) -> object:
            return grpc.stream_stream_rpc_method_handler(lambda said, _: (b"<" + s for s in said))

    pki = bed.internet.authorities.parent
    pair = ((pki / "world.key").read_bytes(), (pki / "world.crt").read_bytes())
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Echo()])
    server.add_secure_port(f"{GOOD}:8443", grpc.ssl_server_credentials([pair]))
    server.start()
    yield
    server.stop(None).wait()


@pytest.mark.parametrize("mode", ["connect", "intercept"])
def test_grpc_streams_both_ways_through_a_tunnel(
    bed: Bed, mode: str, monkeypatch: pytest.MonkeyPatch
):
    """HTTP/2 from end to end, with trailers."""
    bed.cell(0, allowed(mode, "/test.Echo/Say", ports=[8443]))
    monkeypatch.setenv("https_proxy", f"http://run:{bed.token(0)}@{CELLS[0]}:8080")
    credentials = grpc.ssl_channel_credentials(trusted(bed, mode).read_bytes())

    with (
        speaking_grpc(bed),
        grpc.secure_channel("model.test:8443", credentials) as channel,
    ):
        say = channel.stream_stream("/test.Echo/Say")
        said = list(say(iter([b"a", b"b", b"c"]), timeout=20))

    assert said == [b"<a", b"<b", b"<c"]


@pytest.mark.parametrize("mode", ["connect", "intercept"])
def test_a_websocket_passes_through_a_tunnel(bed: Bed, mode: str):
    bed.cell(0, allowed(mode, "/websocket"))
    head = (
        "GET /websocket HTTP/1.1\r\nHost: model.test\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2NyaXB0ZWQ=\r\n\r\n"
    )
    with (
        proxied.tunnel(bed, "model.test:443") as sender,
        proxied.secured(sender, "model.test", trusted(bed, mode)) as wrapped,
    ):
        wrapped.sendall(head.encode())
        assert b" 101 " in wrapped.recv(4096).split(b"\r\n")[0]
        wrapped.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
        assert wrapped.recv(4096) == bytes([0x81, 2]) + b"hi"


@pytest.mark.parametrize("mode", ["connect", "intercept"])
@pytest.mark.parametrize("count", [1, 20_000, 3_000_000])
def test_the_end_of_a_reply_arrives_though_its_connection_is_closed(
    bed: Bed, mode: str, count: int
):
    """By an agent that reads slowly: what is on its way in the gateway must not be lost."""
    bed.cell(0, allowed(mode, "/bytes/*"))

    for _ in range(4):
        with proxied.tunnel(bed, "model.test:443") as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            with proxied.secured(sender, "model.test", trusted(bed, mode)) as wrapped:
                answer = proxied.asked(
                    wrapped, "model.test", f"/bytes/{count}", heads={"Connection": "close"}
                )
        assert (answer[0], len(answer[1])) == (200, count)


ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as refused:
    print(refused.code)
except urllib.error.URLError as error:
    print(error.reason)
"""


@pytest.mark.parametrize(("mode", "refused"), [("connect", "200"), ("intercept", "403")])
def test_python_s_own_client_works_by_its_environment_alone(bed: Bed, mode: str, refused: str):
    bed.cell(0, allowed(mode, "/v1/**"))

    def ask(url: str) -> str:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", ASK, url],
            env=environment(bed, mode), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert ask("https://model.test/v1/chat") == "200"
    assert ask("https://model.test/v2/chat") == refused
    assert "403" in ask("https://files.test/v1/chat")
