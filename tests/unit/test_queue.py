"""The rules of the work queue, on a clock that jumps from timer to timer."""

import asyncio
import functools
import itertools
import random
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import ParamSpec

import aiohttp
import pytest

from anchorhold.cluster import backoff, client, queue

P = ParamSpec("P")

BUSY = client.ApiError(503, {"reason": "ServiceUnavailable"})


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: when nothing is ready, the clock jumps to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen"
        ready = super().select(0)
        self.now += 0 if ready else timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on the clock of its selector."""

    def __init__(self) -> None:
        self._clock = JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def played(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """Run a test on such a loop; an error in a timer fails it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        errors: list[dict[str, object]] = []
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.get_loop().set_exception_handler(lambda _, error: errors.append(error))
            runner.run(test(*args, **kwargs))
        assert errors == []

    return run


class Cluster:
    """A reconcile that does what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.looked_at: list[tuple[str, float]] = []
        self.results: list[tuple[str, float]] = []
        self.outcomes: dict[str, list[float | Exception | None]] = {}
        self.seconds = 0.0
        self.urgent: set[str] = set()
        self.working: Counter[str] = Counter()
        self.overlaps = 0
        self.most_at_once = 0

    async def reconcile(self, key: str) -> float | None:
        self.looked_at.append((key, asyncio.get_running_loop().time()))
        self.overlaps += self.working[key]
        self.working[key] += 1
        self.most_at_once = max(self.most_at_once, self.working.total())
        await asyncio.sleep(self.seconds)
        self.working[key] -= 1
        outcome = (self.outcomes.get(key) or [None]).pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.looked_at]

    @property
    def waits(self) -> list[float]:
        times = [time for _, time in self.looked_at]
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def queue(self, workers: int = 1) -> "queue.Queue[str]":
        return queue.Queue(
            self.reconcile,
            workers,
            random.Random(1),  # noqa: S311
            self.urgent.__contains__,
            lambda result, seconds: self.results.append((result, seconds)),
        )


@asynccontextmanager
async def running(work: "queue.Queue[str]") -> AsyncIterator[None]:
    task = asyncio.create_task(work.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@played
async def test_a_key_waits_at_most_once(cluster: Cluster):
    """Given a key added three times, when work begins, then it is looked at once."""
    work = cluster.queue()
    for _ in range(3):
        work.add("a")
    depth = work.depth

    async with running(work):
        await asyncio.sleep(100)

    assert depth == 1
    assert cluster.keys == ["a"]
    assert work.depth == 0


@played
async def test_keys_are_served_in_the_order_they_came(cluster: Cluster):
    """Given several keys, when one worker serves them, then first come is first served."""
    work = cluster.queue()
    for key in ("c", "a", "b"):
        work.add(key)

    async with running(work):
        await asyncio.sleep(100)

    assert cluster.keys == ["c", "a", "b"]


@played
async def test_a_key_that_is_added_while_busy_is_looked_at_again_and_by_one_worker(
    cluster: Cluster,
):
    """Given a key in work, when it is added twice more, then one more look follows the first."""
    cluster.seconds = 10
    work = cluster.queue(workers=4)

    async with running(work):
        work.add("a")
        await asyncio.sleep(1)
        work.add("a")
        work.add("a")
        await asyncio.sleep(100)

    assert cluster.looked_at == [("a", 0), ("a", 10)]
    assert cluster.overlaps == 0


@played
async def test_different_keys_are_worked_on_together(cluster: Cluster):
    """Given more keys than workers, when they are served, then all workers are busy."""
    cluster.seconds = 10
    work = cluster.queue(workers=3)
    for number in range(5):
        work.add(str(number))

    async with running(work):
        await asyncio.sleep(100)

    assert cluster.most_at_once == 3
    assert sorted(cluster.keys) == ["0", "1", "2", "3", "4"]


@played
async def test_urgent_keys_go_first(cluster: Cluster):
    """Given an urgent key behind ordinary ones, when served, then it goes before them."""
    cluster.urgent = {"stop"}
    work = cluster.queue()
    for key in ("a", "b", "stop"):
        work.add(key)

    async with running(work):
        await asyncio.sleep(100)

    assert cluster.keys == ["stop", "a", "b"]


@played
async def test_a_waiting_key_that_becomes_urgent_overtakes(cluster: Cluster):
    """Given a waiting key, when it is added again as urgent, then it goes first, and once."""
    work = cluster.queue()
    for key in ("a", "b", "c"):
        work.add(key)
    cluster.urgent.add("c")
    work.add("c")
    work.add("c")
    depth = work.depth

    async with running(work):
        await asyncio.sleep(100)

    assert depth == 3
    assert cluster.keys == ["c", "a", "b"]


@played
async def test_an_urgent_key_that_is_added_while_busy_goes_before_the_waiting(cluster: Cluster):
    """Given a key in work, when it comes back as urgent, then it goes before those that wait."""
    cluster.seconds = 10
    work = cluster.queue()

    async with running(work):
        for key in ("a", "b"):
            work.add(key)
        await asyncio.sleep(1)
        cluster.urgent.add("a")
        work.add("a")
        await asyncio.sleep(100)

    assert cluster.keys == ["a", "a", "b"]


@played
async def test_a_failing_key_is_retried_ever_more_slowly(cluster: Cluster):
    """Given a key that fails, when it is retried, then the waits double up to a minute, ± 30 %."""
    cluster.outcomes = {"a": [BUSY] * 12}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1000)

    expected = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60]
    ratios = [wait / nominal for wait, nominal in zip(cluster.waits, expected, strict=True)]
    assert all(0.7 <= ratio <= 1.3 for ratio in ratios)
    assert max(ratios) - min(ratios) > 0.1


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 7), (2000, 7)]
)
def test_a_wait_doubles_up_to_the_longest(failures: int, seconds: float):
    """Given so many failures, when asked for the wait, then it has doubled, but for its bound."""
    assert backoff.seconds(failures, first=0.5, longest=7) == seconds


@played
async def test_a_key_may_fail_for_days(cluster: Cluster):
    """Given a key that failed 2,000 times, when retried, then the wait is still about a minute."""
    cluster.outcomes = {"a": [BUSY] * 2000}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(200_000)

    assert len(cluster.keys) == 2001
    assert max(cluster.waits) <= 78


@played
async def test_success_forgets_the_failures(cluster: Cluster):
    """Given a key that failed often and then succeeded, when it fails, then the wait is short."""
    cluster.outcomes = {"a": [*[BUSY] * 8, None, BUSY]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(500)
        work.add("a")
        await asyncio.sleep(500)

    assert len(cluster.keys) == 11
    assert cluster.waits[-1] <= 0.26


@played
async def test_a_new_event_does_not_wait_for_the_back_off(cluster: Cluster):
    """Given a key that backs off, when it is added, then it is looked at at once."""
    cluster.outcomes = {"a": [client.ApiError(403, {})]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1)
        work.add("a")
        await asyncio.sleep(1)

    assert cluster.looked_at == [("a", 0), ("a", 1)]


@played
async def test_a_wait_that_the_server_asks_for_is_kept(cluster: Cluster):
    """Given a 429 with Retry-After, when retried, then not before that."""
    cluster.outcomes = {"a": [client.ApiError(429, {}, retry_after=17)]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1000)

    assert 17 <= cluster.waits[0] <= 17.3


@played
async def test_a_forbidden_write_waits_half_a_minute(cluster: Cluster):
    """Given a 403, when retried, then not before 30 seconds: a quota does not heal in less."""
    cluster.outcomes = {"a": [client.ApiError(403, {})]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1000)

    assert 30 <= cluster.waits[0] <= 30.3


@pytest.mark.parametrize(
    "error",
    [BUSY, aiohttp.ServerDisconnectedError(), TimeoutError(), ConnectionResetError()],
    ids=lambda error: type(error).__name__,
)
@played
async def test_faults_of_the_cluster_are_retried(cluster: Cluster, error: Exception):
    """Given a fault of the cluster, when it is over, then the key succeeds."""
    cluster.outcomes = {"a": [error, None]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(100)

    assert [result for result, _ in cluster.results] == ["error", "success"]


@pytest.mark.parametrize("bug", [ValueError("bug"), KeyError("bug"), RuntimeError("bug")], ids=repr)
@played
async def test_a_bug_of_ours_ends_the_queue(cluster: Cluster, bug: Exception):
    """Given a reconcile with a bug, when it is met, then `run` ends with it."""
    cluster.outcomes = {"a": [bug]}
    work = cluster.queue(workers=3)
    work.add("a")

    with pytest.raises(ExceptionGroup) as raised:
        await work.run()

    assert raised.value.exceptions == (bug,)


@played
async def test_a_reconcile_may_ask_for_another_look(cluster: Cluster):
    """Given a reconcile that returns 45, when 45 seconds passed, then it looks again."""
    cluster.outcomes = {"a": [45.0, 0.0, None]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1000)

    assert cluster.looked_at == [("a", 0), ("a", 45), ("a", 45)]


@pytest.mark.parametrize("promises", [(30, 10), (10, 30), (10, 10)])
@played
async def test_of_two_promised_looks_the_earlier_wins(
    cluster: Cluster, promises: tuple[float, float]
):
    """Given two promises, when their times come, then only the earlier is kept."""
    work = cluster.queue()
    for seconds in promises:
        work.add_after("a", seconds)

    async with running(work):
        await asyncio.sleep(1000)

    assert cluster.looked_at == [("a", 10)]


@played
async def test_a_forgotten_key_has_no_promised_look(cluster: Cluster):
    """Given a promised look, when the key is forgotten, then nobody looks."""
    work = cluster.queue()
    work.add_after("a", 10)
    work.forget("a")
    work.forget("never heard of")

    async with running(work):
        await asyncio.sleep(1000)

    assert cluster.keys == []


@played
async def test_a_forgotten_key_has_no_failures(cluster: Cluster):
    """Given a key that failed often, when forgotten and failing anew, then the wait is short."""
    cluster.outcomes = {"a": [BUSY] * 20}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(60)
        failed = len(cluster.keys)
        work.forget("a")
        work.add("a")
        await asyncio.sleep(0.27)

    assert failed > 5
    assert len(cluster.keys) == failed + 2


@played
async def test_what_was_added_before_the_start_is_not_lost(cluster: Cluster):
    """Given keys from the first lists, when the workers begin later, then all are served."""
    work = cluster.queue(workers=2)
    for number in range(10):
        work.add(str(number))

    async with running(work):
        await asyncio.sleep(1)

    assert len(set(cluster.keys)) == 10


@played
async def test_each_attempt_is_observed(cluster: Cluster):
    """Given a failure and a success of two seconds each, when done, then both are counted."""
    cluster.seconds = 2
    cluster.outcomes = {"a": [BUSY, None]}
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(100)

    assert [result for result, _ in cluster.results] == ["error", "success"]
    assert [seconds for _, seconds in cluster.results] == pytest.approx([2, 2])


@played
async def test_a_cancelled_queue_stops_its_workers(cluster: Cluster):
    """Given a worker in the middle of a key, when cancelled, then it does not go on."""
    cluster.seconds = 10
    work = cluster.queue()

    async with running(work):
        work.add("a")
        await asyncio.sleep(1)
    await asyncio.sleep(100)

    assert cluster.keys == ["a"]
    assert cluster.results == []


def add(work: "queue.Queue[str]", key: str, chance: random.Random) -> None:
    how: Callable[[], None] = chance.choice(
        [lambda: work.add(key), lambda: work.add_after(key, chance.random() * 5)]
    )
    how()


@pytest.mark.parametrize("seed", range(20))
@played
async def test_whatever_happens_each_key_is_looked_at_after_it_was_last_added(
    cluster: Cluster, seed: int
):
    """Given keys that come, fail and turn urgent at random, when all is quiet, then none is lost.

    And no key was ever in the hands of two workers.
    """
    chance = random.Random(seed)  # noqa: S311
    cluster.seconds = 0.5
    keys = "abcdef"
    cluster.outcomes = {key: [chance.choice([BUSY, None, 1.0]) for _ in range(30)] for key in keys}
    work = cluster.queue(workers=3)
    added: dict[str, float] = {}

    async with running(work):
        for _ in range(100):
            key = chance.choice(keys)
            cluster.urgent ^= {chance.choice(keys)}
            added[key] = asyncio.get_running_loop().time()
            add(work, key, chance)
            await asyncio.sleep(chance.random())
        await asyncio.sleep(10_000)

    last = dict(cluster.looked_at)
    assert all(last[key] >= added[key] for key in keys)
    assert cluster.overlaps == 0
    assert work.depth == 0
