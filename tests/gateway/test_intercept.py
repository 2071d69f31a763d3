"""The mode Intercept: what is in the tunnel is judged as well, under a certificate of ours."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

import pytest

import proxied
from anchorhold.gateway.credentials import Keeping
from bed.kube import wait_for
from gatebed import CELLS, GOOD, Bed, intercepted, tunnelled
from proxied import NotLetInError, attempt, attempts, basic, tunnel

SECRET = "sk-only-the-gateway-has-it"  # noqa: S105  # it opens nothing
CREDENTIAL = {"secretName": "model", "key": "key"}


def trusting(bed: Bed) -> ssl.SSLContext:
    """An agent that trusts our authority, and no other."""
    return ssl.create_default_context(cafile=bed.decider.authority / "tls.crt")


def ask(
    bed: Bed,
    path: str = "/v1/chat",
    method: str = "GET",
    heads: dict[str, str] | None = None,
    host: str = "model.test",
) -> tuple[int, bytes]:
    """One request through a tunnel to model.test, where the agent checks who answers."""
    with (
        tunnel(bed, "model.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        return proxied.asked(wrapped, host, path, method, heads)


def reason(answer: tuple[int, bytes]) -> str:
    """Why it was refused, as an agent reads it."""
    return str(json.loads(answer[1])["error"]["reason"])


def test_what_a_rule_allows_arrives_as_it_was_judged(bed: Bed):
    bed.cell(0, intercepted())

    assert ask(bed, "/v1/chat?x=1") == (200, b"world saw 203.0.113.10\n")

    assert bed.internet.requests == [("GET", "model.test", "/v1/chat?x=1")]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v2/chat", "GET"),
        ("/v1/chat", "DELETE"),
        ("/v1/../v2", "GET"),
        ("/v1/%2e%2e/v2", "GET"),
        ("/v1//v2", "GET"),
        ("/", "GET"),
    ],
)
def test_what_no_rule_allows_is_refused_inside_the_tunnel(bed: Bed, path: str, method: str):
    bed.cell(0, intercepted())

    answer = ask(bed, path, method)

    assert (answer[0], reason(answer)) == (403, "method-or-path-not-allowed")
    assert bed.internet.visits == []
    assert ask(bed)[0] == 200


@pytest.mark.parametrize("host", ["files.test", "model.test:8443", "198.51.100.30", "x", "[::1]"])
def test_a_host_that_is_not_the_tunnel_s_is_refused(bed: Bed, host: str):
    """Also one that another rule of the run allows."""
    bed.cell(0, intercepted(), intercepted(host="files.test"), tunnelled(host="x.test"))

    status = ask(bed, heads={"Host": host})[0]

    assert status == (403 if host == "[::1]" else 421)
    assert bed.internet.visits == []
    assert ask(bed, heads={"Host": "MODEL.test:443"})[0] == 200
    assert bed.internet.requests == [("GET", "model.test", "/v1/chat")]


def test_an_absolute_url_inside_a_tunnel_leads_nowhere_else(bed: Bed):
    bed.cell(0, intercepted(), intercepted(host="files.test"))

    assert ask(bed, "https://files.test/v1/chat")[0] == 421

    assert bed.internet.visits == []
    assert ask(bed, "https://model.test/v1/chat")[0] == 200


def test_another_name_in_the_greeting_gets_no_certificate(bed: Bed):
    """Envoy keeps each one for ever: a name of an agent's own never comes so far."""
    bed.cell(0, intercepted(), intercepted(host="files.test"))
    names = ["files.test", "x.model.test", *(f"{number}.model.test" for number in range(9))]

    assert attempts(bed, "model.test", names) == [0] * len(names)
    for name in names[1:]:
        with pytest.raises(NotLetInError), tunnel(bed, f"{name}:443"):
            pass

    assert not set(bed.decider.minted) & set(names[1:])
    assert bed.internet.visits == []
    assert ask(bed)[0] == 200


