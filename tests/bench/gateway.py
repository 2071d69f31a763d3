"""What the gateway adds to a request, and what it costs: `make bench`, as root.

The same client asks the same server over TLS, directly and through Envoy and the decider, all on
this machine and in turn. It prints a table; nothing is asserted.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway"))

from anchorhold.gateway import decider
from anchorhold.gateway.addresses import networks
from anchorhold.gateway.decision import Cell, Judge
from anchorhold.gateway.envoy import configuration
from anchorhold.gateway.resolver import Resolver, name_servers
from anchorhold.gateway.usage.books import Books
from anchorhold.gateway.usage.shelf import Shelf
from anchorhold.policy import identity
from bed.kube import wait_for
from bed.paper import Paper
from conftest import answers, isolate
from gatebed import CELLS, ENVOY, GOOD, KEY, MIDDAY, UID, rule
from onenode import pki, settings, world
from onenode.nameserver import NameServer

REQUESTS, WARM = 1_500, 100
PATH = "/v1/x"
TOKEN = identity.token(KEY, UID.format(0))


# What is asked, a transfer, and a connection that stays open and says nothing.
PATHS = ["/v1/**", "/bytes/*", "/websocket"]
MEBIBYTES, STREAMS = 200, 2_000
OPEN = (
    "GET {path} HTTP/1.1\r\nHost: model.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
)


def judge() -> tuple[Judge, Books]:
    """One run with eight rules, the last of which is the one that counts."""
    others = [rule(name=f"other-{n}", host=f"other-{n}.test") for n in range(7)]
    cell = Cell(
        "team-a/run",
        UID.format(0),
        CELLS[0],
        ("small",),
        (*others, rule(paths=PATHS)),
        suspended=False,
    )
    resolver = Resolver(name_servers([settings.NAME_SERVER[0]]), networks(f"{GOOD}/32"))
    cells = {cell.uid: cell}
    books = Books(Shelf(Paper(), 1, cells.get, lambda: MIDDAY))
    return Judge(lambda: [KEY], cells.get, {}.get, resolver.resolve, books.reserve), books


async def decide(socket: str) -> None:
    """The decider as a process of its own."""
    serving = await decider.serve(*judge(), lambda _: None, socket)
    await serving.wait_for_termination()


def upstream(folder: Path) -> None:
    """The server as a process of its own, and the names that lead to it."""
    server = world.Server((GOOD, 443), world.Handler)
    server.tls = world.tls(folder)
    threading.Thread(target=server.serve_forever).start()
    NameServer(settings.NAME_SERVER, settings.WORLD_NAMES).serve_forever()


@contextmanager
def running(*words: str) -> Iterator[int]:
    """A process, for as long as a block runs."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def directly(authorities: Path) -> http.client.HTTPConnection:
    """A connection to the server itself."""
    context = ssl.create_default_context(cafile=str(authorities))
    connection = http.client.HTTPSConnection("model.test", context=context)
    plain = socket.create_connection((GOOD, 443))
    connection.sock = context.wrap_socket(plain, server_hostname="model.test")
    return connection


def through() -> http.client.HTTPConnection:
    """A connection to the gateway."""
    return http.client.HTTPConnection(CELLS[0], 8080)


def seconds(
    connect: Callable[[], http.client.HTTPConnection], path: str, count: int
) -> list[float]:
    """How long each request took, one after the other on one connection."""
    taken = []
    with closing(connect()) as connection:
        for _ in range(count + WARM):
            begun = time.perf_counter()
            head = {"Authorization": f"Bearer {TOKEN}", "Host": "model.test"}
            connection.request("GET", path, headers=head)
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            taken.append(time.perf_counter() - begun)
    return taken[WARM:]


def measure(
    connect: Callable[[], http.client.HTTPConnection], path: str, connections: int
) -> list[float]:
    """The same on several connections at a time."""
    each = REQUESTS // connections
    with ThreadPoolExecutor(connections) as pool:
        parts = pool.map(lambda _: seconds(connect, path, each), range(connections))
    return [value for part in parts for value in part]


