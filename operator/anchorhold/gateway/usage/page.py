"""An account as it is kept: open in memory, and on record before it is used."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchorhold.gateway.usage import budget
from anchorhold.gateway.usage.budget import Account, Limits


@dataclass(slots=True)
class Page:
    """An account with its record: of a run, or of a policy's day, which `kind` says.

    `lock` is held by whoever reads or writes the record. Of its `edition`s one is the last that
    was written. `silent_rounds` counts since its run has ended.
    """

    kind: str
    name: str
    save: Callable[[dict[str, Any]], Awaitable[None]]
    account: Account | None = None
    limits: Limits = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    edition: int = 0
    written: int = 0
    silent_rounds: int = 0

    @property
    def open(self) -> Account:
        """The account, which has been opened."""
        assert self.account is not None  # noqa: S101  # nobody gets a page before
        return self.account

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return self.edition != self.written

    def change(self) -> None:
        """Take note that the account is not what the record says."""
        self.edition += 1

    def close(self) -> None:
        """Nothing will follow: what is still held is used, and nothing is set apart."""
        self.open.tokens += self.open.held
        self.open.held, self.open.leased, self.limits = 0, {}, {}
        self.change()

    async def write(self, requests: int = 0, tokens: int = 0) -> None:
        """Put on record what is used, what so much more would take, and a step ahead."""
        account, edition = self.open, self.edition
        leased = budget.lease(account, self.limits, requests, tokens)
        await self.save(budget.record(account, leased))
        account.leased, self.written = leased, edition


def covers(page: Page, requests: int, tokens: int) -> bool:
    """Whether the record already says that so much more is used."""
    return budget.is_covered(page.open, page.limits, requests, tokens)


def obstacle(pages: Sequence[Page]) -> str | None:
    """The budget that is spent, if one is; that of a run stays so. The run's page is the first."""
    if pages[0].open.exhausted:
        return pages[0].open.exhausted
    found = ((page.kind, budget.spent(page.open, page.limits)) for page in pages)
    return next((f"{kind}.{what}" for kind, what in found if what), None)


def in_use(pages: Sequence[Page]) -> str:
    """The budget of tokens that is held by requests in flight, to its last one."""
    return next(
        f"{page.kind}.tokens"
        for page in pages
        if page.limits.get("tokens", page.open.taken("tokens") + 1) <= page.open.taken("tokens")
    )


def is_overrun(page: Page) -> bool:
    """Whether more bytes moved than there are."""
    limit = page.limits.get("bytes")
    return limit is not None and page.open.used("bytes") > limit
