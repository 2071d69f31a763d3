"""An emulated Kubernetes API server, in the loop of the test that uses it.

    api.put({...})                          what is there
    api.fail("create", "pods", 503)         what goes wrong
    await api.wait(lambda: ...)             what must become true
    api.objects("pods"), api.calls          what happened

Kopf watches it as it would a real one. Any resource works; those in `fakestore.KINDS` are found
by discovery too.
"""

import asyncio
import copy
import json
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias
from urllib.parse import unquote

from aiohttp import web

from wiring.fakestore import KINDS, Change, Key, Manifest, RefusedError, Store, plural, selects

# The fixture that runs coroutines beside a test.
Start: TypeAlias = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

# As a status: the connection breaks before any answer.
NO_ANSWER = 0

_PATH = re.compile(
    r"(?P<api>/api/[^/]+|/apis/[^/]+/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as Kubernetes would audit it."""

    verb: str
    api: str
    namespace: str | None
    resource: str
    name: str
    subresource: str | None
    request: web.Request

    @property
    def label(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def key(self) -> Key:
        return (self.resource, self.namespace, self.name)

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query)

    def covers(self, key: Key, item: Manifest) -> bool:
        """Whether a list or watch of this call shows the object."""
        inside = self.namespace in (None, key[1])
        selector = self.query.get("labelSelector", "")
        return key[0] == self.resource and inside and selects(selector, item)


@dataclass(slots=True)
class Fault:
    """What happens to the next calls of a kind; `applied` means that the write is done first."""

    verb: str
    resource: str
    status: int
    times: int
    skip: int
    retry_after: int
    applied: bool

    def strikes(self, call: Call) -> bool:
        matches = self.verb in ("*", call.verb) and self.resource in ("*", call.label)
        if not matches or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(eq=False, slots=True)
class Watcher:
    """One open watch: what it is to be sent, or how it ends."""

    call: Call
    lines: "asyncio.Queue[bytes | type[ConnectionError] | None]" = field(
        default_factory=asyncio.Queue
    )

    def show(self, change: Change) -> None:
        """Tell of a change, as it looks through the selector of this watch."""
        was = change.old is not None and self.call.covers(change.key, change.old)
        is_now = change.new is not None and self.call.covers(change.key, change.new)
        if is_now:
            self.send("MODIFIED" if was else "ADDED", change.new)
        elif was:
            last = copy.deepcopy(change.new or change.old or {})
            last["metadata"]["resourceVersion"] = str(change.version)
            self.send("DELETED", last)

    def send(self, kind: str, item: Any) -> None:  # noqa: ANN401
        self.lines.put_nowait(json.dumps({"type": kind, "object": item}).encode() + b"\n")


class FakeApi:
    """The server; `store` holds its objects, `url` is where it listens."""

    def __init__(self) -> None:
        self.store = Store()
        self.store.listeners.append(self._spread)
        self.calls: Counter[tuple[str, str]] = Counter()
        self.graces: list[int | None] = []
        self.requests: list[Call] = []
        self.latency = 0.0
        self.url = ""
        self._faults: list[Fault] = []
        self._watchers: set[Watcher] = set()
        self._stale: dict[str, tuple[int, list[Manifest], int]] = {}
        self._continued: dict[str, tuple[int, list[Manifest]]] = {}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close_watches()
        await self._runner.cleanup()

    # What is there.

    def put(self, body: Manifest) -> Manifest:
        """Create or replace an object, status and all."""
        return self.store.put(body)

    def objects(self, resource: str) -> list[Manifest]:
        return [
            copy.deepcopy(item) for key, item in self.store.objects.items() if key[0] == resource
        ]

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        return copy.deepcopy(self.store.objects.get((resource, namespace, name)))

    def patch(self, resource: str, namespace: str | None, name: str, patch: Manifest) -> None:
        self.store.patch((resource, namespace, name), patch)

    def patch_status(
        self, resource: str, namespace: str | None, name: str, status: Manifest
    ) -> None:
        """What the kubelet, say, writes."""
        self.store.patch((resource, namespace, name), {"status": status}, "status")

    def delete(self, resource: str, namespace: str | None, name: str) -> None:
        self.store.delete((resource, namespace, name))

    def linger(self, resource: str) -> None:
        """From now on a delete only marks these objects, as it does Pods; `remove` ends them."""
        self.store.lingering.add(resource)

    def remove(self, resource: str, namespace: str | None, name: str) -> None:
        self.store.remove((resource, namespace, name))

    # What goes wrong.

    def fail(  # noqa: PLR0913
        self,
        verb: str,
        resource: str,
        status: int,
        *,
        times: int = 1,
        skip: int = 0,
        retry_after: int = 0,
        applied: bool = False,
    ) -> None:
        """Answer the next calls with a status, `*` standing for any verb or resource."""
        fault = Fault(verb, resource, status, times, skip, retry_after, applied)
        self._faults.append(fault)

    def vanish(self, resource: str, namespace: str | None, name: str) -> None:
        """Delete in silence, as in a gap between two watches."""
        self.store.vanish((resource, namespace, name))

    def compact(self) -> None:
        """Drop the history, so that every version before now is too old to watch from."""
        self.store.compact()

    def stale(self, resource: str, times: int = 1) -> None:
        """Show in the next lists what is there now, whatever is written meanwhile."""
        self._stale[resource] = (self.store.version, self.objects(resource), times)

    def break_watches(self, resource: str, code: int) -> None:
        """Send an ERROR event into the open watches, and end them."""
        for watcher in self._watching(resource):
            watcher.send("ERROR", RefusedError(code, "the emulated watch broke").status)
            watcher.lines.put_nowait(None)

    def close_watches(self, resource: str = "*") -> None:
        """End the open watches as a server does whose time for them is up."""
        for watcher in self._watching(resource):
            watcher.lines.put_nowait(None)

    def cut_watches(self, resource: str = "*") -> None:
        """Break the connections of the open watches."""
        for watcher in self._watching(resource):
            watcher.lines.put_nowait(ConnectionError)

    def bookmark(self, resource: str) -> None:
        """Tell the open watches the current version."""
        metadata = {"resourceVersion": str(self.store.version)}
        for watcher in self._watching(resource):
            if watcher.call.query.get("allowWatchBookmarks") == "true":
                watcher.send("BOOKMARK", {"metadata": metadata})

    def send_raw(self, resource: str, raw: bytes) -> None:
        """Send bytes into the open watches."""
        for watcher in self._watching(resource):
            watcher.lines.put_nowait(raw)

    # What becomes true.

    def watching(self, resource: str) -> int:
        """How many watches are open."""
        return len(self._watching(resource))

    async def wait(self, predicate: Callable[[], object], timeout: float = 10) -> None:  # noqa: ASYNC109
        """Return once the predicate holds; TimeoutError when it does not within the seconds."""
        async with asyncio.timeout(timeout):
            while not predicate():
                await asyncio.sleep(0.002)

    # How it serves.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            discovered = discovery(request.path)
            if discovered is not None:
                return web.json_response(discovered)
            return await self._called(_call(request))
        except RefusedError as refused:
            wait = {"Retry-After": str(refused.retry_after)} if refused.retry_after else {}
            code = refused.status["code"]
            return web.json_response(refused.status, status=int(str(code)), headers=wait)

    async def _called(self, call: Call) -> web.StreamResponse:
        self.calls[call.verb, call.label] += 1
        self.requests.append(call)
        await asyncio.sleep(self.latency)
        selects(call.query.get("labelSelector", ""), {"metadata": {}})
        if "fieldSelector" in call.query:
            raise RefusedError(400, "the emulated server does not know field selectors")
        fault = next((fault for fault in self._faults if fault.strikes(call)), None)
        if fault is None:
            return await self._answered(call)
        if fault.applied:
            await self._answered(call)
        if fault.status == NO_ANSWER and call.request.transport is not None:
            call.request.transport.abort()
        raise RefusedError(fault.status, "an emulated fault", retry_after=fault.retry_after)

    async def _answered(self, call: Call) -> web.StreamResponse:
        if call.verb == "watch":
            return await self._watched(call)
        answers = {
            "list": self._listed,
            "get": self._found,
            "create": self._created,
            "patch": self._patched,
            "delete": self._deleted,
        }
        if call.verb not in answers:
            raise RefusedError(405, f"the emulated server does not know {call.verb}")
        body = await answers[call.verb](call)
        return web.json_response(body, status=201 if call.verb == "create" else 200)

    async def _found(self, call: Call) -> Manifest:
        return self.store.find(call.key)

    async def _created(self, call: Call) -> Manifest:
        body = await call.request.json()
        if body.get("apiVersion") != call.api.removeprefix("/apis/").removeprefix("/api/"):
            raise RefusedError(
                400, f"the API version in the data ({body.get('apiVersion')}) is wrong"
            )
        if plural(body.get("kind", "")) != call.resource:
            raise RefusedError(400, f"{body.get('kind')!r} is no kind of {call.resource}")
        return self.store.create(call.resource, call.namespace, body)

    async def _patched(self, call: Call) -> Manifest:
        if call.request.content_type != "application/merge-patch+json":
            raise RefusedError(
                415, f"the emulated server does not know {call.request.content_type}"
            )
        return self.store.patch(call.key, await call.request.json(), call.subresource)

    async def _deleted(self, call: Call) -> Manifest:
        options = json.loads(await call.request.read() or b"{}")
        self.graces.append(options.get("gracePeriodSeconds"))
        return self.store.delete(call.key, options.get("preconditions", {}).get("uid"))

    async def _listed(self, call: Call) -> Manifest:
        version, items = self._page(call)
        limit = int(call.query.get("limit") or 0) or len(items)
        metadata = {"resourceVersion": str(version)}
        if items[limit:]:
            metadata["continue"] = f"{version}/{len(self._continued)}"
            self._continued[metadata["continue"]] = (version, items[limit:])
        known = KINDS.get(call.api, {}).get(call.resource, "")
        shown = [_as_listed(call.api, item) for item in items[:limit]]
        api_version = call.api.removeprefix("/apis/").removeprefix("/api/")
        return {
            "kind": f"{known}List",
            "apiVersion": api_version,
            "metadata": metadata,
            "items": shown,
        }

    def _page(self, call: Call) -> tuple[int, list[Manifest]]:
        """What is left of the list that a page continues, or the list as it is now."""
        token = call.query.get("continue")
        if token:
            if token not in self._continued:
                raise RefusedError(410, "the provided continue parameter is too old")
            return self._continued[token]
        version, items, times = self._stale.get(call.resource, (0, [], 0))
        if times == 0:
            version, items = self.store.version, self.objects(call.resource)
        else:
            self._stale[call.resource] = (version, items, times - 1)
        keyed = [
            ((call.resource, _namespace(item), item["metadata"]["name"]), item) for item in items
        ]
        return version, [item for key, item in keyed if call.covers(key, item)]

    async def _watched(self, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(call.request)
        watcher = Watcher(call)
        self._begin(watcher)
        self._watchers.add(watcher)
        try:
            async with asyncio.timeout(float(call.query.get("timeoutSeconds", 300))):
                await self._stream(watcher, response)
        except TimeoutError:
            pass
        finally:
            self._watchers.discard(watcher)
        return response

    def _begin(self, watcher: Watcher) -> None:
        """Catch up with what happened since the version that the watch starts from."""
        since = int(watcher.call.query.get("resourceVersion") or 0)
        if since == 0:
            for key, item in self.store.objects.items():
                watcher.show(Change(0, key, None, item))
        elif since < self.store.compacted:
            watcher.send("ERROR", RefusedError(410, f"too old resource version: {since}").status)
            watcher.lines.put_nowait(None)
        else:
            for change in self.store.history:
                if change.version > since:
                    watcher.show(change)

    async def _stream(self, watcher: Watcher, response: web.StreamResponse) -> None:
        while True:
            line = await watcher.lines.get()
            if isinstance(line, bytes):
                await response.write(line)
                continue
            if line is ConnectionError and watcher.call.request.transport is not None:
                watcher.call.request.transport.abort()
            return

    def _spread(self, change: Change) -> None:
        for watcher in self._watchers:
            watcher.show(change)

    def _watching(self, resource: str) -> list[Watcher]:
        return [watcher for watcher in self._watchers if resource in ("*", watcher.call.resource)]


def discovery(path: str) -> Manifest | None:
    """What the API server says about itself, or None when the path is no such question."""
    groups = [api.split("/")[2:] for api in KINDS if api.startswith("/apis/")]
    match path:
        case "/version":
            return {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
        case "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        case "/apis":
            return {"kind": "APIGroupList", "groups": [_group(*group) for group in groups]}
        case _ if path in KINDS:
            found = [entry for item in KINDS[path].items() for entry in _resource(*item)]
            return {"kind": "APIResourceList", "resources": found}
        case _:
            return None


def _group(name: str, version: str) -> Manifest:
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _resource(name: str, kind: str) -> list[Manifest]:
    common = {
        "singularName": kind.lower(),
        "kind": kind,
        "namespaced": not name.startswith(("namespaces", "validating")),
        "verbs": ["create", "delete", "get", "list", "patch", "watch"],
    }
    return [{"name": name, **common}, {"name": f"{name}/status", **common}]


def _call(request: web.Request) -> Call:
    found = _PATH.fullmatch(request.path)
    if found is None:
        raise RefusedError(404, f"the emulated server does not know {request.path}")
    name = unquote(found["name"] or "")
    verb = _VERBS.get(request.method, "get" if name else "list")
    if verb == "list" and request.query.get("watch") in ("true", "1"):
        verb = "watch"
    return Call(
        verb,
        found["api"],
        found["namespace"],
        found["resource"],
        name,
        found["subresource"],
        request,
    )


def _as_listed(api: str, item: Manifest) -> Manifest:
    """An item of a list: those of built-in kinds do not repeat their kind."""
    if api.startswith("/apis/anchorhold.dev/"):
        return item
    return {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}


def _namespace(item: Manifest) -> str | None:
    namespace: str | None = item["metadata"].get("namespace")
    return namespace
