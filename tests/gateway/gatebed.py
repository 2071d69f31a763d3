"""What the tests of the gateway have: servers that count, our decider, and who lives behind it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anchorhold.api.egress import Budget, EgressRule
from anchorhold.gateway import decider, leaves
from anchorhold.gateway.__main__ import now
from anchorhold.gateway.addresses import networks
from anchorhold.gateway.credentials import Keeping
from anchorhold.gateway.decision import Cell, Held, Judge
from anchorhold.gateway.leaves import Leaf
from anchorhold.gateway.resolver import Resolver, name_servers
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.budget import Report
from anchorhold.gateway.usage.shelf import Shelf
from anchorhold.policy import identity
from bed.paper import Paper
from onenode import settings, world

ENVOY = Path(os.environ.get("ENVOY", Path(__file__).parents[2] / "build/envoy/envoy/_bin/envoy"))
GOOD, FORBIDDEN = "203.0.113.10", "198.51.100.30"
CELLS = ("10.244.0.11", "10.244.0.12", "10.244.0.13")
KEY, OLD_KEY = b"the key of today", b"the key of yesterday"
MIDDAY = datetime(2026, 1, 1, 12, tzinfo=UTC)
UID = "00000000-0000-4000-8000-00000000000{}"


@dataclass
class Internet:
    """Who came to which address, and what was asked there; `authorities` vouch for its servers.

    Between two pieces of a model's reply it waits for `pace` seconds.
    """

    authorities: Path
    visits: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    pace: float = 0.0

    def serve(self, address: tuple[str, int], folder: Path) -> world.Server:
        """A server of `world` that also counts."""
        internet = self

        class Counting(world.Server):
            address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET

            def verify_request(self, *_: object) -> bool:
                internet.visits.append(str(self.server_address[0]))
                return True

        class Noting(world.Handler):
            def answer(self) -> None:
                internet.heads.append(dict(self.headers))
                internet.requests.append((self.command, self.headers["Host"], self.path))
                super().answer()

            def _piece(self, content: bytes) -> None:
                time.sleep(internet.pace)
                super()._piece(content)

            # The names that http.server looks for.
            do_GET = do_HEAD = do_POST = answer  # noqa: N815
            do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        server = Counting(address, Noting)
        server.tls = world.tls(folder)
        return server


@dataclass
class Decider:
    """Ours, in a thread of its own; it can be stopped, blinded and told who lives."""

    socket: str
    authority: Path
    minted: list[str] = field(default_factory=list)
    cells: dict[str, Cell] = field(default_factory=dict)
    secrets: dict[str, Keeping] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=lambda: [KEY])
    blind: Callable[[str], Awaitable[tuple[str, str]]] | None = None
    paper: Paper = field(default_factory=Paper)
    books: Books = field(init=False)
    writing: asyncio.Task[None] = field(init=False)
    now: datetime = MIDDAY
    _stop: Callable[[], object] | None = None
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Answer, in a thread of its own."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)))
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """Answer no more."""
        assert self._thread is not None
        assert self._stop is not None
        self._stop()
        self._thread.join()

    def _rules(self) -> list[EgressRule]:
        return [rule for cell in self.cells.values() for rule in cell.rules]

    def _noting(self, mint: Callable[[str], Leaf | None]) -> Callable[[str], Leaf | None]:
        def note(host: str) -> Leaf | None:
            self.minted.append(host)
            return mint(host)

        return note

    async def _run(self, ready: threading.Event) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._loop = loop
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        reachable = networks(f"{GOOD}/32")
        resolver = Resolver(name_servers([settings.NAME_SERVER[0]]), reachable)

        async def resolve(host: str) -> tuple[str, str]:
            return await (self.blind or resolver.resolve)(host)

        await self._open_books()
        judge = Judge(lambda: self.keys, self.cells.get, self.secrets.get, resolve, self.reserve)
        mint = leaves.minter(self._rules, self.authority, now)
        served = await decider.serve(judge, self, self._noting(mint), self.socket)
        ready.set()
        await stop.wait()
        self.writing.cancel()
        await served.stop(None)

    async def _open_books(self) -> None:
        """Books that know what is on paper."""
        self.books = Books(Shelf(self.paper, 1, self.cells.get, lambda: self.now))
        self.writing = asyncio.create_task(self.books.run())

    def forget(self) -> None:
        """Nothing has been used, and nothing is on paper."""

        async def begin_again() -> None:
            self.writing.cancel()
            self.paper = Paper()
            await self._open_books()

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(begin_again(), self._loop).result()

    # The decider keeps the books that it was given; ours are exchanged between tests.
    async def reserve(self, cell: Cell, tokens: bool) -> Held:  # noqa: FBT001
        return await self.books.reserve(cell, tokens)

    async def settle(self, report: Report) -> None:
        await self.books.settle(report)

    def refuse(self, cell: Cell) -> None:
        self.books.refuse(cell)


@dataclass
class Bed:
    """All of it, as the tests use it."""

    internet: Internet
    decider: Decider
    log: Path

    def cell(
        self,
        place: int,
        *rules: EgressRule,
        suspended: bool = False,
        budget: dict[str, int] | None = None,
        daily: dict[str, int] | None = None,
    ) -> None:
        """A living run at an address, with rules, its own budget and that of its policy's day."""
        uid = UID.format(place)
        self.decider.cells[uid] = Cell(
            f"team-a/run-{place}",
            uid,
            CELLS[place],
            ("small",),
            tuple(rules),
            suspended,
            Budget.parse(budget or {}),
            (("small", Budget.parse(daily)),) if daily else (),
        )

    def in_flight(self) -> int:
        """How many requests have been let pass, and are not known to have ended."""
        return len(self.decider.books._flights)  # noqa: SLF001

    def usage(self, place: int = 0) -> dict[str, Any]:
        """What is on record for a run."""
        return self.decider.paper.runs.get(UID.format(place), {})

    def token(self, place: int, key: bytes = KEY) -> str:
        """What the run shows."""
        return identity.token(key, UID.format(place))

    def lines(self) -> list[dict[str, Any]]:
        """What Envoy has logged: all of it is JSON, but for its own lines."""
        text = self.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def rule(**fields: Any) -> EgressRule:  # noqa: ANN401
    """A rule of a policy; what is not given fits /v1 at model.test."""
    usual = {"name": "model", "host": "model.test", "methods": ["GET", "POST"], "paths": ["/v1/**"]}
    return EgressRule.parse({**usual, **fields})


def tunnelled(**fields: Any) -> EgressRule:  # noqa: ANN401
    """A rule that allows a tunnel; what is not given fits model.test."""
    return EgressRule.parse({"name": "model", "host": "model.test", "mode": "Connect", **fields})


def intercepted(**fields: Any) -> EgressRule:  # noqa: ANN401
    """A rule for what is in a tunnel; what is not given fits /v1 at model.test."""
    return rule(mode="Intercept", **fields)
