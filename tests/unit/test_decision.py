"""What is decided about a request, in the order in which it is asked."""

import base64
import dataclasses
from http import HTTPStatus
from typing import Any

import pytest

from anchorhold import names
from anchorhold.api.egress import EgressRule
from anchorhold.gateway import credentials, decision, rules
from anchorhold.gateway.credentials import Header, Keeping
from anchorhold.gateway.decision import Asked, Cell, Held, Judge, Tunnel, Verdict
from anchorhold.policy import identity
from factories import RULE

KEY, UID = b"key", "uid"
CREDENTIAL = {"secretName": "model", "key": "key"}
KEPT = Keeping(frozenset({RULE["host"]}), frozenset({"small"}), {"key": "sk-secret"})
CELL = Cell(
    run="team-a/review",
    uid=UID,
    address="10.244.0.9",
    policies=("small",),
    rules=(EgressRule.parse(RULE),),
    suspended=False,
)
# What was set apart, for whom, and whether it may cost tokens.
asked_for: list[tuple[str, bool]] = []
TOKEN = identity.token(KEY, UID)
SHOWN = {"authorization": f"Bearer {TOKEN}"}
PATH = "/api.model.example/v1/chat"


def judge(
    cell: Cell | None = CELL,
    fault: str = "",
    secrets: dict[str, Keeping] | None = None,
    held: Held = Held("rid"),  # noqa: B008
) -> Judge:
    async def resolve(_: str) -> tuple[str, str]:
        return "" if fault else "9.9.9.9", fault

    cells = {UID: cell} if cell else {}

    async def reserve(asked: Cell, tokens: bool) -> Held:  # noqa: FBT001
        asked_for.append((asked.uid, tokens))
        return held

    asked_for.clear()
    return Judge(lambda: [KEY], cells.get, (secrets or {}).get, resolve, reserve)


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
    assert asked_for == []


async def test_what_passes_has_something_set_apart():
    verdict = await judge().decide(asked())

    assert verdict.held == Held("rid")
    assert asked_for == [(UID, True)]


@pytest.mark.parametrize(
    ("fault", "status"),
    [(decision.SPENT, 429), (decision.BUSY, 429), (decision.UNRECORDED, 503)],
)
async def test_what_cannot_be_paid_for_is_refused(fault: str, status: int):
    held = Held(fault=fault, budget="budget.tokens")

    verdict = await judge(held=held).decide(asked())

    assert (verdict.status, verdict.reason, verdict.address) == (status, fault, "")
    assert verdict.held.budget == "budget.tokens"


@pytest.mark.parametrize(("fault", "status"), [("dns-failure", 502), ("address-not-public", 403)])
async def test_a_host_that_may_not_be_dialled_is_refused(fault: str, status: int):
    verdict = await judge(fault=fault).decide(asked())

    assert (verdict.status, verdict.reason, verdict.address) == (status, fault, "")


def holding(**credential: str) -> Cell:
    """A run whose rule has a credential."""
    rule = EgressRule.parse({**RULE, "credential": {**CREDENTIAL, **credential}})
    return dataclasses.replace(CELL, rules=(rule,))


async def test_a_credential_is_added_as_its_rule_says():
    cell = holding(header="x-api-key", format="key={value}")

    verdict = await judge(cell, secrets={"model": KEPT}).decide(asked())

    assert verdict.secret == Header("x-api-key", "key=sk-secret", "sk-secret")
    assert verdict.address == "9.9.9.9"
    assert "sk-secret" not in repr(verdict) + repr(KEPT)


async def test_without_a_credential_none_is_added():
    assert (await judge(secrets={"model": KEPT}).decide(asked())).secret is None


@pytest.mark.parametrize(
    ("kept", "status", "reason"),
    [
        pytest.param(None, 503, credentials.MISSING, id="there is none"),
        pytest.param(
            dataclasses.replace(KEPT, values={}), 503, credentials.MISSING, id="it has no such key"
        ),
        pytest.param(
            dataclasses.replace(KEPT, hosts=frozenset({"other.example"})),
            403,
            credentials.NOT_BOUND,
            id="it serves another host",
        ),
        pytest.param(
            dataclasses.replace(KEPT, policies=frozenset({"other"})),
            403,
            credentials.NOT_BOUND,
            id="it serves another policy",
        ),
    ],
)
async def test_a_request_is_refused_whose_secret_is_not_for_it(
    kept: Keeping | None, status: int, reason: str
):
    secrets = {"model": kept} if kept is not None else {}

    verdict = await judge(holding(), secrets=secrets).decide(asked())

    assert (verdict.status, verdict.reason) == (status, reason)
    assert (verdict.address, verdict.secret) == ("", None)


async def test_a_secret_must_serve_every_policy_that_a_run_is_under():
    cell = dataclasses.replace(holding(), policies=("small", "other"))

    verdict = await judge(cell, secrets={"model": KEPT}).decide(asked())

    assert verdict.reason == credentials.NOT_BOUND


def secret(annotations: dict[str, str] | None, **data: bytes) -> dict[str, Any]:
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    return {"metadata": {"annotations": annotations}, "data": encoded}


BOTH = {names.HOSTS_ANNOTATION: "a.example b.example", names.POLICIES_ANNOTATION: "small"}


def test_a_secret_says_whom_it_serves():
    kept = credentials.read(secret(BOTH, key=b"value\n"))

    assert kept.hosts == {"a.example", "b.example"}
    assert (kept.policies, kept.values) == ({"small"}, {"key": "value"})


