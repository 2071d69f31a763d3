"""What is used and what that leaves, in numbers."""

from typing import Any

import pytest
from pydantic import ValidationError

from anchorhold.api.egress import Budget
from anchorhold.gateway.usage import budget
from anchorhold.gateway.usage.budget import Account, Reply, Report

# Half way through a budget, with something in flight.
HALF = {"requests": 5, "sent": 30, "received": 20, "tokens": 400, "held": 100}


def test_an_equal_part_of_a_budget_is_rounded_down():
    """Ten in three parts are nine: less than all, never more."""
    given = Budget.parse({"requests": 10, "tokens": 2})

    assert budget.limits(given) == {"requests": 10, "tokens": 2}
    assert budget.limits(given, 3) == {"requests": 3, "tokens": 0}


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        ({}, ""),
        ({"requests": 6, "bytes": 51, "tokens": 401}, ""),
        ({"requests": 5, "tokens": 400}, "requests"),
        ({"bytes": 50}, "bytes"),
        ({"tokens": 400}, "tokens"),
        ({"tokens": 0}, "tokens"),
    ],
)
def test_a_budget_is_spent_when_nothing_is_left_of_it(limits: dict[str, int], what: str):
    """What is only held is not spent: it may come back."""
    assert budget.spent(Account(**HALF), limits) == what


@pytest.mark.parametrize(
    ("limits", "held"),
    [
        ([{}], None),
        ([{"requests": 1}], None),
        ([{"tokens": 1_000_000}], 4_096),
        ([{"tokens": 510}], 10),
        ([{"tokens": 500}], 0),
        ([{"tokens": 450}], -50),
        ([{"tokens": 1_000_000}, {"tokens": 501}], 1),
        ([{}, {"tokens": 501}], 1),
    ],
)
def test_a_request_holds_what_it_may_cost_or_all_that_is_left(
    limits: list[dict[str, int]], held: int | None
):
    assert budget.to_hold([(Account(**HALF), each) for each in limits]) == held


@pytest.mark.parametrize(
    ("limits", "leased"),
    [
        pytest.param({}, {"requests": 0, "bytes": 0, "tokens": 0}, id="without a limit"),
        pytest.param({"requests": 100}, {"requests": 11, "bytes": 0, "tokens": 0}, id="a step"),
        pytest.param({"requests": 7}, {"requests": 6, "bytes": 0, "tokens": 0}, id="none ahead"),
        pytest.param({"bytes": 60}, {"requests": 0, "bytes": 53, "tokens": 0}, id="bytes"),
        pytest.param({"tokens": 515}, {"requests": 0, "bytes": 0, "tokens": 515}, id="the rest"),
        pytest.param({"tokens": 300}, {"requests": 0, "bytes": 0, "tokens": 510}, id="over it"),
    ],
)
def test_a_record_goes_a_twentieth_ahead_and_no_further_than_the_limit(
    limits: dict[str, int], leased: dict[str, int]
):
    account = Account(**HALF)

    assert budget.lease(account, limits, 1, 10) == leased
    assert budget.is_covered(account, limits, 1, 10) is (limits == {})
    account.leased = leased
    assert budget.is_covered(account, limits, 1, 10)


def test_a_record_takes_nothing_back():
    account = Account(requests=1, leased={"requests": 50})

    assert budget.lease(account, {"requests": 100}, 1, 0)["requests"] == 50


def test_what_was_set_apart_counts_as_used_by_whoever_starts_again():
    account = Account(**HALF, refused=2, exhausted="budget.bytes")

    written = budget.record(account, {"requests": 9, "bytes": 60, "tokens": 450})

    assert written == {
        "requests": 5,
        "refused": 2,
        "bytesSent": 30,
        "bytesReceived": 20,
        "tokens": 400,
        "reserved": {"requests": 4, "bytes": 10, "tokens": 100},
        "exhausted": "budget.bytes",
    }
    found = budget.restored(written)
    assert (found.requests, found.refused, found.exhausted) == (9, 2, "budget.bytes")
    assert (found.sent, found.received, found.tokens, found.held) == (30, 30, 500, 0)
    assert found.leased == {"requests": 9, "bytes": 60, "tokens": 500}
    assert budget.record(found, found.leased)["reserved"] == dict.fromkeys(found.leased, 0)


def test_the_record_of_a_day_has_its_day():
    written = budget.record(Account(requests=1, day="2026-01-01"), {})

    assert written["day"] == "2026-01-01"
    assert budget.restored(written).day == "2026-01-01"


@pytest.mark.parametrize("record", [{"requests": -1}, {"requests": "1"}, {"other": 1}])
def test_a_record_that_makes_no_sense_is_none(record: dict[str, Any]):
    with pytest.raises(ValidationError):
        budget.restored(record)


@pytest.mark.parametrize(
    ("method", "headers", "may"),
    [
        ("POST", {}, True),
        ("DELETE", {}, True),
        ("GET", {}, False),
        ("HEAD", {}, False),
        ("OPTIONS", {}, False),
        ("GET", {"upgrade": "websocket"}, True),
    ],
)
def test_a_model_is_not_asked_by_reading(method: str, headers: dict[str, str], may: bool):  # noqa: FBT001
    assert budget.may_cost_tokens(method, headers) is may


WHOLE = {"status": 200, "whole": True, "connected": True, "content_type": "application/json"}


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        pytest.param({}, False, id="a model's reply"),
        pytest.param({"content_type": "text/event-stream"}, False, id="a stream"),
        pytest.param({"content_type": "application/grpc"}, False, id="gRPC"),
        pytest.param({"content_type": "application/x-git-upload-pack-result"}, True, id="git"),
        pytest.param({"content_type": ""}, True, id="of no type"),
        pytest.param({"content_type": "", "status": 101}, False, id="a WebSocket"),
        pytest.param({"status": 429}, True, id="an error"),
        pytest.param({"status": 500, "whole": False}, False, id="an error that was cut"),
        pytest.param({"content_type": "text/html", "whole": False}, False, id="git that was cut"),
        pytest.param({"connected": False, "whole": False, "status": 503}, True, id="not reached"),
        pytest.param({"content_type": "", "tunnel": True}, False, id="a tunnel"),
    ],
)
def test_what_no_model_can_have_answered_is_free(changes: dict[str, Any], free: bool):  # noqa: FBT001
    assert budget.is_free(Reply(**{**WHOLE, **changes})) is free


def report(**fields: Any) -> Report:  # noqa: ANN401
    return Report("rid", "uid", **{"sent": 0, "received": 0, "ended": True, **fields})


@pytest.mark.parametrize(
    ("fields", "held", "cost"),
    [
        pytest.param({"tokens": 42}, 4_096, 42, id="reported"),
        pytest.param({"tokens": 9_000}, 4_096, 9_000, id="more than it held"),
        pytest.param({"tokens": 42}, 0, 42, id="reported where there is no limit"),
        pytest.param({}, 0, 0, id="not reported where there is no limit"),
        pytest.param({"free": True}, 4_096, 0, id="free"),
        pytest.param({}, 4_096, 4_096, id="not reported"),
        pytest.param({}, 10, 4_096, id="not reported, with little left"),
        pytest.param({"sent": 40_000, "received": 8_000}, 4_096, 12_000, id="by its size"),
    ],
)
def test_a_request_costs(fields: dict[str, Any], held: int, cost: int):
    assert budget.cost(report(**fields), held) == cost