def test_envoy_keeps_nothing_of_another_spelling_of_a_name(bed: Bed):
    """An agent has more of those than anybody has memory for."""
    bed.cell(0, intercepted())
    assert ask(bed)[0] == 200
    before = waiting(bed)
    ours = bed.decider.authority / "tls.crt"
    letters = "MODELTS"
    spellings = ["model.test".replace(letter.lower(), letter) for letter in letters]

    for _ in range(3):
        assert [attempt(bed, "model.test", name, ours) for name in spellings] == [0] * 7

    # Each time it asks as for the first time, and it waits for no answer.
    assert all(bed.decider.minted.count(name) == 3 for name in spellings)
    wait_for(lambda: waiting(bed) <= before, 10, "Envoy to ask for nothing more")
    assert ask(bed)[0] == 200


def waiting(bed: Bed) -> int:
    """How many requests to the decider Envoy has open."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(bed.log.parent / "admin.sock"))
        admin.sendall(b"GET /stats?filter=cluster.decider.upstream_rq_active$ HTTP/1.1\r\n")
        admin.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: admin.recv(65_536), b"")).decode()
    return int(text.partition("upstream_rq_active: ")[2].split()[0])


def test_the_certificate_is_for_that_host_and_for_a_week(bed: Bed):
    bed.cell(0, intercepted())

    with (
        tunnel(bed, "model.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        shown: Any = wrapped.getpeercert()

    assert shown["subjectAltName"] == (("DNS", "model.test"),)
    begins, ends = (ssl.cert_time_to_seconds(shown[f"not{word}"]) for word in ("Before", "After"))
    assert ends - begins == 7 * 86_400 + 3_600


def test_who_does_not_trust_our_authority_is_told_nothing(bed: Bed):
    bed.cell(0, intercepted())

    with tunnel(bed, "model.test:443") as sender, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context(cafile=bed.internet.authorities).wrap_socket(
            sender, server_hostname="model.test"
        )

    assert bed.internet.visits == []


def keep(bed: Bed) -> None:
    """A Secret in the gateway's namespace."""
    kept = Keeping(frozenset(["model.test"]), frozenset(["small"]), {"key": SECRET})
    bed.decider.secrets["model"] = kept


def test_a_credential_is_added_and_does_not_come_back(bed: Bed):
    bed.cell(0, intercepted(paths=["/repeat"], credential=CREDENTIAL))
    keep(bed)
    own = {"Authorization": "Bearer of-the-agent", "Cookie": "a=b", "X-Kept": "y"}

    status, body = ask(bed, "/repeat?cut=0&piece=0", heads=own)

    (head,) = bed.internet.heads
    sent = {name.lower(): value for name, value in head.items()}
    assert status == 200
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert sent["x-kept"] == "y"
    assert SECRET not in body.decode()
    assert not [name for name in sent if name == "cookie" or name.startswith("x-anchorhold")]
    assert bed.token(0) not in json.dumps(sent)


def test_a_credential_is_not_sent_without_one_for_the_host(bed: Bed):
    bed.cell(0, intercepted(credential=CREDENTIAL))

    assert reason(ask(bed)) == "credential-missing"

    assert bed.internet.visits == []
    keep(bed)
    assert ask(bed)[0] == 200


def test_nobody_says_whose_tunnel_it_is_but_the_gateway(bed: Bed):
    """A forged header is written over, inside a tunnel and outside of one."""
    bed.cell(0, intercepted())
    bed.cell(1, intercepted(paths=["/**"]))
    forged = {
        "X-Anchorhold-Run": "00000000-0000-4000-8000-000000000001",
        "X-Anchorhold-Tunnel": "files.test:443",
        "X-Anchorhold-Route": "reverse",
    }

    assert reason(ask(bed, "/other", heads=forged)) == "method-or-path-not-allowed"
    assert outside(bed, forged) == 401
    assert bed.internet.visits == []
    assert ask(bed, heads=forged)[0] == 200


