"""What passes the gateway and what does not, counted where it would arrive.

Every refusal stands beside the same request that passes, and the forbidden servers are alive.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from anchorhold.gateway.credentials import Keeping
from anchorhold.gateway.resolver import Resolver, name_servers
from bed.kube import wait_for
from gatebed import CELLS, FORBIDDEN, GOOD, KEY, OLD_KEY, Bed, rule

Answer = tuple[int, bytes, dict[str, str]]


def ask(  # noqa: PLR0913
    bed: Bed,
    path: str = "/model.test/v1/chat",
    *,
    method: str = "GET",
    token: str | None = None,
    source: str = CELLS[0],
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request of a cell, with its token as an API key unless another header says more."""
    shown = {"Authorization": f"Bearer {bed.token(0) if token is None else token}"}
    sent = headers if headers is not None else shown
    connection = http.client.HTTPConnection(CELLS[0], 8080, 20, source_address=(source, 0))
    with closing(connection):
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())


def reason(answer: Answer) -> str:
    """Why it was refused, as an agent reads it."""
    return str(json.loads(answer[1])["error"]["reason"])


def test_what_a_rule_allows_arrives_as_it_was_judged(bed: Bed):
    bed.cell(0, rule())

    status, body, _ = ask(bed, "/MODEL.test/v1/chat?x=1")

    assert (status, body) == (200, b"world saw 203.0.113.10\n")
    assert bed.internet.requests == [("GET", "model.test", "/v1/chat?x=1")]


def test_no_header_of_an_agent_that_could_be_a_secret_goes_on(bed: Bed):
    bed.cell(0, rule())
    token = bed.token(0)
    shown = {"Authorization": f"Bearer {token}", "Cookie": "a=b", "X-Api-Key": "k", "X-Kept": "y"}

    steering = {"X-Forwarded-For": "1.2.3.4", "X-Envoy-Retry-On": "5xx", "X-Request-Id": "x"}
    steering |= {"X-Envoy-Original-Dst-Host": f"{FORBIDDEN}:443", "X-Forwarded-Proto": "http"}
    assert ask(bed, headers={**shown, **steering})[0] == 200

    (head,) = bed.internet.heads
    assert head["x-kept"] == "y"
    assert not {name.lower() for name in head} & {
        "authorization", "cookie", "x-api-key", "x-anchorhold-route",
        *(name.lower() for name in steering),
    }  # fmt: skip
    assert token not in json.dumps(head)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "token {}"},
        {"Authorization": "{}"},
        {"x-api-key": "{}"},
        {"api-key": "{}"},
        {"x-goog-api-key": "{}"},
    ],
    ids=lambda headers: " ".join(*headers.items()),
)
def test_a_token_is_taken_where_clients_put_api_keys(bed: Bed, headers: dict[str, str]):
    bed.cell(0, rule())

    shown = {name: value.format(bed.token(0)) for name, value in headers.items()}

    assert ask(bed, headers=shown)[0] == 200


def test_a_token_is_taken_as_a_password(bed: Bed):
    """As git sends it."""
    bed.cell(0, rule())
    encoded = base64.b64encode(f"run:{bed.token(0)}".encode()).decode()

    assert ask(bed, headers={"Authorization": f"Basic {encoded}"})[0] == 200
    refused = ask(bed, headers={})
    assert refused[0] == 401
    assert refused[2]["www-authenticate"].startswith("Basic ")


REFUSED: list[Any] = [
    pytest.param("/files.test/v1/chat", "GET", 403, "host-not-allowed", id="another host"),
    pytest.param("/x.model.test/v1/chat", "GET", 403, "host-not-allowed", id="a host below"),
    pytest.param("/model.test.evil.test/v1/chat", "GET", 403, "host-not-allowed", id="a longer"),
    pytest.param("/model.test./v1/chat", "GET", 403, "host-not-allowed", id="a trailing dot"),
    pytest.param("/model.test:8443/v1/chat", "GET", 403, "host-not-allowed", id="another port"),
    pytest.param("/model.test:x/v1/chat", "GET", 403, "no-host", id="no port"),
    pytest.param("/model.test/v1/x", "DELETE", 403, "method-or-path-not-allowed", id="method"),
    pytest.param("/model.test/v2/x", "GET", 403, "method-or-path-not-allowed", id="path"),
    pytest.param("/model.test/v1/../v2", "GET", 403, "method-or-path-not-allowed", id="up"),
    pytest.param("/model.test/v1/%2e%2e/v2", "GET", 403, "method-or-path-not-allowed", id="%2e"),
    pytest.param("/model.test/v1/..;/v2", "GET", 403, "method-or-path-not-allowed", id="..;"),
    pytest.param("/model.test/v1//v2", "GET", 403, "method-or-path-not-allowed", id="//"),
    pytest.param("/203.0.113.10/v1/chat", "GET", 403, "host-not-allowed", id="an address"),
    pytest.param("/169.254.169.254/v1/chat", "GET", 403, "host-not-allowed", id="metadata"),
    pytest.param("/2852039166/v1/chat", "GET", 403, "host-not-allowed", id="a decimal address"),
    pytest.param("/[::1]/v1/chat", "GET", 403, "no-host", id="an IPv6 address"),
    pytest.param("/a@model.test/v1/chat", "GET", 403, "host-not-allowed", id="user information"),
]


