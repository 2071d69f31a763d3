"""What is compiled, and how: one recipe a component, versions pinned by its go.mod and go.sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "go"
STATIC = {"CGO_ENABLED": "0"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make the programs of one component."""

    name: str
    packages: tuple[str, ...]
    usually: str
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: STATIC)
    links: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The Go module that pins it."""
        return SOURCES / self.name


_VARIABLE = "-X k8s.io/component-base/version.git"
_KUBERNETES = f"{_VARIABLE}Version=v1.37.2 {_VARIABLE}Major=1 {_VARIABLE}Minor=37"

RECIPES = (
    Recipe(
        "kubernetes", (".",), "6 minutes",
        flags=("-ldflags", f"-s -w {_KUBERNETES}"),
        links=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
               "kubelet", "kube-proxy", "kubectl"),
    ),
    Recipe(
        "containerd",
        tuple(f"github.com/containerd/containerd/v2/cmd/{name}"
              for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        "45 seconds",
        flags=("-tags", "no_btrfs no_zfs no_devmapper", "-ldflags", "-s -w"),
    ),
    # libseccomp is a C library.
    Recipe("runc", ("github.com/opencontainers/runc",), "10 seconds",
           flags=("-tags", "seccomp", "-ldflags", "-s -w"), environment={"CGO_ENABLED": "1"}),
    Recipe("gvisor", ("gvisor.dev/gvisor/runsc", "./containerd-shim-runsc-v1"), "1 to 2 minutes",
           flags=("-ldflags", "-s -w")),
    Recipe("kube-router", ("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",),
           "1 to 2 minutes", flags=("-ldflags", "-s -w")),
    Recipe("helm", ("helm.sh/helm/v4/cmd/helm",), "1 to 3 minutes", flags=("-ldflags", "-s -w")),
    Recipe("pause", (".",), "2 seconds", flags=("-ldflags", "-s -w")),
)  # fmt: skip
