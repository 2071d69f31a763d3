"""Where no agent gets, whatever the mode: each address with a server that lives and counts.

Twice: with the decider working, and with the decider saying yes to everything, so that Envoy is
alone.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import proxied
from anchorhold.api.egress import EgressRule
from bed.kube import wait_for
from gatebed import CELLS, GOOD, Bed, intercepted, rule, tunnelled
from places import PUBLIC_6, SERVED, WITHOUT_SERVER, ZONE, named

MODES = ("reverse", "connect", "intercept")


def allowed(mode: str, host: str, **fields: Any) -> EgressRule:  # noqa: ANN401
    """A rule for the host, in this mode."""
    makers = {"reverse": rule, "connect": tunnelled, "intercept": intercepted}
    return makers[mode](host=host, **fields)


def trusted(bed: Bed, mode: str) -> Path:
    """Whom an agent must trust for what it sees."""
    return bed.decider.authority / "tls.crt" if mode == "intercept" else bed.internet.authorities


def attempt(bed: Bed, mode: str, host: str) -> int:
    """An honest request to the host by the mode: its status; 0 where it was cut."""
    if mode != "reverse":
        return proxied.attempt(bed, host, authorities=trusted(bed, mode))
    connection = http.client.HTTPConnection(CELLS[0], 8080, 20, source_address=(CELLS[0], 0))
    with closing(connection):
        shown = {"Authorization": f"Bearer {bed.token(0)}"}
        connection.request("GET", f"/{host}/v1/chat", headers=shown)
        return connection.getresponse().status


@pytest.mark.parametrize("address", [*SERVED, PUBLIC_6, GOOD])
def test_a_server_lives_there(bed: Bed, address: str):
    """Without the gateway it answers and counts: silence is no accident."""
    context = ssl.create_default_context(cafile=bed.internet.authorities)
    with (
        socket.create_connection((address, 443), 5) as plain,
        context.wrap_socket(plain, server_hostname="model.test") as wrapped,
    ):
        assert proxied.asked(wrapped, "model.test")[0] == 200
    assert bed.internet.visits == [address]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("address", [*SERVED, *WITHOUT_SERVER])
def test_a_name_that_leads_there_is_refused(bed: Bed, address: str, mode: str):
    host = named(address)
    bed.cell(0, allowed(mode, host), allowed(mode, named(PUBLIC_6)))

    assert attempt(bed, mode, host) == 403

    assert bed.internet.visits == []
    assert attempt(bed, mode, named(PUBLIC_6)) == 200
    assert len(bed.internet.requests) == 1
    assert set(bed.internet.visits) <= {PUBLIC_6}  # A connection may be one that was kept.


# What the agent gets, by mode: in a tunnel that nobody reads, no word is possible.
BLINDED = pytest.mark.parametrize(
    ("mode", "status"), [("reverse", 403), ("connect", 0), ("intercept", 403)]
)


@BLINDED
def test_envoy_alone_dials_none_of_them(bed: Bed, mode: str, status: int):
    """The second layer: the decider says yes to everything, first wrongly and then rightly."""
    hosts = {named(address): address for address in (*SERVED, *WITHOUT_SERVER)}
    bed.cell(0, *(allowed(mode, host) for host in hosts))
    told = {host: iter([address, *[GOOD] * 4]) for host, address in hosts.items()}

    async def misled(host: str) -> tuple[str, str]:
        return next(told[host]), ""

    def all_of_them() -> set[tuple[str, int]]:
        with ThreadPoolExecutor(len(hosts)) as agents:
            return set(zip(hosts, agents.map(lambda h: attempt(bed, mode, h), hosts), strict=True))

    bed.decider.blind = misled
    assert all_of_them() == {(host, status) for host in hosts}
    assert bed.internet.visits == []
    assert all_of_them() == {(host, 200) for host in hosts}
    assert set(bed.internet.visits) == {GOOD}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "host",
    ["mixed.test", "mapped.test", "link-local.test", f"mixed-6.{ZONE}", f"mixed-public-6.{ZONE}"],
)
def test_a_name_with_a_single_bad_address_is_refused(bed: Bed, host: str, mode: str):
    bed.cell(0, allowed(mode, host), allowed(mode, "model.test"))

    assert [attempt(bed, mode, host) for _ in range(4)] == [403] * 4

    assert bed.internet.visits == []
    assert attempt(bed, mode, "model.test") == 200


@pytest.mark.parametrize("mode", MODES)
def test_a_name_that_leads_there_later_is_refused_then(bed: Bed, mode: str):
    """Rebinding."""
    host = f"rebinding-{mode}.{ZONE}"
    bed.cell(0, allowed(mode, host))
    assert attempt(bed, mode, host) == 200

    wait_for(lambda: attempt(bed, mode, host) == 403, 10, "the name to lead elsewhere")

    assert set(bed.internet.visits) <= {GOOD}


LITERALS = (
    *("203.0.113.10", "127.0.0.1", "169.254.169.254", "2130706433", "0x7f000001", "0177.0.0.1"),
    *("127.1", "[::1]", "[fd00::1]", "[::ffff:169.254.169.254]", "localhost"),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("literal", LITERALS)
def test_an_address_is_no_host(bed: Bed, literal: str, mode: str):
    """In whatever notation, and under a rule that is as wide as rules get."""
    wide = (f"{'*.' * count}places.test" for count in range(1, 4))
    bed.cell(0, *(allowed(mode, host) for host in (*wide, "model.test")))

    assert attempt(bed, mode, literal) == 403

    assert bed.internet.visits == []
    assert attempt(bed, mode, "model.test") == 200


@pytest.mark.parametrize("mode", MODES)
def test_a_redirect_is_the_agent_s_to_follow(bed: Bed, mode: str):
    """It is passed on as it is, and nobody goes there: neither Envoy nor the decider."""
    paths = {} if mode == "connect" else {"paths": ["/redirect"]}
    bed.cell(0, allowed(mode, "model.test", **paths))

    status, there = redirected(bed, mode, "https://forbidden.test/v1/chat")

    assert (status, there) == (302, "https://forbidden.test/v1/chat")
    assert len(bed.internet.requests) == 1
    assert set(bed.internet.visits) <= {GOOD}


def redirected(bed: Bed, mode: str, where: str) -> tuple[int, str]:
    """The status and the place that an upstream redirects to."""
    path = f"/redirect?{where}"
    if mode == "reverse":
        connection = http.client.HTTPConnection(CELLS[0], 8080, 20, source_address=(CELLS[0], 0))
        with closing(connection):
            shown = {"Authorization": f"Bearer {bed.token(0)}"}
            connection.request("GET", f"/model.test{path}", headers=shown)
            response = connection.getresponse()
            return response.status, response.headers["location"]
    with (
        proxied.tunnel(bed, "model.test:443") as sender,
        proxied.secured(sender, "model.test", trusted(bed, mode)) as wrapped,
    ):
        connection = http.client.HTTPConnection("model.test")
        connection.sock = wrapped
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["location"]
