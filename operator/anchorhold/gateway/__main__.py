"""Starts the decider: `python -m anchorhold.gateway`, beside Envoy in the gateway's Pod."""

import asyncio
import logging
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from anchorhold import endpoints, names
from anchorhold.api.egress import EgressRule
from anchorhold.cluster import client
from anchorhold.gateway import addresses, decider, leaves
from anchorhold.gateway.decision import Judge
from anchorhold.gateway.resolver import Resolver, name_servers
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.records import Records
from anchorhold.gateway.usage.shelf import Shelf
from anchorhold.gateway.view import View

SOCKET = "/run/anchorhold/gateway/decider.sock"
# Not the controller's: this Pod's 8080 is Envoy's, for agents.
PORT = 8081


def main() -> None:
    """Run until a signal; any part that fails ends the process, and Kubernetes restarts it."""
    logging.basicConfig(level=logging.INFO)
    place = Place(
        os.environ["ANCHORHOLD_REACHABLE"],
        os.environ["ANCHORHOLD_POD"],
        int(os.environ["ANCHORHOLD_GATEWAYS"]),
    )
    asyncio.run(operate(client.Server.in_cluster(os.environ), place))


@dataclass(frozen=True, slots=True)
class Place:
    """What the chart says: what may be dialled, and which Pod of so many gateways this is."""

    reachable: str
    pod: str
    gateways: int


async def operate(server: client.Server, place: Place) -> None:
    """Answer Envoy by what the API server says."""
    async with client.session(server) as http, asyncio.TaskGroup() as group:
        api = client.Client(http, server.url)
        view = View(api, random.Random())  # noqa: S311
        resolver = Resolver(name_servers(), addresses.networks(place.reachable))
        books = Books(Shelf(Records(api, place.pod), place.gateways, view.cell, now))
        judge = Judge(signing_keys, view.cell, view.kept, resolver.resolve, books.reserve)
        group.create_task(view.run())
        group.create_task(books.run())
        served = await endpoints.serve(lambda: True, view.is_complete, PORT)
        mint = leaves.minter(lambda: rules_of(view), Path(names.AUTHORITY_DIRECTORY), now)
        answering = await decider.serve(judge, books, mint, SOCKET)
        try:
            await answering.wait_for_termination()
        finally:
            await served.cleanup()


def rules_of(view: View) -> Iterator[EgressRule]:
    """The rules of all policies, as they are now."""
    return (rule for policy in view.policies.store.values() for _, rule in policy.rules.values())


def now() -> datetime:
    """The time, for whatever is given it; a day is one of UTC."""
    return datetime.now(UTC)  # noqa: TID251  # this program's one place


def signing_keys() -> list[bytes]:
    """The keys as the kubelet mounts them now: two, while one replaces the other."""
    files = (Path(names.KEYS_DIRECTORY, n) for n in (names.CURRENT_KEY, names.PREVIOUS_KEY))
    return [file.read_bytes().strip() for file in files if file.exists()]


if __name__ == "__main__":
    main()
