"""What runs have used, on record with an API server: their own, and nobody else's."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from anchorhold import names
from anchorhold.cluster import client
from anchorhold.gateway.decision import SPENT, UNRECORDED, Cell, Held
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.budget import Report
from anchorhold.gateway.usage.records import GoneError, Records
from anchorhold.gateway.usage.shelf import Shelf
from anchorhold.gateway.view import View
from factories import RULE
from wiring import fakeapi
from wiring.test_controller import NAMESPACE, run
from wiring.test_gateway_view import onboard, watching, written

Manifest = dict[str, Any]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = "gateway-0-usage"


def of_day(api: fakeapi.FakeApi) -> Manifest:
    """The record of the policy's day."""
    found = api.get("configmaps", names.GATEWAY_NAMESPACE, DAY)
    assert found is not None
    return dict(json.loads(found["data"]["small"]))


def usage(api: fakeapi.FakeApi) -> Manifest:
    """The record of the run."""
    found = api.get("agentruns", NAMESPACE, "a")
    assert found is not None
    return dict(found.get("status", {}).get("usage", {}))


@asynccontextmanager
async def gateway(api: fakeapi.FakeApi) -> AsyncIterator[tuple[View, Books]]:
    """A gateway that has seen the cluster."""
    async with watching(api) as view, client.session(client.Server(api.url)) as http:
        records = Records(client.Client(http, api.url), "gateway-0")
        yield view, Books(Shelf(records, 1, view.cell, lambda: NOON))


@pytest.fixture
def uid(api: fakeapi.FakeApi) -> str:
    """A run that may ask five times, under a policy whose runs may ask eight times a day."""
    found = onboard(api)
    egress = {"rules": [RULE], "budget": {"requests": 5}, "dailyBudget": {"requests": 8}}
    policy = written(RULE)
    policy["spec"]["egress"] = egress
    api.put(policy)
    metadata = {"name": DAY, "namespace": names.GATEWAY_NAMESPACE}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    return found


def cell(view: View, uid: str) -> Cell:
    found = view.cell(uid)
    assert found is not None
    return found


async def ask(view: View, books: Books, uid: str) -> Held:
    return await books.reserve(cell(view, uid), False)  # noqa: FBT003


async def test_what_is_used_is_in_the_status_and_in_the_day_s_record(
    api: fakeapi.FakeApi, uid: str
):
    api.patch_status("agentruns", NAMESPACE, "a", {"podName": "a-cell"})
    async with gateway(api) as (view, books):
        found = [await ask(view, books, uid) for _ in range(6)]
        await books.settle(Report(found[0].rid, uid, 10, 20, ended=True, tokens=42))
        await books.write()

    assert [each.fault for each in found] == [""] * 5 + [SPENT]
    assert found[5].budget == usage(api)["exhausted"] == "budget.requests"
    assert usage(api)["requests"] == of_day(api)["requests"] == 5
    assert (usage(api)["bytesSent"], usage(api)["bytesReceived"]) == (10, 20)
    assert usage(api)["tokens"] == of_day(api)["tokens"] == 42
    # What the controller wrote is still there.
    whole = api.get("agentruns", NAMESPACE, "a")
    assert whole is not None
    assert whole["status"]["podName"] == "a-cell"


async def test_a_gateway_that_starts_again_goes_on_where_the_records_end(
    api: fakeapi.FakeApi, uid: str
):
    for expected in ("", "", "", "", "", SPENT):
        async with gateway(api) as (view, books):
            assert (await ask(view, books, uid)).fault == expected


async def test_what_the_controller_writes_meanwhile_is_no_obstacle(api: fakeapi.FakeApi, uid: str):
    api.fail("patch", "agentruns/status", 409, times=3)
    async with gateway(api) as (view, books):
        assert (await ask(view, books, uid)).fault == ""

    assert usage(api)["reserved"]["requests"] == 1


FAULTS = [
    ("get", "agentruns", 500),
    ("patch", "agentruns/status", 500),
    ("patch", "agentruns/status", 403),
    ("patch", "agentruns/status", 409),
    ("patch", "agentruns/status", fakeapi.NO_ANSWER),
    ("get", "configmaps", 404),
    ("patch", "configmaps", 403),
]


@pytest.mark.parametrize(("verb", "resource", "status"), FAULTS)
async def test_what_cannot_be_written_down_does_not_pass(
    api: fakeapi.FakeApi, uid: str, verb: str, resource: str, status: int
):
    async with gateway(api) as (view, books):
        api.fail(verb, resource, status, times=10)

        assert (await ask(view, books, uid)).fault == UNRECORDED

        await api.wait(lambda: api.calls[verb, resource])
    async with gateway(api) as (view, books):
        for _ in range(10):
            if (await ask(view, books, uid)).fault == "":
                break
        else:
            pytest.fail("nothing passes though the API server answers again")


async def test_a_namesake_is_not_charged(api: fakeapi.FakeApi, uid: str):
    """The run is gone, and another has its name, before what it used is written down."""
    async with gateway(api) as (view, books):
        held = await ask(view, books, uid)
        old = cell(view, uid)
        api.delete("agentruns", NAMESPACE, "a")
        api.put(run("a", egress={"rules": [{"name": "model"}]}))

        await books.settle(Report(held.rid, uid, 10, 20, ended=True))
        await books.write()

        assert usage(api) == {}
        assert (await books.reserve(old, False)).fault == UNRECORDED  # noqa: FBT003
        assert usage(api) == {}


async def test_a_run_that_is_gone_has_no_record(api: fakeapi.FakeApi, uid: str):
    async with client.session(client.Server(api.url)) as http:
        records = Records(client.Client(http, api.url), "gateway-0")
        assert await records.of_run(f"{NAMESPACE}/a", uid) == {}
        api.delete("agentruns", NAMESPACE, "a")

        with pytest.raises(GoneError):
            await records.of_run(f"{NAMESPACE}/a", uid)


async def test_a_record_of_a_day_that_is_no_json_lets_nothing_pass(api: fakeapi.FakeApi, uid: str):
    api.patch("configmaps", names.GATEWAY_NAMESPACE, DAY, {"data": {"small": "{"}})
    async with gateway(api) as (view, books):
        assert (await ask(view, books, uid)).fault == UNRECORDED
