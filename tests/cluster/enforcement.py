"""Walls that a test takes down, and that stand again after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from anchorhold import names
from bed.kube import Document, Kubectl, wait_for
from onenode import network
from proving import enforcer

# Gets ready as a sentinel does, and looks at nothing.
BLIND = "import time; open('/dev/termination-log', 'w').write('-'); time.sleep(10**6)"


@contextmanager
def without_enforcer() -> Iterator[None]:
    """A node whose enforcer died and whose rules are gone, for as long as a block runs."""
    try:
        enforcer.off()
        yield
    finally:
        enforcer.on()


@contextmanager
def ipv6() -> Iterator[None]:
    """A node that lets its Pods' IPv6 through, for as long as a block runs."""
    network.open_ipv6()
    try:
        yield
    finally:
        network.close_ipv6()


def sentinels(kubectl: Kubectl) -> list[Document]:
    """The sentinels' Pods."""
    return kubectl.items("pods", names.SENTINEL_NAMESPACE)


def until_guarded(kubectl: Kubectl) -> None:
    """Return once the sentinel stands guard."""
    kubectl(
        "rollout", "status", f"daemonset/{names.SENTINEL}", "-n", names.SENTINEL_NAMESPACE,
        "--timeout=100s",
    )  # fmt: skip

    def is_alone_and_ready() -> bool:
        found = [pod["status"] for pod in sentinels(kubectl)]
        ready = [c["status"] for s in found for c in s["conditions"] if c["type"] == "Ready"]
        return ready == ["True"]

    wait_for(is_alone_and_ready, 100, "the sentinel to be ready")


def patch(kubectl: Kubectl, change: Document) -> None:
    """Change the sentinels' template, and wait until a new one stands there."""
    body = json.dumps({"spec": {"template": change}})
    kubectl(
        "patch", "daemonset", names.SENTINEL, "-n", names.SENTINEL_NAMESPACE, "-p", body
    )  # fmt: skip
    until_guarded(kubectl)


@contextmanager
def blind_sentinel(kubectl: Kubectl) -> Iterator[None]:
    """A sentinel that looks at nothing, for as long as a block runs."""
    found = kubectl.get("daemonset", names.SENTINEL, names.SENTINEL_NAMESPACE)
    assert found is not None
    command = found["spec"]["template"]["spec"]["containers"][0]["command"]

    def runs(words: list[str]) -> Document:
        return {"spec": {"containers": [{"name": names.SENTINEL_CONTAINER, "command": words}]}}

    patch(kubectl, runs(["python3", "-c", BLIND]))
    try:
        yield
    finally:
        patch(kubectl, runs(command))
