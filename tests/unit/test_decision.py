"""What is decided about a request, in the order in which it is asked."""

import base64
import dataclasses
from http import HTTPStatus
from typing import Any

import pytest

from anchorhold.api.egress import EgressRule
from anchorhold.gateway import decision
from anchorhold.gateway.decision import Asked, Cell, Judge, Verdict
from anchorhold.policy import identity
from factories import RULE

KEY, UID = b"key", "uid"
CELL = Cell("team-a/review", UID, "10.244.0.9", (EgressRule.parse(RULE),), suspended=False)
TOKEN = identity.token(KEY, UID)
SHOWN = {"authorization": f"Bearer {TOKEN}"}
PATH = "/api.model.example/v1/chat"


def judge(cell: Cell | None = CELL, address: str = "9.9.9.9", fault: str = "") -> Judge:
    async def resolve(_: str) -> tuple[str, str]:
        return address, fault

    return Judge(lambda: [KEY], {UID: cell}.get if cell else {}.get, resolve)


def asked(**fields: Any) -> Asked:  # noqa: ANN401
    usual = Asked(source="10.244.0.9", method="POST", path=PATH, headers=SHOWN)
    return dataclasses.replace(usual, **fields)


async def test_what_is_allowed_goes_to_the_address_that_was_judged():
    verdict = await judge().decide(asked())

    assert (verdict.status, verdict.reason, verdict.rule) == (HTTPStatus.OK, "", "model")
    assert verdict.address == "9.9.9.9"
    assert verdict.target is not None
    assert (verdict.target.authority, verdict.target.path) == ("api.model.example", "/v1/chat")


@pytest.mark.parametrize(
    ("cell", "fields", "status", "reason"),
    [
        pytest.param(None, {}, 401, "unknown-run", id="ended"),
        pytest.param(CELL, {"headers": {}}, 401, "unknown-run", id="shows nothing"),
        pytest.param(CELL, {"source": "10.244.0.8"}, 403, "wrong-source", id="elsewhere"),
        pytest.param(
            CELL, {"source": "10.244.0.8", "path": "/"}, 403, "wrong-source", id="greets elsewhere"
        ),
        pytest.param(
            dataclasses.replace(CELL, suspended=True), {}, 403, "policy-suspended", id="suspended"
        ),
        pytest.param(
            dataclasses.replace(CELL, suspended=True),
            {"path": "/"},
            403,
            "policy-suspended",
            id="greets while suspended",
        ),
        pytest.param(CELL, {"path": "*"}, 403, "no-host", id="no host"),
        pytest.param(CELL, {"path": "/other/v1"}, 403, "host-not-allowed", id="another host"),
        pytest.param(
            CELL, {"method": "GET"}, 403, "method-or-path-not-allowed", id="another method"
        ),
    ],
)
async def test_a_request_is_refused_of_a_run_that(
    cell: Cell | None, fields: dict[str, Any], status: int, reason: str
):
    verdict = await judge(cell).decide(asked(**fields))

    assert (verdict.status, verdict.reason, verdict.address) == (status, reason, "")


@pytest.mark.parametrize(("fault", "status"), [("dns-failure", 502), ("address-not-public", 403)])
async def test_a_host_that_may_not_be_dialled_is_refused(fault: str, status: int):
    verdict = await judge(address="", fault=fault).decide(asked())

    assert (verdict.status, verdict.reason, verdict.address) == (status, fault, "")


async def test_a_run_that_greets_is_known():
    assert await judge().decide(asked(path="/")) == Verdict(200, decision.GREETING, CELL)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ""),
        ({"authorization": "Bearer t"}, "t"),
        ({"authorization": "bearer t"}, "t"),
        ({"authorization": "token t"}, "t"),
        ({"authorization": "t"}, "t"),
        ({"authorization": "Basic " + base64.b64encode(b"user:t:x").decode()}, "t:x"),
        ({"authorization": "Basic !"}, ""),
        ({"authorization": "Basic " + base64.b64encode(b"\xff").decode()}, ""),
        ({"x-api-key": "t"}, "t"),
        ({"api-key": "t"}, "t"),
        ({"x-goog-api-key": "t"}, "t"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a"),
        ({"cookie": "t"}, ""),
    ],
)
def test_what_a_client_shows(headers: dict[str, str], expected: str):
    assert decision.shown(headers) == expected
