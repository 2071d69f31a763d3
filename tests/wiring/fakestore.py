"""The objects of the emulated API server and their history: no network, no clock.

It has the rules of a real one that our code leans on: uid, resourceVersion, generation, the
status subresource, merge-patch, preconditions, finalizers and garbage collection. It has neither
schema nor admission; those are tested on a real API server.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]
Key = tuple[str, str | None, str]

REASONS = {
    400: "BadRequest",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
KINDS = {
    "/api/v1": {
        "configmaps": "ConfigMap",
        "events": "Event",
        "namespaces": "Namespace",
        "pods": "Pod",
        "secrets": "Secret",
    },
    "/apis/anchorhold.dev/v1alpha1": {
        "agentapprovals": "AgentApproval",
        "agentpolicies": "AgentPolicy",
        "agentruns": "AgentRun",
        "agentskills": "AgentSkill",
    },
    "/apis/admissionregistration.k8s.io/v1": {
        "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
        "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    },
    "/apis/coordination.k8s.io/v1": {"leases": "Lease"},
    "/apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}
_PLURALS = {kind: plural for plurals in KINDS.values() for plural, kind in plurals.items()}


class RefusedError(Exception):
    """The server says no, as a Kubernetes Status."""

    def __init__(self, code: int, message: str, reason: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason or REASONS.get(code, "Unknown"),
            "message": message,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What one write did to one object; `old` or `new` is None where there was none."""

    version: int
    key: Key
    old: Manifest | None
    new: Manifest | None