@pytest.mark.parametrize(("path", "method", "status", "why"), REFUSED)
def test_what_no_rule_allows_is_refused_and_nothing_arrives(
    bed: Bed, path: str, method: str, status: int, why: str
):
    bed.cell(0, rule())

    answer = ask(bed, path, method=method)

    assert (answer[0], reason(answer)) == (status, why)
    assert bed.internet.visits == []
    assert ask(bed)[0] == 200


@pytest.mark.parametrize("path", ["/model.test/v1/..%2fv2", "/model.test/v1/..%5c..%5cv2"])
def test_escaped_slashes_are_refused(bed: Bed, path: str):
    bed.cell(0, rule())

    assert ask(bed, path)[0] in (400, 403)
    assert bed.internet.requests == []


@pytest.mark.parametrize(
    ("token", "source", "status", "why"),
    [
        pytest.param("", CELLS[0], 401, "unknown-run", id="none"),
        pytest.param("ah1.x.y", CELLS[0], 401, "unknown-run", id="made up"),
        pytest.param("0", CELLS[1], 403, "wrong-source", id="stolen"),
        pytest.param("0 old", CELLS[0], 401, "unknown-run", id="signed by another key"),
        pytest.param("2", CELLS[2], 401, "unknown-run", id="of a run that has ended"),
    ],
)
def test_only_the_run_itself_passes(bed: Bed, token: str, source: str, status: int, why: str):
    bed.cell(0, rule())
    bed.cell(1, rule())
    shown = {"0": bed.token(0), "0 old": bed.token(0, OLD_KEY), "2": bed.token(2)}

    answer = ask(bed, token=shown.get(token, token), source=source)

    assert (answer[0], reason(answer)) == (status, why)
    assert bed.internet.visits == []
    assert ask(bed)[0] == 200


def test_a_key_is_replaced_without_ending_runs(bed: Bed):
    bed.cell(0, rule())
    old = bed.token(0, OLD_KEY)
    bed.decider.keys[:] = [KEY, OLD_KEY]
    assert (ask(bed, token=old)[0], ask(bed)[0]) == (200, 200)

    bed.decider.keys[:] = [KEY]

    assert (ask(bed, token=old)[0], ask(bed)[0]) == (401, 200)


def test_what_changes_holds_from_the_next_request_on(bed: Bed):
    bed.cell(0, rule())
    assert ask(bed)[0] == 200

    bed.cell(0)
    assert reason(ask(bed)) == "host-not-allowed"
    bed.cell(0, rule(), suspended=True)
    assert reason(ask(bed)) == "policy-suspended"
    bed.decider.cells.clear()
    assert ask(bed)[0] == 401
    assert len(bed.internet.requests) == 1


def test_a_run_is_told_what_it_may_reach(bed: Bed):
    bed.cell(0, rule())

    status, body, _ = ask(bed, "/")

    assert (status, json.loads(body)) == (200, {"run": "team-a/run-0", "rules": ["model"]})
    assert bed.internet.visits == []
    assert ask(bed, "/", source=CELLS[1])[0] == 403


LEADING_ELSEWHERE = (
    *("metadata.test", "forbidden.test", "api-server.test", "service.test", "loopback.test"),
    *("mixed.test", "mapped.test", "link-local.test"),
)


@pytest.mark.parametrize("host", LEADING_ELSEWHERE)
def test_a_name_that_leads_where_nothing_may_go_is_refused(bed: Bed, host: str):
    bed.cell(0, rule(host=host))

    answer = ask(bed, f"/{host}/v1/chat")

    assert (answer[0], reason(answer)) == (403, "address-not-public")
    assert bed.internet.visits == []


