"""The mode Intercept: what is in the tunnel is judged as well, under a certificate of ours."""

from __future__ import annotations

import ssl

import pytest

from gatebed import GOOD, Bed, intercepted
from proxied import asked, tunnel


def trusting(bed: Bed) -> ssl.SSLContext:
    """An agent that trusts our authority, and no other."""
    return ssl.create_default_context(cafile=bed.decider.authority / "tls.crt")


def ask(bed: Bed, path: str = "/v1/chat", method: str = "GET", **heads: str) -> tuple[int, bytes]:
    """One request through a tunnel to model.test, checked as clients check."""
    with (
        tunnel(bed, "model.test:443") as sender,
        trusting(bed).wrap_socket(sender, server_hostname="model.test") as wrapped,
    ):
        return asked(wrapped, "model.test", path, method, **heads)


def test_what_a_rule_allows_arrives(bed: Bed):
    bed.cell(0, intercepted())

    assert ask(bed, "/v1/chat?x=1") == (200, b"world saw 203.0.113.10\n")

    assert bed.internet.requests == [("GET", "model.test", "/v1/chat?x=1")]
