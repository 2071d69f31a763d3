"""The local base image: a small Debian with Python, from the mirror that apt uses here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from onenode import oci, paths, shell, state
from onenode.build import key
from onenode.faults import Fault

SUITE = "bookworm"
INCLUDE = "python3,ca-certificates"
# Nobody reads these in a cell. Folders are emptied, not removed: packages expect them.
TRIMMED = (
    "var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log",
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale",
)  # fmt: skip
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONFIG = {"Env": [f"PATH={SEARCH}"], "Cmd": ["sh"]}


def identity(packages: str = "") -> str:
    """Return the key of a base image: what it is made of, not when."""
    words = " ".join((SUITE, INCLUDE, oci.architecture(), *TRIMMED, *packages.split()))
    return key({"base": words.encode()})


def archive(packages: str = "") -> Path:
    """Return the base image as an OCI archive; make it if the cache does not hold it.

    `packages` are more packages for it, separated by blanks.
    """
    target = paths.cache() / "images" / f"base-{identity(packages)}.tar"
    with state.lock(target.with_suffix(".lock")):
        if not target.exists():
            _make(target, packages.split())
    return target


def _make(target: Path, packages: list[str]) -> None:
    shell.say("Making a base image; that usually takes 60 seconds…")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
        root = Path(folder) / "root"
        # In a mount namespace of its own: what debootstrap mounts goes with it, however it ends.
        shell.run("unshare", "--mount", "debootstrap", "--variant=minbase",
                  f"--include={INCLUDE}", SUITE, root, _mirror())  # fmt: skip
        if packages:
            _add(root, packages)
        for name in TRIMMED:
            _empty(root / name)
        tar = ["tar", "--numeric-owner", "--sort=name", "--create", "--directory", str(root), "."]
        layer = subprocess.run(tar, check=True, stdout=subprocess.PIPE).stdout
        oci.archive(layer, CONFIG, target)
    shell.say(f"Made the base image in {time.monotonic() - begun:.0f} seconds.")


def _add(root: Path, packages: list[str]) -> None:
    """Install packages, which the machine's own apt finds: debootstrap knows no alternatives."""
    shell.say(f"Adding {' '.join(packages)} to it…")
    archives = root / "packages"
    (archives / "partial").mkdir(parents=True)
    shell.run("apt-get", "install", "--yes", "--no-install-recommends", "--download-only",
              "-o", f"Dir::State::status={root}/var/lib/dpkg/status",
              "-o", f"Dir::Cache::archives={archives}", "-o", "APT::Sandbox::User=root",
              *packages)  # fmt: skip
    shell.run("unshare", "--mount", "chroot", root, "env", "DEBIAN_FRONTEND=noninteractive",
              "dpkg", "--install", "--recursive", "/packages")  # fmt: skip
    shutil.rmtree(archives)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _mirror() -> str:
    """Return the mirror from apt's own reading of its sources; it is never written down."""
    found = shell.run("apt-get", "indextargets", "--format", "$(REPO_URI)",
                      "Created-By: Packages", "Origin: Debian", f"Codename: {SUITE}",
                      "Component: main").split()  # fmt: skip
    if not found:
        raise Fault(f"The base image needs Debian {SUITE}, but apt's sources name no mirror of it.")
    return found[0]
