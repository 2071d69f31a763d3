"""Starts the controller: `python -m anchorhold`, in a Pod of its own."""

import asyncio
import gc
import os
import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import kopf

from anchorhold import endpoints, names
from anchorhold.cluster import client
from anchorhold.controller import metrics, shell
from anchorhold.controller.loop import Loop
from anchorhold.policy.grant import Site

# A watch gets a bookmark every minute; one that is silent for longer is dead, and so are we.
SILENT_SECONDS = 180.0


def main() -> None:
    """Run until a signal; any part that fails ends the process, and Kubernetes restarts it."""
    shell.quiet_logs()
    # Imports live for ever: sparing the collector saves a quarter of the CPU.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    installed = site(os.environ, Path(names.AUTHORITY_DIRECTORY))
    asyncio.run(operate(client.Server.in_cluster(os.environ), installed, endpoints.PORT))


def clock() -> datetime:
    """The time; whatever decides is given it."""
    return datetime.now(UTC)  # noqa: TID251  # the one place


def site(environment: Mapping[str, str], authority: Path) -> Site:
    """What the chart says of this installation. Raises KeyError for what it does not say."""
    service = names.CANARY.upper().replace("-", "_")
    canary = f"{environment[f'{service}_SERVICE_HOST']}:{environment[f'{service}_SERVICE_PORT']}"
    closed = tuple(environment["ANCHORHOLD_CLOSED"].split())
    profile = environment["ANCHORHOLD_SECCOMP_PROFILE"]
    gateways = int(environment["ANCHORHOLD_GATEWAYS"])
    file = authority / names.AUTHORITY_CERTIFICATE
    trusted = file.read_text(encoding="ascii") if file.exists() else ""
    return Site(environment["ANCHORHOLD_IMAGE"], canary, closed, profile, gateways, trusted)


def signing_key() -> bytes:
    """The key as the kubelet mounts it now. Raises OSError where there is none."""
    return Path(names.KEYS_DIRECTORY, names.CURRENT_KEY).read_bytes().strip()


async def operate(
    server: client.Server, installed: Site, port: int, stop: threading.Event | None = None
) -> None:
    """Run the controller against an API server until `stop` is set, or a signal comes."""
    async with client.session(server) as http:
        api = client.Client(http, server.url, metrics.count_request)
        loop = Loop(api, installed, clock, random.Random(), signing_key)  # noqa: S311
        served = await endpoints.serve(lambda: is_healthy(loop), loop.synced.is_set, port)
        try:
            await run_until_stopped(loop, server, stop)
        finally:
            await served.cleanup()


async def run_until_stopped(
    loop: Loop, server: client.Server, stop: threading.Event | None
) -> None:
    """The loop and Kopf beside each other: when either ends, both do."""

    def login() -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=server.url, aiohttp_session=client.session(server))

    async with asyncio.TaskGroup() as group:
        work = group.create_task(loop.run())
        await kopf.operator(
            registry=shell.registry(login, loop.view.feed, work.cancel),
            settings=shell.settings(),
            identity=shell.IDENTITY,
            standalone=True,
            clusterwide=True,
            stop_flag=stop,
        )


def is_healthy(loop: Loop) -> bool:
    """Whether the watches that decisions hang on are alive."""
    now = asyncio.get_running_loop().time()
    view = loop.view
    sources = (view.policies, view.skills, view.bindings, view.admission, view.sentinels)
    return all(
        now - source.last_activity < SILENT_SECONDS for source in sources if source.synced.is_set()
    )


if __name__ == "__main__":
    main()
