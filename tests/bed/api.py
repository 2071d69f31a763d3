"""The API server over one kept connection: for tests that ask it some thousand questions.

kubectl takes a tenth of a second to start. It stays the way to do what a user does; this is for
asking what the API server says.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bed.kube import Document, Kubectl

# The two ways to patch that are used here; the second is server-side apply.
PATCHES = {"PATCH": "application/merge-patch+json", "APPLY": "application/apply-patch+yaml"}


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    status: int
    body: Any

    @property
    def refusal(self) -> str:
        """Why it did not do what was asked; nothing if it did."""
        if self.status < http.client.BAD_REQUEST:
            return ""
        body = self.body if isinstance(self.body, dict) else {}
        return str(body.get("message", self.body))


@dataclass
class Api:
    """One user's connection. Without a user or a token: the administrator's."""

    server: str
    trust: ssl.SSLContext
    headers: tuple[tuple[str, str], ...] = ()
    connection: http.client.HTTPSConnection | None = field(default=None, repr=False)

    def acting_as(self, user: str, *groups: str) -> Api:
        """The same cluster, for another user."""
        who = ("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)
        return Api(self.server, self.trust, who)

    def request(self, method: str, path: str, document: Document | None = None) -> Answer:
        """Ask once. A connection that the server has closed meanwhile is opened again."""
        try:
            return self.ask(method, path, document)
        except (http.client.HTTPException, ConnectionError):
            self.close()
            return self.ask(method, path, document)

    def close(self) -> None:
        """Hang up."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def ask(self, method: str, path: str, document: Document | None) -> Answer:
        if self.connection is None:
            where = urlsplit(self.server)
            self.connection = http.client.HTTPSConnection(
                where.hostname or "", where.port, context=self.trust, timeout=60
            )
        body = json.dumps(document).encode() if document is not None else b""
        self.connection.putrequest("PATCH" if method in PATCHES else method, path)
        for header in (
            *self.headers,
            ("Content-Type", PATCHES.get(method, "application/json")),
            ("Content-Length", str(len(body))),
        ):
            self.connection.putheader(*header)
        self.connection.endheaders(body)
        reply = self.connection.getresponse()
        return Answer(reply.status, parsed(reply.read()))


def parsed(text: bytes) -> Document | str:
    """JSON, or text if it is none."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return text.decode(errors="replace")


def administrator(kubectl: Kubectl) -> Api:
    """A connection with the rights of the kubeconfig."""
    settings, trust = known(kubectl)
    user = settings["users"][0]["user"]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("certificate", "key")]
        for path in paths:
            text = base64.b64decode(user[f"client-{path.name}-data"])
            path.write_bytes(text)
        trust.load_cert_chain(*paths)
    return Api(server(settings), trust)


def bearer(kubectl: Kubectl, namespace: str, account: str) -> Api:
    """A connection with a real token of a ServiceAccount, and nothing else."""
    token = kubectl("create", "token", account, "--namespace", namespace).strip()
    settings, trust = known(kubectl)
    return Api(server(settings), trust, (("Authorization", f"Bearer {token}"),))


def known(kubectl: Kubectl) -> tuple[Document, ssl.SSLContext]:
    """The kubeconfig, and whom it trusts to be the API server."""
    settings = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    authority = settings["clusters"][0]["cluster"]["certificate-authority-data"]
    return settings, ssl.create_default_context(cadata=base64.b64decode(authority).decode())


def server(settings: Document) -> str:
    return str(settings["clusters"][0]["cluster"]["server"])
