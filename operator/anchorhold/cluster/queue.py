"""Which key is looked at next: the rules of client-go's work queue.

A key waits at most once, and is in the hands of at most one worker; what is added while it is
being worked on comes back when the worker is done.
"""

import asyncio
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from http import HTTPStatus
from typing import Generic, TypeVar

import aiohttp

from anchorhold.cluster import backoff, client

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 60.0
BACKOFF_SPREAD = (0.7, 1.3)
# A 403 is a spent quota or a missing right: neither is cured within seconds.
FORBIDDEN_SECONDS = 30.0

_log = logging.getLogger(__name__)


def _unobserved(_result: str, _seconds: float) -> None:
    """Count nothing."""


class Queue(Generic[K]):
    """Keys, each handed to `reconcile` until it succeeds.

    `reconcile` returns None, or after how many seconds to look again. ApiError, aiohttp's
    ClientError, TimeoutError and OSError are the cluster's faults and are retried; any other
    error is a bug of ours and ends `run`. Keys that are `urgent` go before all others. `observe`
    is told of every attempt: "success" or "error", and the seconds it took.
    """

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[float | None]],
        workers: int,
        jitter: random.Random,
        urgent: Callable[[K], bool],
        observe: Callable[[str, float], None] = _unobserved,
    ) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._jitter = jitter
        self._is_urgent = urgent
        self._observe = observe
        self._urgent: OrderedDict[K, None] = OrderedDict()
        self._normal: OrderedDict[K, None] = OrderedDict()
        self._waiting = asyncio.Semaphore(0)
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: Counter[K] = Counter()
        self._timers: dict[K, asyncio.TimerHandle] = {}

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._urgent) + len(self._normal)

    def add(self, key: K) -> None:
        """Look at the key as soon as a worker is free."""
        if key in self._busy:
            self._again.add(key)
        elif key in self._urgent:
            return
        elif self._is_urgent(key):
            self._promote(key)
        elif key not in self._normal:
            self._normal[key] = None
            self._waiting.release()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at the key in so many seconds, or earlier if that was promised before."""
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        planned = self._timers.get(key)
        if planned is not None and planned.when() <= when:
            return
        if planned is not None:
            planned.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def forget(self, key: K) -> None:
        """Drop what is remembered of a key: its failures and its next look."""
        del self._failures[key]
        planned = self._timers.pop(key, None)
        if planned is not None:
            planned.cancel()

    async def run(self) -> None:
        """Work on the keys, for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._waiting.acquire()
            key, _ = (self._urgent or self._normal).popitem(last=False)
            self._busy.add(key)
            await self._attempt(key)
            self._busy.remove(key)
            if key in self._again:
                self._again.remove(key)
                self.add(key)

    async def _attempt(self, key: K) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            look_again = await self._reconcile(key)
        except (client.ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._observe("error", loop.time() - began)
            self._retry(key, error)
            return
        self._observe("success", loop.time() - began)
        del self._failures[key]
        if look_again is not None:
            self.add_after(key, look_again)

    def _retry(self, key: K, error: Exception) -> None:
        self._failures[key] += 1
        pause = backoff.seconds(self._failures[key], FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS)
        seconds = _floor(error) + pause * self._jitter.uniform(*BACKOFF_SPREAD)
        _log.warning("%s: %s %s; again in %.1f s", key, type(error).__name__, error, seconds)
        self.add_after(key, seconds)

    def _promote(self, key: K) -> None:
        """Move a key that has become urgent out of the ordinary line."""
        self._urgent[key] = None
        if key in self._normal:
            del self._normal[key]
        else:
            self._waiting.release()

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)


def _floor(error: Exception) -> float:
    """The least number of seconds to wait, whatever the back-off says."""
    if not isinstance(error, client.ApiError):
        return 0.0
    forbidden = FORBIDDEN_SECONDS if error.status == HTTPStatus.FORBIDDEN else 0.0
    return max(forbidden, error.retry_after or 0.0)
