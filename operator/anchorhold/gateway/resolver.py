"""From a name to one address that was judged. Envoy dials that very address and asks nobody."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiodns

from anchorhold.gateway import addresses

# How long an answer counts, whatever its name server says.
TTL_SECONDS = (2, 60)
QUERY_SECONDS, TRIES = 1.0, 2
MOST_NAMES = 4_096

# Addresses with their seconds to live, of one kind ('A' or 'AAAA'); none where there are none.
Query = Callable[[str, str], Awaitable[list[tuple[str, int]]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, or why it has none that may be dialled; and until when."""

    until: float
    addresses: tuple[str, ...]
    fault: str = ""


class Resolver:
    """Answers by name, each asked for once at a time.

    `reachable` are the ranges that may be dialled though they are not public.
    """

    def __init__(self, query: Query, reachable: Sequence[addresses.Network]) -> None:
        self._query = query
        self._reachable = reachable
        self._known: dict[str, Answer] = {}
        self._asked: dict[str, asyncio.Task[Answer]] = {}
        self._turn = 0

    async def resolve(self, host: str) -> tuple[str, str]:
        """One address of the host, or nothing and the reason."""
        answer = await self._answer(host)
        if answer.fault:
            return "", answer.fault
        self._turn += 1
        return answer.addresses[self._turn % len(answer.addresses)], ""

    async def _answer(self, host: str) -> Answer:
        known = self._known.get(host)
        if known is not None and known.until > asyncio.get_running_loop().time():
            return known
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._ask(host))
            task.add_done_callback(lambda _: self._asked.pop(host, None))
        return await asyncio.shield(task)

    async def _ask(self, host: str) -> Answer:
        both = await asyncio.gather(self._query(host, "A"), self._query(host, "AAAA"))
        found = [*both[0], *both[1]]
        lowest, highest = TTL_SECONDS
        seconds = min([max(lowest, ttl) for _, ttl in found] or [lowest])
        until = asyncio.get_running_loop().time() + min(seconds, highest)
        answer = self._judged(until, [address for address, _ in found])
        if len(self._known) >= MOST_NAMES:
            self._known.clear()
        self._known[host] = answer
        return answer

    def _judged(self, until: float, found: Sequence[str]) -> Answer:
        """A name with a single address that may not be dialled is refused: it could be next."""
        if not found:
            return Answer(until, (), addresses.NO_ANSWER)
        if not all(addresses.may_be_dialled(each, self._reachable) for each in found):
            return Answer(until, (), addresses.NOT_PUBLIC)
        # IPv4 where there is any: it is what every cluster has.
        return Answer(until, tuple(each for each in found if ":" not in each) or tuple(found))


def name_servers(addresses: Sequence[str] | None = None) -> Query:
    """Asks these, or the name servers of /etc/resolv.conf, without any search domain."""
    resolver = aiodns.DNSResolver(addresses, timeout=QUERY_SECONDS, tries=TRIES)

    async def query(host: str, kind: str) -> list[tuple[str, int]]:
        try:
            result = await resolver.query_dns(host, kind)
        except aiodns.error.DNSError:
            return []
        found = ((getattr(r.data, "addr", None), r.ttl) for r in result.answer)
        return [(address, ttl) for address, ttl in found if address is not None]

    return query
