"""The loop: a key comes out of the queue, is observed, decided, and written."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

from anchorhold.cluster import client, queue
from anchorhold.controller import metrics, plan
from anchorhold.controller.observed import Key, Run
from anchorhold.controller.view import View
from anchorhold.controller.writer import Writer
from anchorhold.policy import queueing
from anchorhold.policy.grant import Refusal, Site

WORKERS = 32


class Loop:
    """Brings every run to its end, one step at a time.

    `clock` tells the time, timezone-aware; `jitter` spreads retries; `key` reads what signs the
    runs' tokens. Errors of the cluster are retried by the queue; any other error ends `run`, and
    with it the process.
    """

    def __init__(
        self,
        api: client.Client,
        site: Site,
        clock: Callable[[], datetime],
        jitter: random.Random,
        key: Callable[[], bytes],
    ) -> None:
        self._clock = clock
        self.view = View(api, self.look_at, jitter, site)
        self._writer = Writer(api, self.view, key)
        self._queue: queue.Queue[Key] = queue.Queue(
            self.reconcile, WORKERS, jitter, self._is_urgent, metrics.count_reconcile
        )
        metrics.QUEUE_DEPTH.set_function(lambda: self._queue.depth)
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Observe and act, for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.view.run(self.synced.set))
            await self.synced.wait()
            group.create_task(self._queue.run())

    async def reconcile(self, key: Key) -> float | None:
        """Bring one run a step further; returns in how many seconds to look again."""
        run = self.view.runs.get(key)
        await self._delete_strays(key, run)
        if run is None or run.finished:
            self.view.forget(key)
        if run is None:
            self._queue.forget(key)
            return None
        observed = await self.view.observe(run, self._clock())
        decided = plan.decide(observed)
        await self._writer.apply(observed, decided)
        return decided.look_again

    async def _delete_strays(self, key: Key, run: Run | None) -> None:
        """A cell whose run is gone has nobody who answers for it: it goes."""
        for pod in self.view.cells.named(key):
            if (run is None or pod.owner_uid != run.uid) and not pod.deleting:
                await self._writer.delete(key[0], pod)

    def look_at(self, keys: set[Key]) -> None:
        """Put runs into the queue; where one ended, the next in turn as well."""
        ended = set()
        for key in keys:
            self._queue.add(key)
            run = self.view.runs.get(key)
            if run is None or run.finished:
                ended.add(key[0])
        for namespace in ended:
            self._look_at_next(namespace)

    def _look_at_next(self, namespace: str) -> None:
        policies = self.view.policies_of(namespace)
        if not isinstance(policies, Refusal):
            active, _ = queueing.bounds(policies)
            for run in self.view.in_turn(namespace)[:active]:
                self._queue.add(run.key)

    def _is_urgent(self, key: Key) -> bool:
        """Ends never wait behind starts."""
        run = self.view.runs.get(key)
        return run is None or run.finished or bool(self.view.cells.named(key))
