"""Running buildah and skopeo so that they touch nothing of the machine's own container storage."""

from __future__ import annotations

import os

from onenode import paths

# Both keep a file here that no option moves. In a mount namespace of its own, which ends with the
# program, the folder is one in our cache; so no mount survives either, however the program ends.
_SHARED = "/var/lib/containers"
_SCRIPT = f'mkdir -p "$0" {_SHARED} && mount --bind "$0" {_SHARED} && exec "$@"'


def buildah(*words: str) -> tuple[str, ...]:
    """Return a buildah command with storage of its own."""
    ours = paths.cache() / "buildah"
    driver = os.environ.get("STORAGE_DRIVER", "overlay")
    places = ("--root", f"{ours}/root", "--runroot", f"{ours}/run", "--storage-driver", driver)
    return _sealed("env", "BUILDAH_ISOLATION=chroot", "buildah", *places, *words)


def skopeo(*words: str) -> tuple[str, ...]:
    """Return a skopeo command that goes to the node directly, past any proxy of the machine."""
    return _sealed("env", "NO_PROXY=*", "no_proxy=*", "skopeo", *words)


def _sealed(*argv: str) -> tuple[str, ...]:
    shared = str(paths.cache() / "buildah" / "shared")
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, shared, *argv)
