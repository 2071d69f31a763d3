"""Lets requests pass that can be paid for, and counts what they cost.

A request passes when every account that it is under can bear it, and its record already says so.
Whatever can't be read or written is a refusal.
"""

import asyncio
import json
import logging
import secrets
from collections import Counter
from dataclasses import dataclass

import prometheus_client

from anchorhold.gateway.decision import BUSY, SPENT, UNRECORDED, Cell, Held
from anchorhold.gateway.usage import budget
from anchorhold.gateway.usage.budget import Account, Report
from anchorhold.gateway.usage.page import Page, covers, in_use, is_overrun, obstacle
from anchorhold.gateway.usage.records import GoneError
from anchorhold.gateway.usage.shelf import FAULTS, Shelf

# How often what changed is written.
WRITE_SECONDS = 3.0
BYTES = prometheus_client.Counter("gateway_bytes_total", "Bytes of agents.", ["direction"])
TOKENS = prometheus_client.Counter("gateway_tokens_total", "Tokens of models, as counted.")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Flight:
    """A request that was let pass, until Envoy says that it ended.

    It has its run, the accounts that it was let pass by, and the tokens that it holds there.
    """

    cell: Cell
    pages: list[Page]
    accounts: list[Account]
    held: int
    sent: int = 0
    received: int = 0


class Books:
    """What the living runs of this gateway use."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._flights: dict[str, Flight] = {}
        self._refused: Counter[Cell] = Counter()
        self._hurry = asyncio.Event()

    async def reserve(self, cell: Cell, tokens: bool) -> Held:  # noqa: FBT001
        """Let a request of this run pass, or say why not. `tokens`: it may cost some."""
        try:
            pages = await self._shelf.pages(cell)
            while (held := await self._try(cell, pages, tokens=tokens)) is None:
                pass
        except (*FAULTS, GoneError) as error:
            _log.warning("usage of %s: %s %s", cell.run, type(error).__name__, error)
            return Held(fault=UNRECORDED)
        return held

    async def _try(self, cell: Cell, pages: list[Page], *, tokens: bool) -> Held | None:
        """What becomes of a request; None: something was written, and all may have changed."""
        if (what := obstacle(pages)) is not None:
            return await self._exhaust(pages[0], what)
        held = budget.to_hold([(page.open, page.limits) for page in pages]) if tokens else None
        if held is not None and held <= 0:
            return Held(fault=BUSY, budget=in_use(pages))
        uncovered = [page for page in pages if not covers(page, 1, held or 0)]
        for page in uncovered:
            async with page.lock:
                if not covers(page, 1, held or 0):
                    await page.write(1, held or 0)
        return None if uncovered else self._depart(cell, pages, held or 0)

    def _depart(self, cell: Cell, pages: list[Page], held: int) -> Held:
        rid = secrets.token_hex(8)
        for page in pages:
            page.open.requests += 1
            page.open.held += held
            page.change()
        self._flights[rid] = Flight(cell, pages, [page.open for page in pages], held)
        return Held(rid)

    async def _exhaust(self, page: Page, what: str) -> Held:
        """On record before the agent reads it: whoever gives up then did so for that reason."""
        if not page.open.exhausted:
            page.open.exhausted = what
            page.change()
            async with page.lock:
                try:
                    await page.write()
                except FAULTS as error:
                    _log.warning("that '%s' is spent is not on record yet: %s", what, error)
        return Held(fault=SPENT, budget=page.open.exhausted)

    def refuse(self, cell: Cell) -> None:
        """Count a request of this run that was refused, for whatever reason."""
        self._refused[cell] += 1

    async def settle(self, report: Report) -> None:
        """Count what a request moved since the last report, and at its end what it cost."""
        flight = self._flights.get(report.rid) or await self._adopt(report)
        if flight is None:
            return
        sent, received = report.sent - flight.sent, report.received - flight.received
        flight.sent, flight.received = report.sent, report.received
        BYTES.labels("sent").inc(sent)
        BYTES.labels("received").inc(received)
        for page in flight.pages:
            page.open.sent += sent
            page.open.received += received
            page.change()
        if report.ended:
            self._arrive(flight, report)
        self._look(report.uid, flight)

    def _arrive(self, flight: Flight, report: Report) -> None:
        self._flights.pop(report.rid, None)
        tokens = budget.cost(report, flight.held)
        for page, account in zip(flight.pages, flight.accounts, strict=True):
            account.held -= flight.held
            # Past midnight it is another account that pays.
            page.open.tokens += tokens
        if tokens:
            TOKENS.inc(tokens)
            said = {"rid": report.rid, "run": flight.cell.run, "tokens": tokens}
            _log.info("%s", json.dumps({**said, "reported": report.tokens is not None}))

    async def _adopt(self, report: Report) -> Flight | None:
        """The flight of a request that was let pass by the process before this one."""
        cell = self._shelf.cell_of(report.uid)
        if cell is None:
            return None
        try:
            pages = await self._shelf.pages(cell)
        except (*FAULTS, GoneError) as error:
            # The next report says all of it again.
            _log.warning("usage of %s: %s %s", cell.run, type(error).__name__, error)
            return None
        flight = Flight(cell, pages, [page.open for page in pages], held=0)
        return self._flights.setdefault(report.rid, flight)

    def _look(self, uid: str, flight: Flight) -> None:
        """An open stream that moves more than there is ends with its run, which is told at once."""
        cell = self._shelf.cell_of(uid)
        if cell is not None:
            self._shelf.limit(cell, flight.pages)
        account = flight.pages[0].open
        over = [page for page in flight.pages if is_overrun(page)]
        if over and not account.exhausted:
            account.exhausted = f"{over[0].kind}.bytes"
            flight.pages[0].change()
            self._hurry.set()
        if not all(covers(page, 0, 0) for page in flight.pages):
            self._hurry.set()

    async def run(self) -> None:
        """Write what changed, for ever."""
        while True:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            await self.write()

    async def write(self) -> None:
        """Put on record all that changed, and forget the runs that are gone."""
        refused, self._refused = self._refused, Counter()
        for cell, number in refused.items():
            await self._count_refused(cell, number)
        for gone in await self._shelf.write():
            kept = {rid: f for rid, f in self._flights.items() if f.pages[0] is not gone}
            self._flights = kept

    async def _count_refused(self, cell: Cell, number: int) -> None:
        try:
            page = await self._shelf.of_run(cell)
        except GoneError:
            return
        except FAULTS:
            self._refused[cell] += number
            return
        page.open.refused += number
        page.change()