@dataclass(slots=True)
class Store:
    """All objects by resource, namespace and name. A stored object is never changed in place."""

    now: str = "2026-11-25T12:00:00Z"
    objects: dict[Key, Manifest] = field(default_factory=dict)
    version: int = 1000
    history: list[Change] = field(default_factory=list)
    compacted: int = 1000
    lingering: set[str] = field(default_factory=set)
    collects_garbage: bool = True
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def find(self, key: Key) -> Manifest:
        if key not in self.objects:
            raise RefusedError(404, f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def put(self, body: Manifest) -> Manifest:
        """Write a whole object, status and all, as nobody could through the API."""
        metadata = body["metadata"]
        key = (plural(body["kind"]), metadata.get("namespace"), metadata["name"])
        self._write(key, self._stamped(copy.deepcopy(body), self.objects.get(key)))
        self.collect()
        return copy.deepcopy(self.objects.get(key, body))

    def create(self, resource: str, namespace: str | None, body: Manifest) -> Manifest:
        body = copy.deepcopy(body)
        body.pop("status", None)
        metadata = body.setdefault("metadata", {})
        for name in ("uid", "creationTimestamp", "deletionTimestamp"):
            metadata.pop(name, None)
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._numbers):05}"
        if metadata.setdefault("namespace", namespace) != namespace:
            raise RefusedError(
                400, "the namespace of the object does not match that of the request"
            )
        if namespace is None:
            del metadata["namespace"]
        key = (resource, namespace, metadata["name"])
        if key in self.objects:
            raise RefusedError(409, f'{resource} "{key[2]}" already exists', "AlreadyExists")
        created = self._write(key, self._stamped(body, None))
        self.collect()
        return created

    def patch(self, key: Key, patch: Manifest, subresource: str | None = None) -> Manifest:
        old = self.find(key)
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected not in (None, old["metadata"]["resourceVersion"]):
            raise RefusedError(
                409, f'{key[0]} "{key[2]}" has been modified; use the latest version'
            )
        new = copy.deepcopy(merged(old, _writable(patch, subresource)))
        for name in ("uid", "name", "namespace", "creationTimestamp", "deletionTimestamp"):
            _restore(new["metadata"], old["metadata"], name)
        if new == old:
            return old
        new = self._write(key, self._stamped(new, old))
        self._finish(key)
        return new

    def delete(self, key: Key, uid: str | None = None) -> Manifest:
        old = self.find(key)
        found = old["metadata"]["uid"]
        if uid not in (None, found):
            raise RefusedError(409, f"the UID in the precondition ({uid}) does not match ({found})")
        if "deletionTimestamp" not in old["metadata"]:
            old = self._write(key, merged(old, {"metadata": {"deletionTimestamp": self.now}}))
        self._finish(key)
        return old

    def remove(self, key: Key) -> None:
        """End an object that lingers, as the kubelet ends a Pod that was deleted."""
        self._write(key, None)
        self.collect()

    def vanish(self, key: Key) -> None:
        """Delete without a word: no event, and no history to learn it from."""
        del self.objects[key]
        self.version += 1
        self.compact()

    def compact(self) -> None:
        """Forget the history: a watch from an earlier version is told 410."""
        self.history.clear()
        self.compacted = self.version

    def collect(self) -> None:
        """Delete what was owned, and whose owners are all gone."""
        alive = {item["metadata"]["uid"] for item in self.objects.values()}
        for key, item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences", [])
            orphan = owners and not any(owner["uid"] in alive for owner in owners)
            if orphan and self.collects_garbage and key in self.objects:
                self.delete(key)

    def _stamped(self, new: Manifest, old: Manifest | None) -> Manifest:
        """The object with what only the server may write."""
        number = next(self._numbers)
        metadata = new["metadata"]
        before: Manifest = {
            "uid": metadata.get("uid") or f"{number:08x}-0000-4000-8000-{number:012x}",
            "creationTimestamp": metadata.get("creationTimestamp", self.now),
            "generation": 0,
            **(old["metadata"] if old else {}),
        }
        changed = old is None or old.get("spec") != new.get("spec")
        metadata["uid"] = before["uid"]
        metadata["creationTimestamp"] = before["creationTimestamp"]
        metadata["generation"] = before["generation"] + changed
        return new

    def _write(self, key: Key, new: Manifest | None) -> Manifest:
        self.version += 1
        old = self.objects.pop(key, None)
        if new is not None:
            new["metadata"]["resourceVersion"] = str(self.version)
            self.objects[key] = new
        change = Change(self.version, key, old, new)
        self.history.append(change)
        for listener in self.listeners:
            listener(change)
        return new or {}

    def _finish(self, key: Key) -> None:
        """Remove an object that is marked and that nothing holds any more."""
        metadata = self.objects[key]["metadata"]
        held = metadata.get("finalizers") or key[0] in self.lingering
        if "deletionTimestamp" in metadata and not held:
            self.remove(key)


def plural(kind: str) -> str:
    """The resource of a kind, guessed where it is not known."""
    lower = kind.lower()
    return _PLURALS.get(kind, f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s")


def merged(old: Any, patch: Any) -> Any:  # noqa: ANN401
    """A merge-patch (RFC 7386): maps are merged, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        new[name] = merged(new.get(name), value)
    return {name: value for name, value in new.items() if value is not None}


def selects(selector: str, item: Manifest) -> bool:
    """Whether a label selector (equality and existence) selects an object."""
    labels = item["metadata"].get("labels", {})
    return all([_holds(part.strip(), labels) for part in selector.split(",") if part])  # noqa: C419


def _holds(part: str, labels: dict[str, str]) -> bool:
    if any(character in part for character in " ()"):
        raise RefusedError(400, f"the emulated server does not know the selector {part!r}")
    if "!=" in part:
        name, _, value = part.partition("!=")
        return labels.get(name) != value
    if "=" in part:
        name, _, value = part.replace("==", "=").partition("=")
        return labels.get(name) == value
    return part[1:] not in labels if part.startswith("!") else part in labels


def _writable(patch: Manifest, subresource: str | None) -> Manifest:
    if subresource == "status":
        return {"status": patch.get("status", {})}
    return {name: value for name, value in patch.items() if name != "status"}


def _restore(new: Manifest, old: Manifest, name: str) -> None:
    new.pop(name, None)
    if name in old:
        new[name] = old[name]
