"""What the wiring tests share: an emulated API server, and our client of it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from anchorhold.cluster import client
from wiring import fakeapi


@pytest.fixture
async def api() -> AsyncIterator[fakeapi.FakeApi]:
    async with fakeapi.FakeApi() as server:
        yield server


@pytest.fixture
async def kube(api: fakeapi.FakeApi) -> AsyncIterator[client.Client]:
    async with client.session(client.Server(api.url)) as http:
        yield client.Client(http, api.url)


@pytest.fixture
async def start(kube: client.Client) -> AsyncIterator[fakeapi.Start]:
    """Run coroutines beside the test; an error in one that the test did not await fails it."""
    tasks: list[asyncio.Task[None]] = []

    def started(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        tasks.append(asyncio.create_task(coroutine))
        return tasks[-1]

    yield started
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, asyncio.CancelledError)] == []
