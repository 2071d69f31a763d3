"""A real Envoy, our decider and a small internet, in a network namespace that leads nowhere.

It needs root and Envoy (`make envoy`), and no cluster. This very process moves into the namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import places
from anchorhold.gateway.addresses import networks
from anchorhold.gateway.envoy import configuration
from bed.kube import wait_for
from gatebed import CELLS, ENVOY, GOOD, KEY, MIDDAY, Bed, Decider, Internet
from onenode import pki, settings
from onenode.nameserver import NameServer

NEW_NETWORK = 0x40000000


def run(*words: str | Path) -> None:
    """Run a command of the machine."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True)  # noqa: S603


@pytest.fixture(scope="session")
def network() -> None:
    """This process and all that it starts see an internet of their own."""
    isolate()


def isolate() -> None:
    """Move this process into a network namespace that has the addresses of `world` and of cells."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) != 0:
        pytest.fail(f"no network namespace: {os.strerror(ctypes.get_errno())}; this needs root")
    run("ip", "link", "set", "lo", "up")
    theirs = {address for address, _ in (*settings.WORLD_TLS, *settings.WORLD_SERVERS)}
    for address in sorted({*theirs, *CELLS, *places.SERVED, places.PUBLIC_6} - places.GIVEN):
        length = "128" if ":" in address else "32"
        run("ip", "address", "add", f"{address}/{length}", "dev", "lo")


@pytest.fixture(scope="session")
def internet(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """Servers at good and at forbidden addresses, all alive, and a name server."""
    folder = tmp_path_factory.mktemp("pki") / "pki"
    pki.create(folder)
    found = Internet(folder / "ca.crt")
    others = {*places.SERVED, places.PUBLIC_6} - {address for address, _ in settings.WORLD_TLS}
    everywhere = (*settings.WORLD_TLS, *((address, 443) for address in others))
    servers: list[Any] = [found.serve(address, folder) for address in everywhere]
    servers.append(NameServer(settings.NAME_SERVER, settings.WORLD_NAMES | places.NAMES))
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    yield found
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def gateway(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Envoy as the chart configures it, and the decider beside it."""
    folder = tmp_path_factory.mktemp("gateway")
    assert ENVOY.exists(), f"no Envoy at '{ENVOY}': run `make envoy`"
    authorities = str(internet.authorities)
    config = configuration.bootstrap(networks(f"{GOOD}/32"), authorities, str(folder))
    (folder / "envoy.json").write_text(json.dumps(config), encoding="ascii")
    authority = folder / "authority"
    pki.authority(authority)
    beside = Decider(f"{folder}/decider.sock", authority)
    beside.start()
    with (folder / "log").open("wb") as log:
        words = [
            str(ENVOY),
            "-c",
            f"{folder}/envoy.json",
            "--concurrency",
            "2",
            "-l",
            "warning",
            "--file-flush-interval-msec",
            "1000",
        ]
        process = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: S603
    wait_for(answers, 20, "Envoy to answer")
    yield Bed(internet, beside, folder / "log")
    process.terminate()
    process.wait()
    beside.stop()


def answers(where: tuple[str, int] = (CELLS[0], 8080)) -> bool:
    """Whether Envoy, or somebody else, takes connections."""
    try:
        socket.create_connection(where, 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def bed(gateway: Bed) -> Bed:
    """The gateway with nobody living behind it, and nothing seen yet."""
    gateway.decider.cells.clear()
    gateway.decider.secrets.clear()
    gateway.decider.keys[:] = [KEY]
    gateway.decider.blind = None
    gateway.decider.minted.clear()
    gateway.decider.now = MIDDAY
    gateway.internet.pace = 0.0
    gateway.decider.forget()
    gateway.internet.visits.clear()
    gateway.internet.requests.clear()
    gateway.internet.heads.clear()
    return gateway