def test_a_name_that_leads_elsewhere_later_is_refused_then(bed: Bed):
    """Rebinding: the second answer of the name server is a forbidden address."""
    bed.cell(0, rule(host="rebinding.test"))
    assert ask(bed, "/rebinding.test/v1/chat")[0] == 200

    def refused() -> str | None:
        answer = ask(bed, "/rebinding.test/v1/chat")
        return reason(answer) if answer[0] != 200 else None

    assert wait_for(refused, 10, "the name to lead elsewhere") == "address-not-public"
    assert set(bed.internet.visits) == {GOOD}


def test_a_name_that_does_not_exist_is_refused(bed: Bed):
    bed.cell(0, rule(host="nowhere.test"))

    answer = ask(bed, "/nowhere.test/v1/chat")

    assert (answer[0], reason(answer)) == (502, "dns-failure")


@pytest.mark.parametrize("address", [FORBIDDEN, "169.254.169.254", "127.0.0.1"])
def test_envoy_itself_dials_no_forbidden_address_with_the_decider_blinded(bed: Bed, address: str):
    """The second layer, alone: the decider says yes to everything."""
    bed.cell(0, rule())

    async def misled(_: str) -> tuple[str, str]:
        return address, ""

    async def right(_: str) -> tuple[str, str]:
        return GOOD, ""

    bed.decider.blind = misled
    assert ask(bed)[0] == 403
    assert bed.internet.visits == []
    bed.decider.blind = right
    assert ask(bed)[0] == 200


def test_the_forbidden_servers_live(bed: Bed):
    """Without the gateway in between they answer, under the very names: silence is no accident."""
    context = ssl.create_default_context(cafile=bed.internet.authorities)
    for address in (FORBIDDEN, "169.254.169.254"):
        connection = http.client.HTTPSConnection("model.test", context=context)
        connection.sock = context.wrap_socket(
            socket.create_connection((address, 443)), server_hostname="model.test"
        )
        with closing(connection):
            connection.request("GET", "/v1/chat")
            assert connection.getresponse().status == 200
    assert bed.internet.visits == [FORBIDDEN, "169.254.169.254"]


def test_a_server_that_cannot_show_the_name_is_not_spoken_to(bed: Bed):
    """It leads to a good address, whose certificate is for other names."""
    bed.cell(0, rule(host="other.test"))

    async def there(_: str) -> tuple[str, str]:
        return GOOD, ""

    bed.decider.blind = there
    assert ask(bed, "/other.test/v1/chat")[0] == 503
    assert bed.internet.requests == []


def raw(text: str, token: str) -> str:
    """The first line that is answered to text as it is."""
    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall((text.replace("TOKEN", token) + "\r\n").encode())
        return sender.recv(4096).decode().split("\r\n")[0]


