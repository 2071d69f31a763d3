"""The Kubernetes API, as whoever runs the command may use it: their kubeconfig and their rights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

Document = dict[str, Any]
BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 400, 403, 404, 409
# The two ways to patch that are used here; the second is server-side apply.
PATCHES = {"PATCH": "application/merge-patch+json", "APPLY": "application/apply-patch+yaml"}
SECONDS = 30
TRIES = 8


class UnreachableError(Exception):
    """There is no cluster, or no way to it; the text says which."""


class RefusedError(Exception):
    """The API server said no, where that is not what was to be seen."""


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: Any

    @property
    def refusal(self) -> str:
        """Why it did not do what was asked; nothing if it did."""
        if self.status < BAD_REQUEST:
            return ""
        return str(self.told.get("message", self.body)) or str(self.status)

    @property
    def is_crowded(self) -> bool:
        """Whether something that many change at once, as a quota, kept it from being made."""
        return self.status == CONFLICT and self.told.get("reason") == "Conflict"

    @property
    def told(self) -> Document:
        """The JSON object that it said; an empty one for anything else."""
        return self.body if isinstance(self.body, dict) else {}


class Cluster:
    """One user's way to one API server."""

    def __init__(self, api: client.ApiClient) -> None:
        self.api = api

    @classmethod
    def from_kubeconfig(cls, file: str | None = None, context: str | None = None) -> "Cluster":
        """As kubectl finds it; else a Pod's ServiceAccount. Raises UnreachableError."""
        settings = client.Configuration()
        settings.retries = 0
        try:
            config.load_kube_config(file, context, settings)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            try:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
            except config.ConfigException:
                raise UnreachableError(f"no kubeconfig: {error}") from None
        return cls(client.ApiClient(settings))

    def with_token(self, token: str) -> "Cluster":
        """The same server, for whoever has this token and nothing else."""
        mine, other = self.api.configuration, client.Configuration()
        for name in ("host", "ssl_ca_cert", "ca_cert_data", "verify_ssl", "tls_server_name"):
            setattr(other, name, getattr(mine, name))
        other.retries = 0
        other.api_key = {"authorization": f"Bearer {token}"} if token else {}
        return Cluster(client.ApiClient(other))

    def ask(
        self,
        method: str,
        path: str,
        document: Document | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, and whatever is answered. Raises UnreachableError."""
        kind = PATCHES.get(method, "application/json")
        request = self.api.param_serialize(
            "PATCH" if method in PATCHES else method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=document,
            auth_settings=["BearerToken"],
        )
        try:
            reply = self.api.call_api(*request, _request_timeout=SECONDS)
            return Answer(reply.status, parsed(reply.read()))  # type: ignore[no-untyped-call]
        except (client.ApiException, HTTPError, OSError) as error:
            raise UnreachableError(f"the API server does not answer: {error}") from None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Document | None:
        """An object or a list, or None if there is none. Raises RefusedError."""
        answer = self.ask("GET", path, None, query)
        return None if answer.status == NOT_FOUND else done(answer)

    def post(self, path: str, document: Document) -> Document:
        """Create an object; again where a quota was in the way. Raises RefusedError."""
        for _ in range(TRIES):
            answer = self.ask("POST", path, document)
            if not answer.is_crowded:
                break
        return done(answer)

    def patch(self, path: str, document: Document) -> Document:
        """Merge into an object. Raises RefusedError."""
        return done(self.ask("PATCH", path, document))

    def apply(self, path: str, document: Document, manager: str) -> None:
        """Make an object as somebody else made it, so that it stays theirs. Raises RefusedError."""
        done(self.ask("APPLY", path, document, {"fieldManager": manager, "force": "true"}))

    def delete(self, path: str, **options: object) -> None:
        """Delete an object, if it is there. Raises RefusedError."""
        answer = self.ask("DELETE", path, options or None)
        if answer.status != NOT_FOUND:
            done(answer)


def done(answer: Answer) -> Document:
    """What came of a request that must not be refused."""
    if answer.refusal:
        raise RefusedError(answer.refusal)
    return dict(answer.body)


def parsed(text: bytes | str | None) -> Any:  # noqa: ANN401  # whatever JSON holds
    """JSON, or text if it is none."""
    words = text.decode(errors="replace") if isinstance(text, bytes) else text or ""
    try:
        return json.loads(words)
    except ValueError:
        return words


def namespaced(namespace: str, kind: str, name: str = "", group: str = "") -> str:
    """The path of a collection, or of an object of it."""
    root = f"/apis/{group}" if group else "/api/v1"
    return f"{root}/namespaces/{namespace}/{kind}/{name}".rstrip("/")
