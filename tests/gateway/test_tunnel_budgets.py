"""What passes in a tunnel is paid for too: by its size where nobody sees inside."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import pytest

from gatebed import Bed, intercepted, tunnelled
from proxied import NotLetInError, tunnel
from test_budgets import COST, STREAMED, settled

CHAT = "/v1/chat/completions"


def through(bed: Bed, path: str, body: bytes | None = None, authorities: Path | None = None) -> int:
    """One request through a tunnel of its own; returns its status once all of it is paid for."""
    context = ssl.create_default_context(cafile=authorities or bed.internet.authorities)
    with (
        tunnel(bed, "model.test:443") as sender,
        context.wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        connection = http.client.HTTPConnection("model.test")
        connection.sock = wrapped
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        response.read()
    settled(bed)
    return response.status


def refusal(bed: Bed) -> tuple[int, str]:
    """What a further tunnel is answered."""
    with pytest.raises(NotLetInError) as caught, tunnel(bed, "model.test:443"):
        pass
    return caught.value.status, caught.value.reason


def test_each_tunnel_is_a_request(bed: Bed):
    bed.cell(0, tunnelled(), budget={"requests": 2})

    assert [through(bed, "/v1/x") for _ in range(2)] == [200, 200]

    assert refusal(bed) == (429, "budget-exhausted")
    assert len(bed.internet.requests) == 2


def test_the_bytes_of_a_tunnel_are_counted(bed: Bed):
    bed.cell(0, tunnelled(), budget={"bytes": 1_000_000})

    assert through(bed, "/bytes/900000") == 200
    assert through(bed, "/bytes/200000") == 200

    assert refusal(bed) == (429, "budget-exhausted")


def test_a_token_budget_is_paid_by_size_where_nobody_sees_what_was_said(bed: Bed):
    """At least what any answer may cost: so that a tunnel to a model is no way around it."""
    bed.cell(0, tunnelled(), budget={"tokens": 6_000})

    assert [through(bed, CHAT, STREAMED) for _ in range(2)] == [200, 200]

    assert refusal(bed) == (429, "budget-exhausted")


def test_in_a_tunnel_that_is_read_tokens_are_what_the_model_reports(bed: Bed):
    """And the tunnel itself costs nothing: each request in it is one."""
    bed.cell(0, intercepted(), budget={"tokens": 2 * COST + 1, "requests": 3})
    authorities = bed.decider.authority / "tls.crt"

    answers = [through(bed, CHAT, STREAMED, authorities) for _ in range(4)]

    assert answers == [200, 200, 200, 429]
    assert len(bed.internet.requests) == 3