def outside(bed: Bed, heads: dict[str, str]) -> int:
    """The status of a request that is in no tunnel."""
    connection = http.client.HTTPConnection(CELLS[0], 8080, 10, source_address=(CELLS[0], 0))
    connection.request("GET", "/model.test/v1/chat", headers=heads)
    with connection.getresponse() as response:
        status = response.status
    connection.close()
    return status


def test_each_request_in_an_open_tunnel_is_judged_as_things_are_then(bed: Bed):
    bed.cell(0, intercepted())
    seen = []
    with (
        tunnel(bed, "model.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        seen.append(proxied.asked(wrapped, "model.test"))
        bed.cell(0, intercepted(paths=["/v2/**"]))
        seen.append(proxied.asked(wrapped, "model.test"))
        bed.cell(0, tunnelled())
        seen.append(proxied.asked(wrapped, "model.test"))
        bed.cell(0, intercepted(), suspended=True)
        seen.append(proxied.asked(wrapped, "model.test"))
        bed.decider.cells.clear()
        seen.append(proxied.asked(wrapped, "model.test"))
        bed.cell(0, intercepted())
        seen.append(proxied.asked(wrapped, "model.test"))

    assert [status for status, _ in seen] == [200, 403, 403, 403, 401, 200]
    assert [reason(answer) for answer in seen[1:5]] == [
        "method-or-path-not-allowed", "mode-not-allowed", "policy-suspended", "unknown-run",
    ]  # fmt: skip
    assert len(bed.internet.requests) == 2


def test_a_tunnel_is_worth_nothing_from_another_cell(bed: Bed):
    bed.cell(0, intercepted())

    heads = basic(bed.token(0))
    with (
        pytest.raises(NotLetInError) as refused,
        tunnel(bed, "model.test:443", heads=heads, source=CELLS[1]),
    ):
        pass

    assert (refused.value.status, refused.value.reason) == (403, "wrong-source")
    assert ask(bed)[0] == 200


def test_where_both_modes_fit_a_host_it_is_read(bed: Bed):
    """A wide tunnel beside a narrow rule is no way around that."""
    bed.cell(0, tunnelled(), intercepted())

    assert reason(ask(bed, "/v2/chat")) == "method-or-path-not-allowed"
    assert bed.internet.visits == []
    assert ask(bed)[0] == 200


def test_a_server_that_cannot_show_the_name_is_not_spoken_to(bed: Bed):
    """The agent trusts us, so we look for it."""
    bed.cell(0, intercepted(host="other.test"))

    async def there(_: str) -> tuple[str, str]:
        return GOOD, ""

    bed.decider.blind = there
    with (
        tunnel(bed, "other.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="other.test") as wrapped,
    ):
        assert proxied.asked(wrapped, "other.test")[0] == 503
    assert bed.internet.requests == []


def test_a_request_in_a_tunnel_is_a_line_without_secrets(bed: Bed):
    bed.cell(0, intercepted(host="a.wild.test", credential=CREDENTIAL))
    kept = Keeping(frozenset(["a.wild.test"]), frozenset(["small"]), {"key": SECRET})
    bed.decider.secrets["model"] = kept
    with (
        tunnel(bed, "a.wild.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="a.wild.test") as wrapped,
    ):
        assert proxied.asked(wrapped, "a.wild.test", "/v1/line?q=s3cret")[0] == 200

    def lines() -> list[dict[str, Any]]:
        return [line for line in bed.lines() if line.get("path") == "/v1/line"]

    wait_for(lines, 20, "the line")
    (line,) = lines()
    assert (line["run"], line["host"], line["source"]) == ("team-a/run-0", "a.wild.test", CELLS[0])
    assert (line["decision"], line["upstream"]) == ("allow", f"{GOOD}:443")
    text = bed.log.read_text(encoding="utf-8")
    assert "s3cret" not in text
    assert SECRET not in text
