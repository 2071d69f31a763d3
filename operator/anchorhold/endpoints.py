"""`/healthz`, `/readyz` and `/metrics`, for the kubelet and for Prometheus."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

PORT = 8080


async def serve(healthy: Callable[[], bool], ready: Callable[[], bool], port: int) -> web.AppRunner:
    """Serve until the runner's `cleanup`. Both functions answer at once, without the cluster."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", probe(healthy)),
            web.get("/readyz", probe(ready)),
            web.get("/metrics", metrics),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


def probe(answer: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that says 200 or 503."""

    async def handler(_: web.Request) -> web.Response:
        good = answer()
        return web.Response(status=200 if good else 503, text="ok\n" if good else "not ok\n")

    return handler


async def metrics(_: web.Request) -> web.Response:
    """All figures, as Prometheus reads them."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
