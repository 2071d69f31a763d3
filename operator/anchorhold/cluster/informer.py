"""A local copy of one kind of object, kept true by list and watch.

Kopf never notices what was deleted while its watch was down, and a policy that is gone but still
in force would be a hole: so every list here replaces the whole copy.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Generic, TypeAlias, TypeVar

import aiohttp

from anchorhold.cluster import backoff, client

T = TypeVar("T")
Key: TypeAlias = tuple[str | None, str]

PAGE = 500
# The server ends a watch after this long; at random, so that not all come back at once.
WATCH_SECONDS = (240, 300)
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Informer(Generic[T]):
    """The objects at a path, by namespace and name, as `keep` makes them.

    `notify` is told the key, the old and the new value of whatever changed, `None` standing for
    absent. `keep` and `notify` must be quick and must not raise: their errors end the process.
    `synced` is set when the first list is complete. `last_activity` is when the server was last
    heard, in seconds of the loop's clock; `relists` counts the lists after the first.
    """

    def __init__(
        self,
        api: client.Client,
        path: str,
        keep: Callable[[client.Manifest], T],
        notify: Callable[[Key, T | None, T | None], None],
        label_selector: str | None = None,
    ) -> None:
        self._api = api
        self._path = path
        self._keep = keep
        self._notify = notify
        self._select = {"labelSelector": label_selector} if label_selector else {}
        self._version: str | None = None
        self._failures = 0
        self.store: dict[Key, T] = {}
        self.synced = asyncio.Event()
        self.last_activity = 0.0
        self.relists = 0

    async def run(self, jitter: random.Random) -> None:
        """Keep the copy true, for ever; cancel it to stop."""
        while True:
            floor = 0.0
            try:
                if self._version is None:
                    await self._list()
                await self._watch(jitter.randint(*WATCH_SECONDS))
            except client.ApiError as error:
                floor = self._refused(error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                # Cut off: the version that was seen last is where to go on.
                _log.warning("%s: %s %s", self._path, type(error).__name__, error)
            self._failures += 1
            pause = backoff.seconds(self._failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(floor + pause * jitter.uniform(0.5, 1.0))

    async def _list(self) -> None:
        """Replace the copy with what there is, and so learn what was deleted unseen."""
        self.relists += self.synced.is_set()
        gone = set(self.store)
        async with aclosing(self._api.pages(self._path, PAGE, **self._select)) as pages:
            async for page in pages:
                self._heard()
                for item in page["items"]:
                    self._put(item)
                    gone.discard(_key(item))
        for key in gone:
            self._drop(key)
        self._version = page["metadata"]["resourceVersion"]
        self.synced.set()

    async def _watch(self, seconds: int) -> None:
        """Follow the changes since the last version that was seen."""
        events = self._api.watch(
            self._path,
            resourceVersion=str(self._version),
            timeoutSeconds=str(seconds),
            **self._select,
        )
        async with aclosing(events):
            async for event in events:
                self._heard()
                self._apply(event["type"], event["object"])
                self._failures = 0

    def _apply(self, kind: str, item: client.Manifest) -> None:
        if kind == "ERROR":
            raise client.ApiError(item.get("code", HTTPStatus.INTERNAL_SERVER_ERROR), item)
        if kind == "DELETED":
            self._drop(_key(item))
        elif kind != "BOOKMARK":
            self._put(item)
        self._version = item["metadata"]["resourceVersion"]

    def _put(self, item: client.Manifest) -> None:
        key = _key(item)
        old = self.store.get(key)
        new = self.store[key] = self._keep(item)
        if new != old:
            self._notify(key, old, new)

    def _drop(self, key: Key) -> None:
        old = self.store.pop(key, None)
        if old is not None:
            self._notify(key, old, None)

    def _heard(self) -> None:
        self.last_activity = asyncio.get_running_loop().time()

    def _refused(self, error: client.ApiError) -> float:
        """Begin again with a list, after at least the seconds that are returned.

        The version may be too old, or from before the cluster was restored from a backup. Only
        an overloaded server is spared the list.
        """
        if error.status != HTTPStatus.TOO_MANY_REQUESTS:
            self._version = None
        _log.warning("%s: %s", self._path, error)
        return error.retry_after or 0.0


def _key(item: client.Manifest) -> Key:
    metadata = item["metadata"]
    return metadata.get("namespace"), metadata["name"]
