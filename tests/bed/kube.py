"""kubectl, as the tests use it: documents in, documents out, conditions waited for."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

Document = dict[str, Any]
T = TypeVar("T")
SECONDS = 120


class RefusedError(AssertionError):
    """The API server said no; the text is what a user sees."""


@dataclass(frozen=True)
class Kubectl:
    """One user's kubectl against the test cluster."""

    binary: Path
    kubeconfig: Path
    user: str | None = None
    groups: tuple[str, ...] = ()

    def acting_as(self, user: str, *groups: str) -> Kubectl:
        """The same cluster, seen by another user."""
        return replace(self, user=user, groups=groups)

    def acting_as_account(self, namespace: str, name: str) -> Kubectl:
        """The same cluster, seen by a ServiceAccount."""
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return self.acting_as(
            f"system:serviceaccount:{namespace}:{name}", "system:authenticated", *groups
        )

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run kubectl and return what came of it, success or not."""
        who = [f"--as={self.user}"] if self.user else []
        who += [f"--as-group={group}" for group in self.groups]
        command = [str(self.binary), f"--kubeconfig={self.kubeconfig}", *who, *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl and return its output. Raises RefusedError."""
        result = self.run(*arguments, stdin=stdin)
        if result.returncode:
            raise RefusedError(result.stderr.strip())
        return result.stdout

    def create(self, document: Document, *arguments: str) -> Document:
        """Create an object and return it. Raises RefusedError."""
        text = self("create", "-f", "-", "-o", "json", *arguments, stdin=json.dumps(document))
        return dict(json.loads(text))

    def apply(self, document: Document) -> None:
        """Apply an object. Raises RefusedError."""
        self("apply", "-f", "-", stdin=json.dumps(document))

    def get(self, kind: str, name: str, namespace: str = "") -> Document | None:
        """An object, or None if there is none."""
        where = ["-n", namespace] if namespace else []
        text = self("get", kind, name, *where, "-o", "json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else None

    def items(self, kind: str, namespace: str = "", *arguments: str) -> list[Document]:
        """All objects of a kind."""
        where = ["-n", namespace] if namespace else ["-A"]
        return list(json.loads(self("get", kind, *where, "-o", "json", *arguments))["items"])

    def namespace(self, name: str, **labels: str) -> None:
        """Make a namespace that Pods can be created in."""
        self.until_not_going(name)
        metadata = {"name": name, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        account = ("serviceaccount", "default", name)
        wait_for(lambda: self.get(*account), SECONDS, f"the account of the Pods of {name}")

    def until_not_going(self, namespace: str) -> None:
        """Return once no namespace of that name is on its way out: whoever was before left it."""

        def is_going() -> bool:
            found = self.get("namespace", namespace)
            return found is not None and "deletionTimestamp" in found["metadata"]

        wait_for(lambda: not is_going(), SECONDS, f"the namespace {namespace} to be gone")

    def delete(self, kind: str, name: str, namespace: str = "", *arguments: str) -> None:
        """Delete an object, if it is there."""
        where = ["-n", namespace] if namespace else []
        self("delete", kind, name, *where, "--ignore-not-found", *arguments)


def wait_for(look: Callable[[], T | None], seconds: float, what: str) -> T:
    """Look until there is something, and return it. Fails with `what` and the last look."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {seconds} s still waiting for {what}: {found!r}"
        time.sleep(0.2)
