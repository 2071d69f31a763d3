"""What the attacks on the gateway ask for, and what they make of its answers and of who came."""

from typing import Any

import pytest

from anchorhold.cli.prove.attacks import asking, canary, elsewhere, lying, window
from anchorhold.cli.prove.props import NothingHereError

MODEL = {"name": "model", "host": "model.test", "methods": ["POST", "GET"], "paths": ["/v1/**"]}
READ = {
    "name": "read", "host": "files.test", "methods": ["GET"], "paths": ["/a/*"],
    "mode": "Intercept", "ports": [8443],
}  # fmt: skip
TUNNEL = {"name": "tunnel", "host": "model.test", "mode": "Connect"}
PASSES, REFUSED = [200, "", []], [403, "host-not-allowed", []]
CANARY = canary.Canary("bird", "10.0.0.9", "10.96.0.9", "bird.apart.svc.cluster.local")


class Stage:
    """As much of a stage as these look at."""

    token, apart = "0123", "prove-0123"

    def __init__(self, *rules: dict[str, Any], log: str = "") -> None:
        self.policy = {"egress": {"rules": rules, "budget": {"requests": 2}}}
        self.policies = ({"spec": self.policy},)
        self.said = log

    def log(self, *_: str) -> str:
        return self.said


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (MODEL, {"method": "GET", "path": "/model.test/v1/prove"}),
        (READ, {"method": "CONNECT", "path": "files.test:8443", "inside": "/a/prove"}),
        (TUNNEL, {"method": "CONNECT", "path": "model.test:443"}),
    ],
)
def test_a_rule_is_asked_for_as_its_mode_has_it(rule: dict[str, Any], asked: dict[str, Any]):
    assert asking.allowed(rule) == asked


def test_a_rule_that_is_measured_by_leads_where_it_says():
    stage: Any = Stage({**MODEL, "name": "prove-inward-0"}, {**MODEL, "host": "*.test"}, MODEL)

    assert asking.own(stage) == MODEL
    with pytest.raises(NothingHereError, match="no rule of the mode 'Reverse'"):
        asking.own(Stage(TUNNEL))  # type: ignore[arg-type]


def test_a_refusal_counts_in_its_own_words_and_beside_a_request_that_passes():
    def found(answer: list[Any], control: list[Any] = PASSES) -> tuple[bool, bool]:
        made = asking.refusal("x", answer, control, "403 host-not-allowed")
        return made.held, made.shown

    assert found(REFUSED) == (True, True)
    assert found(REFUSED, [403, "unknown-run", []]) == (True, False)
    assert found(REFUSED, [0, "TimeoutError", []]) == (True, False)
    # A timeout, an upstream that is not there and another refusal are not what was claimed.
    for other in (PASSES, [0, "TimeoutError", []], [503, "", []], [502, "dns-failure", []]):
        assert not found(other)[0]


def test_no_more_is_asked_for_than_a_policy_gives():
    assert asking.least(Stage(MODEL), 3) == 2  # type: ignore[arg-type]
    assert asking.least(Stage(MODEL), 1) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pieces", "held", "shown"),
    [
        (["sk-on*****", "**********"], True, True),
        (["sk-on*****", "sk-only-th"], False, True),
        (["sk"], False, True),
        ([], True, False),
    ],
)
def test_a_credential_is_masked_wherever_it_comes_back(pieces: list[str], held: bool, shown: bool):  # noqa: FBT001
    found = window.masked("echo", [200, "", pieces])

    assert (found.held, found.shown) == (held, shown)


def test_a_port_is_closed_only_beside_one_that_is_open():
    doors = [["", 8081], ["", 8080], ["10.0.0.1", 8081], ["10.0.0.1", 8080]]

    found = window.closed(doors, [False, True, True, False], [["10.0.0.1", 8081]])

    assert [(each.held, each.shown) for each in found] == [(True, True), (False, False)]
    assert found[1].without == "open to an unfenced Pod"


@pytest.mark.parametrize(
    ("log", "held", "shown"),
    [
        ("listening\ntcp 10.0.0.7 out0123\n", True, True),
        ("tcp 10.0.0.7 out0123\ntcp 10.0.0.4 \ufffd\n", False, True),
        ("tcp 10.0.0.4 -\n", False, False),
        ("listening\n", True, False),
    ],
)
def test_whoever_comes_to_the_canary_is_counted(log: str, held: bool, shown: bool):  # noqa: FBT001
    found = canary.arrivals(Stage(log=log), CANARY, 7)  # type: ignore[arg-type]

    assert (found.held, found.shown) == (held, shown)
    assert found.what.startswith("7 requests")


def test_an_address_is_spelled_in_every_way():
    asked = {row["path"] for row in elsewhere.spellings("169.254.169.254", MODEL).values()}

    for form in ("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"):
        assert f"/{form}/" in asked
    assert "2852039166:443" in asked


LIED = ["200, 403 host-not-allowed"] * 3 + ["429 budget-exhausted, 403 host-not-allowed"]


@pytest.mark.parametrize(
    ("lines", "told", "held", "shown"),
    [
        (LIED, True, [True, True], [True, True]),
        (LIED, False, [True, True], [False, False]),
        ([*LIED[:2], "200, 200", LIED[3]], True, [False, True], [True, True]),
        ([*LIED[:3], "200, 403 host-not-allowed"], True, [True, False], [True, True]),
        ([LIED[0], LIED[3]], True, [True, True], [False, False]),
    ],
)
def test_a_lie_opens_something_if_what_it_grants_passes(
    lines: list[str],
    told: bool,  # noqa: FBT001
    held: list[bool],
    shown: list[bool],
):
    found = lying.judged(lines, 1, 3, told=told)

    assert [each.held for each in found] == held
    assert [each.shown for each in found] == shown