def row(what: str, direct: list[float], gateway: list[float]) -> str:
    """Both ways beside each other, in milliseconds, and the added part."""
    found = [f"| {what} "]
    for place in (49, 98):
        one, other = (
            statistics.quantiles(taken, n=100)[place] * 1000 for taken in (direct, gateway)
        )
        found.append(f"{one:.2f} → {other:.2f} (+{other - one:.2f}, x{other / one:.1f}) ")
    return "| ".join(found) + "|"


def bulk(connect: Callable[[], http.client.HTTPConnection], path: str) -> float:
    """MiB a second in one transfer."""
    begun = time.perf_counter()
    with closing(connect()) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        response = connection.getresponse()
        while response.read(1 << 16):
            pass
    return MEBIBYTES / (time.perf_counter() - begun)


def kibibytes(pid: int) -> int:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def idle(moving: int) -> float:
    """KiB that each of many open and silent streams takes of Envoy."""
    before, opened = kibibytes(moving), []
    try:
        for _ in range(STREAMS):
            opened.append(socket.create_connection((CELLS[0], 8080)))
            opened[-1].sendall(OPEN.format(path="/model.test/websocket").encode())
            assert b" 101 " in opened[-1].recv(4096).split(b"\r\n")[0]
        return (kibibytes(moving) - before) / STREAMS
    finally:
        for each in opened:
            each.close()


@contextmanager
def bed(folder: Path) -> Iterator[tuple[int, int]]:
    """Everything, running: the processes of Envoy and of the decider."""
    pki.create(folder / "pki")
    config = configuration.bootstrap(
        networks(f"{GOOD}/32"), str(folder / "pki" / "ca.crt"), str(folder)
    )
    (folder / "envoy.json").write_text(json.dumps(config), encoding="ascii")
    ours = f"{folder}/decider.sock"
    with (
        running(sys.executable, "-m", "bench.gateway", "upstream", f"{folder}/pki"),
        running(sys.executable, "-m", "bench.gateway", "decide", ours) as deciding,
        running(str(ENVOY), "-c", f"{folder}/envoy.json") as moving,
    ):
        wait_for(lambda: answers((GOOD, 443)), 30, "the upstream to answer")
        wait_for(answers, 30, "Envoy to answer")
        wait_for(Path(ours).exists, 30, "the decider")
        yield moving, deciding


def main() -> None:
    """Start everything, measure, and print."""
    isolate()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name, bed(Path(name)) as processes:
        authorities = Path(name) / "pki" / "ca.crt"
        print("| connections | p50 ms | p99 ms |\n| --- | --- | --- |")
        for connections in (1, 16):
            direct = measure(lambda: directly(authorities), PATH, connections)
            before = list(map(cpu_seconds, processes))
            gateway = measure(through, f"/model.test{PATH}", connections)
            used = [b - a for a, b in zip(before, map(cpu_seconds, processes), strict=True)]
            print(row(str(connections), direct, gateway))
            moving, deciding = (1000 * each / (REQUESTS + WARM * connections) for each in used)
            print(f"CPU per request: Envoy {moving:.2f} ms, decider {deciding:.2f} ms")
        path = f"/bytes/{MEBIBYTES << 20}"
        direct, gateway = (
            bulk(lambda: directly(authorities), path),
            bulk(through, f"/model.test{path}"),
        )
        print(f"bulk: {direct:.0f} → {gateway:.0f} MiB/s (x{gateway / direct:.2f})")
        print(f"{STREAMS} open streams: {idle(processes[0]):.0f} KiB of Envoy's memory for each")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["decide", socket_path]:
            asyncio.run(decide(socket_path))
        case ["upstream", folder]:
            upstream(Path(folder))
        case _:
            main()