@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {},
        {names.HOSTS_ANNOTATION: "a.example"},
        {names.POLICIES_ANNOTATION: "small"},
        {**BOTH, names.HOSTS_ANNOTATION: " "},
    ],
)
def test_a_secret_that_does_not_say_both_is_not_looked_into(annotations: dict[str, str] | None):
    assert credentials.read(secret(annotations, key=b"value")).values == {}


@pytest.mark.parametrize("value", [b"", b"a\r\nX-Other: b", b"\xff", "ö".encode(), b"a\x00b"])
def test_a_value_that_no_header_can_carry_is_none(value: bytes):
    """Above all none that would add a header of its own."""
    assert credentials.read(secret(BOTH, key=value)).values == {}


async def test_a_run_that_greets_is_known():
    assert await judge().decide(asked(path="/")) == Verdict(200, decision.GREETING, CELL)


CODE = EgressRule.parse({"name": "code", "host": "code.example", "mode": "Connect"})
PROXY = {"proxy-authorization": "Basic " + base64.b64encode(f"run:{TOKEN}".encode()).decode()}


def tunnel(**fields: Any) -> Asked:  # noqa: ANN401
    usual = {"method": "CONNECT", "path": "", "headers": PROXY, "authority": "code.example:443"}
    return asked(**{**usual, **fields})


async def test_a_tunnel_goes_to_the_address_that_was_judged():
    cell = dataclasses.replace(CELL, rules=(*CELL.rules, CODE))

    verdict = await judge(cell).decide(tunnel())

    assert (verdict.status, verdict.rule, verdict.address) == (200, "code", "9.9.9.9")
    assert (verdict.secret, verdict.way) == (None, "connect")


@pytest.mark.parametrize(
    ("fields", "fault", "status", "reason"),
    [
        pytest.param({"headers": {}}, "", 407, "unknown-run", id="shows nothing"),
        pytest.param({"headers": SHOWN}, "", 407, "unknown-run", id="shows it elsewhere"),
        pytest.param({"source": "10.244.0.8"}, "", 403, "wrong-source", id="from elsewhere"),
        pytest.param({"authority": "code.example"}, "", 403, "no-host", id="to no port"),
        pytest.param({"path": "/", "authority": ""}, "", 403, "no-host", id="as a greeting"),
        pytest.param(
            {"authority": "api.model.example:443"}, "", 403, "mode-not-allowed", id="to ask there"
        ),
        pytest.param(
            {}, "address-not-public", 403, "address-not-public", id="to where nothing may go"
        ),
    ],
)
async def test_a_tunnel_is_refused(fields: dict[str, Any], fault: str, status: int, reason: str):
    cell = dataclasses.replace(CELL, rules=(*CELL.rules, CODE))

    verdict = await judge(cell, fault).decide(tunnel(**fields))

    assert (verdict.status, verdict.reason, verdict.address) == (status, reason, "")


READ = EgressRule.parse({**RULE, "name": "read", "host": "read.example", "mode": "Intercept"})


def inside(**fields: Any) -> Asked:  # noqa: ANN401
    through = Tunnel(UID, "read.example", "443")
    usual = {"headers": {}, "path": "/v1/chat", "authority": "read.example", "through": through}
    return asked(**{**usual, **fields})


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        pytest.param({}, 200, "", id="what the rule allows"),
        pytest.param({"path": "/v2"}, 403, "method-or-path-not-allowed", id="another path"),
        pytest.param({"path": "/"}, 403, "method-or-path-not-allowed", id="no greeting"),
        pytest.param({"authority": "api.model.example"}, 421, rules.OTHER_HOST, id="another host"),
        pytest.param({"through": Tunnel("", "", "")}, 401, "unknown-run", id="nobody's tunnel"),
        pytest.param({"source": "10.244.0.8"}, 403, "wrong-source", id="another cell's"),
        pytest.param(
            {"authority": "code.example", "through": Tunnel(UID, "code.example", "443")},
            403,
            "mode-not-allowed",
            id="a tunnel that is not to be read any more",
        ),
    ],
)
async def test_a_request_in_a_tunnel_is_judged_by_itself(
    fields: dict[str, Any], status: int, reason: str
):
    cell = dataclasses.replace(CELL, rules=(*CELL.rules, CODE, READ))

    verdict = await judge(cell).decide(inside(**fields))

    assert (verdict.status, verdict.reason) == (status, reason)


async def test_a_credential_is_added_to_requests_in_a_tunnel_and_not_to_the_tunnel():
    rule = EgressRule.parse({**READ.model_dump(exclude_none=True), "credential": CREDENTIAL})
    cell = dataclasses.replace(CELL, rules=(rule,))
    kept = dataclasses.replace(KEPT, hosts=frozenset({"read.example"}))

    opened = await judge(cell).decide(tunnel(authority="read.example:443"))
    asking = await judge(cell, secrets={"model": kept}).decide(inside())

    assert (opened.status, opened.way, opened.secret) == (200, "intercept", None)
    assert opened.address == CELL.address
    assert asking.secret is not None
    assert asking.way == "reverse"


async def test_a_proxy_s_password_is_none_of_the_gateway_s_own():
    verdict = await judge().decide(asked(headers=PROXY))

    assert (verdict.status, verdict.reason) == (401, "unknown-run")


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
