"""Building images from a Dockerfile without Docker, once for each set of ingredients."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from onenode import base, context, paths, registry, shell, state, storage
from onenode.build import key
from onenode.faults import Fault

KEPT = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be built."""

    folder: Path
    file: Path | None = None
    arguments: tuple[str, ...] = ()
    packages: str = ""

    @property
    def dockerfile(self) -> Path:
        """The Dockerfile: the one named, else the context's own."""
        return self.file or self.folder / "Dockerfile"

    @property
    def identity(self) -> str:
        """The key of the image: it changes when anything that it is made of does."""
        parts = {name: context.content(path) for name, path in context.files(self.folder)}
        parts["/dockerfile"] = self.dockerfile.read_bytes()
        parts["/arguments"] = "\n".join(self.arguments).encode()
        parts["/base"] = base.identity(self.packages).encode()
        return key(parts)


def archive(wish: Wish) -> Path:
    """Return the image as an OCI archive; build it if the cache does not hold it."""
    if not wish.dockerfile.is_file():
        raise Fault(f"There is no Dockerfile {wish.dockerfile}.")
    bottom = base.archive(wish.packages)
    target = paths.cache() / "images" / f"image-{wish.identity}.tar"
    with state.lock(paths.cache() / "images.lock"):
        if not target.exists():
            _build(wish, bottom, target)
    return target


def _build(wish: Wish, bottom: Path, target: Path) -> None:
    shell.say(f"Building an image from {wish.dockerfile}…")
    begun = time.monotonic()
    half = target.with_suffix(".half")
    half.unlink(missing_ok=True)
    arguments = [f"BASE={_import(bottom, wish.packages)}", *wish.arguments]
    shell.run(*storage.buildah("bud", *registry.signatures(), "--pull-never", "--timestamp", "0"),
              "--file", wish.dockerfile, "--tag", f"oci-archive:{half}",
              *(word for each in arguments for word in ("--build-arg", each)),
              wish.folder)  # fmt: skip
    half.replace(target)
    _forget_old(target.parent)
    shell.say(f"Built the image in {time.monotonic() - begun:.1f} seconds.")


def _import(bottom: Path, packages: str) -> str:
    """Return the name of the base image in buildah's storage, where it is unpacked once."""
    name = f"localhost/anchorhold-base:{base.identity(packages)}"
    # What an earlier build believed to be mounted went with its mount namespace.
    shutil.rmtree(paths.cache() / "buildah" / "run", ignore_errors=True)
    if not shell.succeeds(*storage.buildah("inspect", "--type", "image", name)):
        pull = storage.buildah("pull", *registry.signatures(), "--quiet", f"oci-archive:{bottom}")
        shell.run(*storage.buildah("tag", shell.run(*pull).strip(), name))
    return name


def _forget_old(folder: Path) -> None:
    """Keep the newest images only: each is as large as all its layers."""
    images = sorted(folder.glob("image-*.tar"), key=lambda path: path.stat().st_mtime)
    for path in images[:-KEPT]:
        path.unlink()
