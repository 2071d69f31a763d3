"""The pages of runs and of policies' days: opened from their records, kept, and written."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

from anchorhold.cluster import client
from anchorhold.gateway.decision import Cell
from anchorhold.gateway.usage import budget
from anchorhold.gateway.usage.budget import Account
from anchorhold.gateway.usage.page import Page
from anchorhold.gateway.usage.records import GoneError, Records

# For how many rounds of writing a run that ended is still listened for.
FAREWELL_ROUNDS = 5
WRITERS = 8
# What keeps a record from being read or written. One that makes no sense is as good as none.
FAULTS = (*client.FAULTS, ValueError)

_log = logging.getLogger(__name__)


class Shelf:
    """Holds each page once. This gateway gives out one of `parts` equal parts of each day.

    `cell_of` knows the living runs, `clock` the time.
    """

    def __init__(
        self,
        records: Records,
        parts: int,
        cell_of: Callable[[str], Cell | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._records = records
        self._parts = parts
        self.cell_of = cell_of
        self._clock = clock
        self._slots = asyncio.Semaphore(WRITERS)
        self._runs: dict[str, Page] = {}
        self._days: dict[str, Page] = {}

    async def pages(self, cell: Cell) -> list[Page]:
        """The pages that a run is under, its own first. Raises GoneError, or one of FAULTS."""
        pages = [await self.of_run(cell)]
        for policy, _ in cell.daily:
            pages.append(await self._of_day(policy))
        self.limit(cell, pages)
        return pages

    def limit(self, cell: Cell, pages: list[Page]) -> None:
        """Write the limits of this moment on the pages of a run."""
        own, *days = pages
        own.limits = budget.limits(cell.budget)
        daily = dict(cell.daily)
        for page in days:
            given = daily.get(page.name)
            page.limits = {} if given is None else budget.limits(given, self._parts)

    async def of_run(self, cell: Cell) -> Page:
        """The page of a run. Raises GoneError, or one of FAULTS."""

        async def save(usage: dict[str, Any]) -> None:
            await self._records.write_run(cell.run, cell.uid, usage)

        page = self._runs.setdefault(cell.uid, Page(budget.RUN, cell.run, save))
        async with page.lock:
            if page.account is None:
                found = await self._records.of_run(cell.run, cell.uid)
                page.account = budget.restored(found)
        return page

    async def _of_day(self, policy: str) -> Page:
        async def save(usage: dict[str, Any]) -> None:
            await self._records.write_day(policy, usage)

        page = self._days.setdefault(policy, Page(budget.DAY, policy, save))
        async with page.lock:
            if page.account is None:
                page.account = budget.restored(await self._records.of_day(policy))
        today = self._clock().date().isoformat()
        if page.open.day != today:
            page.account = Account(day=today)
        return page

    async def write(self) -> list[Page]:
        """Put on record what changed; returns the pages of runs that are gone, which it drops."""
        pages = [*self._days.values(), *self._runs.values()]
        await asyncio.gather(*(self._put(page) for page in pages if page.changed))
        ended = [uid for uid in self._runs if self.cell_of(uid) is None]
        return [page for uid in ended if (page := await self._part_from(uid)) is not None]

    async def _put(self, page: Page) -> None:
        async with self._slots, page.lock:
            try:
                await page.write()
            except GoneError:
                page.written = page.edition
            except FAULTS as error:
                _log.warning("usage of %s is not on record yet: %s", page.name, error)

    async def _part_from(self, uid: str) -> Page | None:
        """The last word on a run, once what it had open has been reported: nothing is set apart."""
        page = self._runs[uid]
        page.silent_rounds += 1
        if page.account is not None:
            if page.silent_rounds < FAREWELL_ROUNDS:
                return None
            page.close()
            await self._put(page)
        return None if page.changed else self._runs.pop(uid)
