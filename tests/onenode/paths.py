"""Where everything lies: in the checkout, in the cache, below /run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/anchorhold-onenode")
LOCK = Path("/run/anchorhold-onenode.lock")
RECORD = RUN / "state.json"
CONTAINERD_SOCKET = RUN / "containerd.sock"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one checkout."""

    checkout: Path

    @property
    def cluster(self) -> Path:
        """All that the node writes into the checkout."""
        return self.checkout / ".cluster"

    @property
    def data(self) -> Path:
        """What the components keep; gone with the node."""
        return self.cluster / "node"

    @property
    def etc(self) -> Path:
        """The components' configuration."""
        return self.data / "etc"

    @property
    def pki(self) -> Path:
        """Certificates and kubeconfigs."""
        return self.data / "pki"

    @property
    def log(self) -> Path:
        """One log a component; it outlives the node, for whoever asks why it died."""
        return self.cluster / "log"

    @property
    def bin(self) -> Path:
        """Links to the command line tools."""
        return self.cluster / "bin"

    @property
    def volumes(self) -> Path:
        """For hostPath PersistentVolumes."""
        return self.cluster / "volumes"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.cluster / "kubeconfig"

    @property
    def registry(self) -> Path:
        """A text file with the registry's host:port."""
        return self.cluster / "registry"


def here() -> Places:
    """Return the places of the checkout that this file belongs to."""
    return Places(Path(__file__).resolve().parents[2])


def cache() -> Path:
    """Return the folder for what is expensive to make and the same for every checkout."""
    named = os.environ.get("ANCHORHOLD_CACHE")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "anchorhold"
