"""Who lets pass and counts, against records that are slow, away, or those of another process."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorhold.api.egress import Budget
from anchorhold.gateway.decision import BUSY, SPENT, UNRECORDED, Cell
from anchorhold.gateway.usage import shelf as shelf_module
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.budget import Report
from anchorhold.gateway.usage.records import GoneError
from anchorhold.gateway.usage.shelf import Shelf
from bed.paper import Paper

UID = "uid"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Bed:
    """One run, and the books; `restart` is another process with the same records."""

    def __init__(
        self, limits: dict[str, int], daily: dict[str, int] | None = None, parts: int = 1
    ) -> None:
        self.paper = Paper()
        self.parts = parts
        self.cells: dict[str, Cell] = {}
        self.live(limits, daily)
        self.restart()

    def live(self, limits: dict[str, int], daily: dict[str, int] | None = None) -> None:
        days = (("small", Budget.parse(daily)),) if daily else ()
        own = Budget.parse(limits)
        self.cells[UID] = Cell(
            run="team-a/a",
            uid=UID,
            address="10.0.0.1",
            policies=("small",),
            rules=(),
            suspended=False,
            budget=own,
            daily=days,
        )

    def restart(self) -> None:
        self.books = Books(Shelf(self.paper, self.parts, self.cells.get, lambda: NOON))

    async def ask(self, *, tokens: bool = False) -> str:
        """The name of a request that passes, or why none does."""
        held = await self.books.reserve(self.cells[UID], tokens)
        return held.fault or held.rid

    async def end(self, rid: str, **fields: Any) -> None:  # noqa: ANN401
        usual = {"sent": 0, "received": 0, "ended": True}
        await self.books.settle(Report(rid, UID, **{**usual, **fields}))

    @property
    def usage(self) -> dict[str, Any]:
        return self.paper.runs.get(UID, {})


async def test_a_record_is_written_before_what_it_allows_is_used():
    bed = Bed({"requests": 100})

    assert (await bed.ask()) not in (SPENT, BUSY, UNRECORDED)

    assert bed.paper.writes == 1
    assert bed.usage["requests"] + bed.usage["reserved"]["requests"] == 6


async def test_a_run_without_a_budget_is_not_written_about_at_each_request():
    bed = Bed({})

    for _ in range(50):
        await bed.end(await bed.ask())

    assert bed.paper.writes == 0
    await bed.books.write()
    assert (bed.paper.writes, bed.usage["requests"]) == (1, 50)
    await bed.books.write()
    assert bed.paper.writes == 1


async def test_a_budget_is_written_about_some_twenty_times():
    bed = Bed({"requests": 1_000})

    for _ in range(1_000):
        await bed.end(await bed.ask())

    assert await bed.ask() == SPENT
    assert bed.paper.writes <= 22


async def test_each_gateway_gives_out_its_part_of_a_day():
    bed = Bed({}, {"requests": 10}, parts=3)

    found = [await bed.ask() for _ in range(4)]

    assert found[3] == SPENT
    assert SPENT not in found[:3]
    day = bed.paper.days["small"]
    assert day["requests"] + day["reserved"]["requests"] == 3


async def test_yesterday_s_record_is_not_today_s():
    bed = Bed({}, {"requests": 1})
    bed.paper.days["small"] = {"day": "2025-12-31", "requests": 1}

    assert await bed.ask() != SPENT

    assert bed.paper.days["small"]["day"] == "2026-01-01"


async def test_that_a_budget_is_spent_is_on_record_before_the_agent_is_told():
    bed = Bed({"requests": 1})
    await bed.ask()

    assert await bed.ask() == SPENT

    assert bed.usage["exhausted"] == "budget.requests"


async def test_whoever_is_to_end_gets_nothing_more():
    bed = Bed({"requests": 1})
    await bed.ask()
    await bed.ask()
    bed.live({"requests": 1_000})

    assert await bed.ask() == SPENT
    bed.restart()
    assert await bed.ask() == SPENT


@pytest.mark.parametrize(
    "record", [{"requests": -1}, {"requests": 1, "newer": 1}, {"exhausted": "everything"}]
)
async def test_a_record_that_cannot_be_read_lets_nothing_pass(record: dict[str, Any]):
    bed = Bed({"requests": 10})
    bed.paper.runs[UID] = record
    if "exhausted" in record:
        # Nobody but the API server knows which words there are.
        assert await bed.ask() == SPENT
    else:
        assert await bed.ask() == UNRECORDED


async def test_with_its_record_away_a_run_gets_what_was_set_apart_and_no_more():
    bed = Bed({"requests": 100})
    await bed.ask()
    bed.paper.away = True

    found = [await bed.ask() for _ in range(7)]

    assert found[5:] == [UNRECORDED] * 2
    assert UNRECORDED not in found[:5]
    await bed.books.write()
    bed.paper.away = False
    await bed.books.write()
    assert bed.usage["requests"] == 6


async def test_a_namesake_is_not_written_about(monkeypatch: pytest.MonkeyPatch):
    bed = Bed({"requests": 100})

    async def gone(*_: object) -> None:
        raise GoneError("team-a/a")

    monkeypatch.setattr(bed.paper, "write_run", gone)

    assert await bed.ask() == UNRECORDED
    await bed.books.write()
    assert bed.usage == {}


@pytest.mark.parametrize(
    ("own", "daily", "budget"),
    [
        ({"tokens": 5_000}, {"tokens": 9_000}, "budget.tokens"),
        ({"tokens": 9_000}, {"tokens": 5_000}, "dailyBudget.tokens"),
    ],
)
async def test_a_request_that_must_wait_is_told_for_which_budget(
    own: dict[str, int], daily: dict[str, int], budget: str
):
    """One holds 4096, the next what is left, and a third has to wait for one of them."""
    bed = Bed(own, daily)
    first = await bed.ask(tokens=True)
    await bed.ask(tokens=True)

    held = await bed.books.reserve(bed.cells[UID], True)  # noqa: FBT003

    assert (held.fault, held.budget) == (BUSY, budget)
    await bed.end(first, tokens=10)
    assert await bed.ask(tokens=True) not in (BUSY, SPENT)
    assert bed.usage["exhausted"] == ""


async def test_refused_requests_are_counted_and_cost_nothing():
    bed = Bed({"requests": 1})
    for _ in range(3):
        bed.books.refuse(bed.cells[UID])

    await bed.books.write()

    assert (bed.usage["refused"], bed.usage["requests"]) == (3, 0)
    assert await bed.ask() != SPENT


async def test_refused_requests_that_could_not_be_counted_are_counted_later():
    bed = Bed({})
    bed.paper.away = True
    bed.books.refuse(bed.cells[UID])
    await bed.books.write()
    bed.paper.away = False

    await bed.books.write()

    assert bed.usage["refused"] == 1


async def test_bytes_are_counted_by_what_is_new_in_each_report():
    bed = Bed({})
    rid = await bed.ask()

    for n in (100, 250):
        await bed.end(rid, sent=n, received=2 * n, ended=False)
    await bed.end(rid, sent=300, received=600)
    await bed.books.write()

    assert (bed.usage["bytesSent"], bed.usage["bytesReceived"]) == (300, 600)


async def test_a_request_of_the_process_before_is_counted_as_a_whole():
    bed = Bed({"bytes": 1_000})
    rid = await bed.ask()
    bed.restart()

    await bed.end(rid, sent=600, received=600, ended=False)
    await bed.books.write()

    assert bed.usage["bytesSent"] == 600
    assert bed.usage["exhausted"] == "budget.bytes"


async def test_what_is_reported_of_nobody_s_requests_is_not_counted():
    bed = Bed({})

    await bed.books.settle(Report("rid", "another", 1, 1, ended=True))
    bed.paper.away = True
    await bed.end("rid", sent=1)

    bed.paper.away = False
    await bed.books.write()
    assert bed.usage == {}


async def test_a_limit_that_is_tightened_ends_an_open_stream():
    bed = Bed({})
    rid = await bed.ask()
    await bed.end(rid, received=500, ended=False)
    bed.live({"bytes": 500})

    await bed.end(rid, received=501, ended=False)
    await bed.books.write()

    assert bed.usage["exhausted"] == "budget.bytes"


async def test_what_a_run_that_ended_had_set_apart_is_given_back():
    bed = Bed({"requests": 100, "tokens": 100_000})
    await bed.ask(tokens=True)
    del bed.cells[UID]

    for _ in range(shelf_module.FAREWELL_ROUNDS):
        await bed.books.write()

    assert bed.usage["requests"] == 1
    # Nobody said what it cost.
    assert bed.usage["tokens"] == 4_096
    assert set(bed.usage["reserved"].values()) == {0}


async def test_a_crowd_gets_what_there_is(monkeypatch: pytest.MonkeyPatch):
    """While the record is being written, and after."""
    bed = Bed({"requests": 30, "tokens": 10_000_000}, {"requests": 25})
    slow(bed, monkeypatch)

    found = await asyncio.gather(*(bed.ask(tokens=True) for _ in range(60)))

    assert len([each for each in found if each != SPENT]) == 25


def slow(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have a turn while something is written."""

    def slowly(write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def later(*args: object) -> None:
            await asyncio.sleep(0)
            await write(*args)
            await asyncio.sleep(0)

        return later

    for name in ("write_run", "write_day"):
        monkeypatch.setattr(bed.paper, name, slowly(getattr(bed.paper, name)))


class Play:
    """What may happen to a run with these budgets, one thing after another."""

    def __init__(self, requests: int, daily: int, tokens: int) -> None:
        self.bed = Bed({"requests": requests, "tokens": tokens}, {"requests": daily})
        self.requests, self.tokens = min(requests, daily), tokens
        self.passed = self.paid = 0
        self.flying: list[str] = []

    async def ask(self, number: int = 1) -> None:
        found = await asyncio.gather(*(self.bed.ask(tokens=True) for _ in range(number)))
        new = [rid for rid in found if rid not in (SPENT, BUSY, UNRECORDED)]
        assert not new or self.paid < self.tokens
        self.passed += len(new)
        self.flying += new

    async def crowd(self) -> None:
        await self.ask(5)

    async def report(self, tokens: int | None = 1_000) -> None:
        if self.flying:
            await self.bed.end(self.flying.pop(), tokens=tokens)
            self.paid += tokens or 1

    async def hang_up(self) -> None:
        await self.report(None)

    async def restart(self) -> None:
        self.bed.restart()
        self.flying.clear()

    async def away(self) -> None:
        self.bed.paper.away = not self.bed.paper.away

    async def write(self) -> None:
        await self.bed.books.write()

    def check(self) -> None:
        """No more passed than may, and whoever reads the records knows of all of it."""
        assert self.passed <= self.requests
        for record in (self.bed.usage, self.bed.paper.days.get("small", {})):
            known = record.get("requests", 0) + record.get("reserved", {}).get("requests", 0)
            assert known >= self.passed


STEPS = [Play.ask, Play.crowd, Play.report, Play.hang_up, Play.restart, Play.away, Play.write]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([Play.ask, *STEPS]), max_size=60),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 40_000),
)
def test_nothing_gets_more_than_there_is_whatever_happens(
    steps: list[Callable[[Play], Awaitable[None]]], requests: int, daily: int, tokens: int
):
    """Requests never; tokens no more than what was begun while there were some."""

    async def play() -> None:
        played = Play(requests, daily, tokens)
        for step in steps:
            await step(played)
            played.check()

    asyncio.run(play())
