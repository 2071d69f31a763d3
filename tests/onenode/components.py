"""What runs on the node: one command line a component, in the order in which they start."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onenode import network, packages, settings
from onenode.paths import Places

# Every component runs inside the mount namespace that this one holds.
MOUNTS = "mounts"

# At its start the controller manager makes an account for each controller; at the default rate that
# takes 5 seconds.
_FAST = ("--kube-api-qps=300", "--kube-api-burst=400")

_TESTS = Path(__file__).resolve().parents[1]
_WORLD = ("env", f"PYTHONPATH={_TESTS}", sys.executable, "-m", "onenode.world")


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the node."""

    name: str
    argv: tuple[str, ...]
    network: str = settings.NODE_NETWORK
    environment: Mapping[str, str] = field(default_factory=dict)


def components(places: Places, programs: Mapping[str, Path]) -> dict[str, Component]:
    """Return every component by name."""
    lines = {
        "etcd": _etcd(places),
        "kube-apiserver": _api_server(places),
        "containerd": ("--config", f"{places.etc}/containerd.toml"),
        "kube-controller-manager": _controller_manager(places),
        "kube-scheduler": _scheduler(places),
        "kubelet": _kubelet(places),
        "kube-proxy": (f"--config={places.etc}/kube-proxy.json",),
        "kube-router": _router(places),
    }
    found = [
        Component(name, (str(programs[name]), *line), environment={"NODE_NAME": settings.NODE_NAME})
        for name, line in lines.items()
    ]
    return {each.name: each for each in [_world(places), *_registries(places), *found]}


def _etcd(places: Places) -> tuple[str, ...]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return (
        f"--data-dir={places.data}/etcd",
        # The node never outlives this data's usefulness.
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
    )


def _api_server(places: Places) -> tuple[str, ...]:
    pki = places.pki
    return (
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={settings.NODE_ADDRESS}",
        "--secure-port=6443",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/admin.crt",
        f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--service-cluster-ip-range={settings.SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--event-ttl=1h",
    )


def _controller_manager(places: Places) -> tuple[str, ...]:
    return (
        f"--kubeconfig={places.pki}/kube-controller-manager.kubeconfig",
        "--leader-elect=false",
        f"--service-account-private-key-file={places.pki}/sa.key",
        f"--root-ca-file={places.pki}/ca.crt",
        "--use-service-account-credentials=true",
        # By default a quota on a kind that is new to the cluster is counted after five minutes.
        "--resource-quota-sync-period=5s",
        *_FAST,
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={settings.PODS}",
    )


def _scheduler(places: Places) -> tuple[str, ...]:
    return (
        f"--kubeconfig={places.pki}/kube-scheduler.kubeconfig",
        "--leader-elect=false",
        *_FAST,
    )


def _kubelet(places: Places) -> tuple[str, ...]:
    return (
        f"--config={places.etc}/kubelet.json",
        f"--kubeconfig={places.pki}/kubelet.kubeconfig",
        f"--hostname-override={settings.NODE_NAME}",
        f"--node-ip={settings.NODE_ADDRESS}",
    )


def _router(places: Places) -> tuple[str, ...]:
    return (
        f"--kubeconfig={places.pki}/kube-router.kubeconfig",
        f"--hostname-override={settings.NODE_NAME}",
        "--run-router=false",
        "--run-firewall=true",
        "--run-service-proxy=false",
        f"--service-cluster-ip-range={settings.SERVICES}",
        "--health-port=0",
        "--metrics-port=0",
    )


def _registries(places: Places) -> list[Component]:
    return [
        Component(name, (packages.registry(), "serve", f"{places.etc}/{name}.json"))
        for name in ("registry", "private-registry")
    ]


def _world(places: Places) -> Component:
    return Component("world", (*_WORLD, "serve", str(places.pki)), settings.WORLD_NETWORK)


def world_check() -> tuple[str, ...]:
    """Return the command that succeeds where the world answers."""
    return (*network.inside(settings.NODE_NETWORK), *_WORLD, "check")
