"""The Debian packages that the node needs, found by the files they install on any system."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from onenode import paths, shell
from onenode.faults import Fault

REGISTRY = "docker-registry"

# A program on the PATH, or a file, and the Debian package that has it.
NEEDS = {
    "go": "golang-go",
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "/usr/include/seccomp.h": "libseccomp-dev",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
    "iptables": "iptables",
    "nft": "nftables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "debootstrap": "debootstrap",
    "buildah": "buildah",
    "skopeo": "skopeo",
}


def missing() -> list[str]:
    """Return the packages whose files are not there."""
    return [package for need, package in NEEDS.items() if not _present(need)]


def _present(need: str) -> bool:
    if need.startswith("/"):
        return Path(need).exists()
    return shutil.which(need, path=shell.SEARCH) is not None


def install() -> None:
    """Install what is missing on Debian as root; elsewhere say what is missing and stop."""
    names, unpack = missing(), not _registry_exists()
    if not names and not unpack:
        return
    listed = ", ".join([*names, *([REGISTRY] if unpack else [])])
    if not Path("/etc/debian_version").exists() or os.geteuid() != 0:
        raise Fault(f"These packages are missing (by their Debian names): {listed}.")
    shell.say(f"Fetching Debian packages: {listed}.")
    _apt("update")
    if names:
        _apt("install", "-y", "--no-install-recommends", *names)
    if unpack:
        _unpack()


def _apt(*words: str, folder: Path | None = None) -> None:
    shell.run("apt-get", "-q", *words, extra={"DEBIAN_FRONTEND": "noninteractive"}, cwd=folder)


def _registry_exists() -> bool:
    return Path(registry()).exists()


def registry() -> str:
    """Return the registry's program: the machine's, else the one in the cache."""
    return shutil.which(REGISTRY, path=shell.SEARCH) or str(_unpacked())


def _unpacked() -> Path:
    return paths.cache() / "bin" / REGISTRY / "usr" / "bin" / REGISTRY


def _unpack() -> None:
    """Unpack the registry's package into the cache: installed, it would start a service."""
    target = paths.cache() / "bin" / REGISTRY
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # apt downloads as a user of its own, who must get in.
        Path(folder).chmod(0o777)
        _apt("download", REGISTRY, folder=Path(folder))
        (package,) = Path(folder).glob("*.deb")
        shell.run("dpkg-deb", "--extract", package, Path(folder) / "content")
        shutil.rmtree(target, ignore_errors=True)
        (Path(folder) / "content").rename(target)