GET = "GET {} HTTP/1.1\r\nHost: model.test\r\nAuthorization: Bearer TOKEN\r\n"
PLAIN = GET.format("/model.test/v1/chat")
POST = PLAIN.replace("GET", "POST")
CHUNKED = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0"
TRICKS = {
    "a route of its own": (GET.format("/files.test/") + "X-Anchorhold-Route: reverse\r\n", "403"),
    "an absolute URL": (GET.format("http://model.test/v1/chat"), "403"),
    "two tokens": (PLAIN + "Authorization: Bearer x\r\n", "401"),
    "two lengths": (POST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
    "a length and chunks": (POST + CHUNKED, "400"),
    "chunks in HTTP/1.0": ((POST + CHUNKED).replace("HTTP/1.1", "HTTP/1.0"), "400"),
    "an underscore": (PLAIN + "X_Y: z\r\n", "400"),
    "a CONNECT": (GET.replace("GET", "CONNECT").format("model.test:443"), "40"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_with_headers_bring_nothing_through(bed: Bed, trick: str):
    bed.cell(0, rule())
    text, status = TRICKS[trick]

    line = raw(text, bed.token(0))

    assert f" {status}" in line, line
    assert bed.internet.requests == []
    assert " 200 " in raw(PLAIN, bed.token(0))


@contextmanager
def ticks(bed: Bed, count: int) -> Iterator[http.client.HTTPResponse]:
    """A stream of so many events, which has just begun."""
    connection = http.client.HTTPConnection(CELLS[0], 8080, source_address=(CELLS[0], 0))
    with closing(connection):
        shown = {"Authorization": f"Bearer {bed.token(0)}"}
        connection.request("GET", f"/model.test/ticks?n={count}", headers=shown)
        yield connection.getresponse()


def test_a_stream_arrives_event_by_event(bed: Bed):
    """The first event is here before the upstream has sent the others."""
    bed.cell(0, rule(paths=["/ticks"]))
    with ticks(bed, 3) as response:
        first, received = response.readline(), time.time()
        sent = first + response.read()

    moments = [float(line.removeprefix(b"data: ")) for line in sent.splitlines() if line]
    assert len(moments) == 3
    assert received < moments[-1]


def test_a_websocket_passes(bed: Bed):
    bed.cell(0, rule(paths=["/websocket"]))
    head = (
        "GET /model.test/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2NyaXB0ZWQ=\r\n"
        f"Authorization: Bearer {bed.token(0)}\r\n\r\n"
    )
    with socket.create_connection((CELLS[0], 8080), 10, source_address=(CELLS[0], 0)) as sender:
        sender.sendall(head.encode())
        assert b" 101 " in sender.recv(4096).split(b"\r\n")[0]
        sender.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
        assert sender.recv(4096) == bytes([0x81, 2]) + b"hi"


def test_a_hundred_megabytes_pass(bed: Bed):
    bed.cell(0, rule(paths=["/bytes/*"]))

    status, body, _ = ask(bed, "/model.test/bytes/100000000")

    assert (status, len(body)) == (200, 100_000_000)


def test_without_a_decider_nothing_passes_and_what_is_open_stays(bed: Bed):
    bed.cell(0, rule(paths=["/ticks", "/v1/**"]))
    with ticks(bed, 4) as response:
        bed.decider.stop()
        try:
            assert ask(bed)[0] == 503
            assert response.read().count(b"data: ") == 4
        finally:
            bed.decider.start()
    wait_for(lambda: ask(bed)[0] == 200, 10, "the decider to answer again")
    assert [path for _, _, path in bed.internet.requests] == ["/ticks?n=4", "/v1/chat"]


def test_each_request_is_one_line_without_secrets(bed: Bed):
    bed.cell(0, rule())
    ask(bed, "/model.test/v1/lines?key=secret")
    ask(bed, "/files.test/v1/lines")
    ask(bed, "/model.test/v1/lines", headers={})

    def lines() -> list[dict[str, Any]]:
        return [line for line in bed.lines() if line.get("path", "").endswith("/lines")]

    wait_for(lambda: len(lines()) >= 3, 20, "three lines")

    passed, refused, unknown = lines()
    assert passed["run"] == refused["run"] == "team-a/run-0"
    assert (passed["rule"], passed["decision"], passed["upstream"]) == (
        "model", "allow", f"{GOOD}:443",
    )  # fmt: skip
    assert (refused["decision"], refused["reason"]) == ("deny", "host-not-allowed")
    assert (unknown["reason"], unknown["status"]) == ("unknown-run", 401)
    text = bed.log.read_text(encoding="utf-8")
    assert "secret" not in text
    assert bed.token(0) not in text


SECRET = "sk-only-the-gateway-has-it"  # noqa: S105  # it opens nothing
CREDENTIAL = {"secretName": "model", "key": "key"}


def keep(bed: Bed, *, hosts: str = "model.test", policies: str = "small") -> None:
    """A Secret in the gateway's namespace."""
    kept = Keeping(frozenset([hosts]), frozenset([policies]), {"key": SECRET})
    bed.decider.secrets["model"] = kept


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-other"])
def test_a_credential_is_added_on_the_way_and_an_agent_s_own_is_not_sent(bed: Bed, header: str):
    rules = rule(credential={**CREDENTIAL, "header": header, "format": "{value}"})
    bed.cell(0, rules)
    keep(bed)
    token = bed.token(0)
    shown = {"authorization": f"Bearer {token}"} | {header: token}

    status, body, heads = ask(bed, headers=shown)

    assert status == 200
    (head,) = bed.internet.heads
    assert {k.lower(): v for k, v in head.items()}[header] == SECRET
    assert token not in json.dumps(head)
    assert SECRET not in body.decode() + json.dumps(heads)


def test_a_secret_that_is_replaced_counts_from_the_next_request_on(bed: Bed):
    bed.cell(0, rule(credential=CREDENTIAL))
    keep(bed)
    assert ask(bed)[0] == 200

    bed.decider.secrets["model"] = Keeping(
        frozenset(["model.test"]), frozenset(["small"]), {"key": "new"}
    )

    assert ask(bed)[0] == 200
    assert [head["authorization"] for head in bed.internet.heads] == [
        f"Bearer {SECRET}", "Bearer new",
    ]  # fmt: skip


def test_nothing_passes_without_its_credential(bed: Bed):
    """The Secret is missing, or serves another host or another policy."""
    bed.cell(0, rule(credential=CREDENTIAL))
    found = [ask(bed)]
    keep(bed, hosts="files.test")
    found.append(ask(bed))
    keep(bed, policies="large")
    found.append(ask(bed))

    assert [(answer[0], reason(answer)) for answer in found] == [
        (503, "credential-missing"),
        (403, "credential-not-bound"),
        (403, "credential-not-bound"),
    ]
    assert bed.internet.visits == []
    keep(bed)
    assert ask(bed)[0] == 200


def test_a_secret_is_in_no_log(bed: Bed):
    bed.cell(0, rule(credential=CREDENTIAL))
    keep(bed)
    assert ask(bed, "/model.test/v1/unsaid")[0] == 200

    wait_for(lambda: "/v1/unsaid" in bed.log.read_text(encoding="utf-8"), 20, "the line")

    assert SECRET not in bed.log.read_text(encoding="utf-8")


ECHOING: Any = pytest.mark.parametrize(
    ("cut", "piece"), [(0, 0), (0, 1), (0, 7), (3, 0), (9, 0), (len(SECRET) - 1, 0)]
)


@ECHOING
def test_a_credential_that_an_upstream_repeats_does_not_come_back(bed: Bed, cut: int, piece: int):
    """In a header, in a body, and in a body that is cut in the middle of it, at any place."""
    bed.cell(0, rule(paths=["/repeat"], credential=CREDENTIAL))
    keep(bed)

    status, body, heads = ask(bed, f"/model.test/repeat?cut={cut}&piece={piece}")

    assert status == 200
    assert heads["x-repeated"] == "*"
    text = body.decode()
    assert text.startswith("before Bearer ")
    assert text.endswith(" after")
    assert len(text) == len(f"before Bearer {SECRET} after")
    shown = text.removeprefix("before Bearer ").removesuffix(" after")
    assert set(shown[5:]) == {"*"}
    assert all(mine in ("*", theirs) for mine, theirs in zip(shown, SECRET, strict=True))


def test_what_is_no_credential_comes_back_as_it_is(bed: Bed):
    """The same upstream, by a rule without one."""
    bed.cell(0, rule(paths=["/repeat"]))

    _, body, heads = ask(bed, "/model.test/repeat?cut=0&piece=0")

    assert body == b"before  after"
    assert heads["x-repeated"] == ""


def test_what_only_begins_like_a_credential_comes_back(bed: Bed):
    """Among other text, that is: at the end of a piece its beginning is taken for it."""
    bed.cell(0, rule(paths=["/v1/**", "/echo"], credential=CREDENTIAL))
    keep(bed)

    _, body, _ = ask(bed, "/model.test/echo?" + SECRET[:9])

    assert SECRET[:9] in body.decode()
    assert SECRET not in body.decode()


def verdicts(decision: str, reason: str) -> float:
    labels = {"decision": decision, "reason": reason}
    return REGISTRY.get_sample_value("gateway_verdicts_total", labels) or 0.0


def test_verdicts_are_counted_by_their_reason(bed: Bed):
    bed.cell(0, rule())
    allowed, refused = verdicts("allow", ""), verdicts("deny", "host-not-allowed")

    ask(bed)
    ask(bed, "/files.test/v1/chat")

    assert verdicts("allow", "") == allowed + 1
    assert verdicts("deny", "host-not-allowed") == refused + 1


def test_where_no_name_server_answers_nothing_passes(bed: Bed):
    """A question without an answer is a refusal; the next one may be answered."""
    bed.cell(0, rule(host="a.wild.test"))

    async def silent(host: str) -> tuple[str, str]:
        return await Resolver(name_servers([FORBIDDEN]), ()).resolve(host)

    bed.decider.blind = silent

    answer = ask(bed, "/a.wild.test/v1/chat")

    assert (answer[0], reason(answer)) == (502, "dns-failure")
    assert bed.internet.requests == []
    bed.decider.blind = None
    assert ask(bed, "/a.wild.test/v1/chat")[0] == 200
