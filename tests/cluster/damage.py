"""Objects that are missing or changed for as long as a block runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from bed.kube import Document, Kubectl

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
SERVERS_OWN = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


def bindings_of(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    """The admission bindings of a namespace: name -> admission policy."""
    bindings = kubectl.items("validatingadmissionpolicybindings")
    return {b["metadata"]["name"]: b["spec"]["policyName"] for b in bindings if here(b, namespace)}


def here(binding: Document, namespace: str) -> bool:
    """Whether a binding is about this namespace."""
    selector = binding["spec"].get("matchResources", {}).get("namespaceSelector", {})
    return bool(selector.get("matchLabels", {}).get(NAMESPACE_LABEL) == namespace)


def binding(kubectl: Kubectl, namespace: str, admission: str) -> str:
    """The name of the binding of one admission policy."""
    found = bindings_of(kubectl, namespace)
    return next(name for name, bound in found.items() if bound == admission)


@contextmanager
def removed(kubectl: Kubectl, kind: str, name: str, namespace: str = "") -> Iterator[None]:
    """Delete an object, and create it again afterwards."""
    found = kubectl.get(kind, name, namespace)
    assert found is not None, f"there is no {kind} {name}"
    kubectl.delete(kind, name, namespace)
    try:
        yield
    finally:
        put_back(kubectl, found)


@contextmanager
def altered(
    kubectl: Kubectl, kind: str, name: str, change: Document, namespace: str = ""
) -> Iterator[None]:
    """Change fields of an object's spec, and put the old object back afterwards."""
    found = kubectl.get(kind, name, namespace)
    assert found is not None, f"there is no {kind} {name}"
    set_spec(kubectl, kind, name, {**found["spec"], **change}, namespace)
    try:
        yield
    finally:
        kubectl.delete(kind, name, namespace)
        put_back(kubectl, found)


def put_back(kubectl: Kubectl, found: Document) -> None:
    """Apply an object as Helm does: fields that others own are conflicts at the next upgrade."""
    found.pop("status", None)
    for field in SERVERS_OWN:
        found["metadata"].pop(field, None)
    words = ("--server-side", "--field-manager=helm", "--force-conflicts")
    kubectl("apply", "-f", "-", *words, stdin=json.dumps(found))


def set_spec(kubectl: Kubectl, kind: str, name: str, spec: Document, namespace: str = "") -> None:
    """Replace the spec of an object as a whole."""
    where = ("-n", namespace) if namespace else ()
    patch = json.dumps([{"op": "replace", "path": "/spec", "value": spec}])
    kubectl("patch", kind, name, *where, "--type=json", "-p", patch)
