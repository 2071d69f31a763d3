"""The Kubernetes API over HTTP: six verbs, one error.

Raw JSON in and out: the official client costs 126 MB and four times the CPU, for types that
`anchorhold.api` already gives.
"""

import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TypeAlias, TypedDict, Unpack

import aiohttp

from anchorhold import names
from anchorhold.cluster import paths

Manifest: TypeAlias = dict[str, Any]

CONNECTIONS = 64
CONNECT_SECONDS = 5
REQUEST_SECONDS = 30
# The API server sends a bookmark every minute: a watch that is silent for longer is dead.
SILENCE_SECONDS = 75

_IN_POD = "/var/run/secrets/kubernetes.io/serviceaccount"
_METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
_EXCERPT = 200


class ApiError(Exception):
    """The API server answered, and the answer was no.

    `status` is the HTTP status, `reason` and `message` are those of the Kubernetes Status, and
    `retry_after` is how many seconds the server asked us to wait, if it did.
    """

    def __init__(self, status: int, body: Manifest, retry_after: float | None = None) -> None:
        self.status = status
        self.reason = str(body.get("reason") or "Unknown")
        self.message = str(body.get("message") or "no message")
        self.retry_after = retry_after
        super().__init__(f"{status} {self.reason}: {self.message}")


# What a call raises that did not do what it should.
FAULTS = (ApiError, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Server:
    """Where an API server is, whom to trust to be it, and the file with our token."""

    url: str
    ca_file: str | None = None
    token_file: str | None = None

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str]) -> Self:
        """The API server of the cluster that we run in; raises LookupError outside of one."""
        host = environ.get("KUBERNETES_SERVICE_HOST")
        if not host:
            raise LookupError("`KUBERNETES_SERVICE_HOST` must be set: run this in a Pod.")
        host = f"[{host}]" if ":" in host else host
        port = environ.get("KUBERNETES_SERVICE_PORT", "443")
        return cls(f"https://{host}:{port}", f"{_IN_POD}/ca.crt", f"{_IN_POD}/token")


def session(server: Server) -> aiohttp.ClientSession:
    """A bounded pool of connections that show our token; the caller closes it.

    Nothing is compressed: text of an author that shrinks a thousandfold could otherwise trip the
    limits of the decompressor, and no list would ever arrive again.
    """
    tls = ssl.create_default_context(cafile=server.ca_file)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=tls),
        headers={"User-Agent": names.CONTROLLER, "Accept-Encoding": "identity"},
        middlewares=[_Token(Path(server.token_file))] if server.token_file else [],
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS),
    )


@dataclass(frozen=True, slots=True)
class _Token:
    """Shows our token with each request, as its file holds it at that moment.

    The kubelet replaces it every hour; the file lies in memory, so a cache is not worth its bugs.
    """

    file: Path

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"Bearer {self.read()}"
        return await handler(request)

    def read(self) -> str:
        """The token; raises OSError when there is none."""
        return self.file.read_text(encoding="ascii").strip()


class _Options(TypedDict, total=False):
    params: dict[str, str]
    json: Manifest
    headers: dict[str, str]
    timeout: aiohttp.ClientTimeout


def _unobserved(_verb: str, _resource: str, _code: int) -> None:
    """Count nothing."""


class Client:
    """What Anchorhold asks of an API server.

    Every method raises ApiError when the server refuses, and aiohttp.ClientError, TimeoutError
    or OSError when it cannot be reached. `observe` is told of every answer: the verb, the
    resource and the HTTP status.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        observe: Callable[[str, str, int], None] = _unobserved,
    ) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._observe = observe

    async def get(self, path: str, **params: str) -> Manifest:
        """One object as it is now."""
        return await self._call("get", path, params=params)

    async def create(self, path: str, body: Manifest) -> Manifest:
        """The object as the server stored it.

        Strict, so that a server too old to know a field of a fence refuses it, and does not
        drop it in silence.
        """
        return await self._call("create", path, params={"fieldValidation": "Strict"}, json=body)

    async def patch(self, path: str, body: Manifest) -> Manifest:
        """The object after a merge-patch: given fields are set, null ones removed."""
        return await self._call("patch", path, json=body, headers=_MERGE_PATCH)

    async def delete(self, path: str, uid: str, grace_seconds: int | None = None) -> None:
        """Nothing of this uid remains, or it is on its way out; a namesake is spared."""
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options |= {"preconditions": {"uid": uid}, "gracePeriodSeconds": grace_seconds}
        try:
            await self._call("delete", path, json=options)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            # A conflict can have other causes than the uid, and then the object is still there.
            if error.status != HTTPStatus.CONFLICT or await self._exists(path, uid):
                raise

    async def pages(self, path: str, limit: int, **params: str) -> AsyncGenerator[Manifest]:
        """The pages of a list, all of the same moment."""
        token = ""
        while True:
            page = await self._call(
                "list", path, params={**params, "limit": str(limit), "continue": token}
            )
            yield page
            token = page["metadata"].get("continue", "")
            if not token:
                return

    async def watch(self, path: str, **params: str) -> AsyncGenerator[Manifest]:
        """The events of a watch until the server ends it; TimeoutError when it falls silent.

        An event may be longer than any buffer, so it is put together from chunks.
        """
        params |= {"watch": "true", "allowWatchBookmarks": "true"}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._send("watch", path, params=params, timeout=timeout) as response:
            await self._check("watch", path, response)
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _parsed(line)

    async def _call(self, verb: str, path: str, **options: Unpack[_Options]) -> Manifest:
        async with self._send(verb, path, **options) as response:
            await self._check(verb, path, response)
            return _parsed(await response.read())

    def _send(
        self, verb: str, path: str, **options: Unpack[_Options]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Follow no redirect: it would carry our token to wherever it points."""
        method = _METHODS.get(verb, "GET")
        return self._http.request(method, self._url + path, allow_redirects=False, **options)

    async def _check(self, verb: str, path: str, response: aiohttp.ClientResponse) -> None:
        self._observe(verb, paths.resource(path), response.status)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            wait = response.headers.get("Retry-After", "")
            retry_after = float(wait) if wait.isdecimal() else None
            raise ApiError(response.status, await _reported(response), retry_after)

    async def _exists(self, path: str, uid: str) -> bool:
        try:
            found = await self.get(path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return bool(found["metadata"]["uid"] == uid)


async def _reported(response: aiohttp.ClientResponse) -> Manifest:
    """The Kubernetes Status of a refusal, or what a proxy in between had to say."""
    try:
        return _parsed(await response.read())
    except ApiError as error:
        return {"reason": response.reason, "message": error.message}


def _parsed(raw: bytes) -> Manifest:
    """The JSON object; raises ApiError when something else than an API server answered."""
    try:
        parsed = json.loads(raw)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError(
            HTTPStatus.BAD_GATEWAY, {"reason": "NotJson", "message": ascii(raw[:_EXCERPT])}
        )
    return parsed
