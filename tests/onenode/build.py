"""Compiling what is missing, once for each version, into a cache that all checkouts share."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from onenode import paths, shell, state
from onenode.faults import Fault
from onenode.recipes import RECIPES, Recipe


def key(parts: Mapping[str, bytes]) -> str:
    """Return a short name for named ingredients; it changes when any name or content does."""
    digest = hashlib.sha256()
    for name, content in sorted(parts.items()):
        digest.update(f"{len(name)}:{name}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def folder(recipe: Recipe) -> Path:
    """Return where the programs of a component are, or will be."""
    files = [p for p in recipe.source.rglob("*") if p.suffix in {".go", ".mod", ".sum"}]
    parts = {str(path.relative_to(recipe.source)): path.read_bytes() for path in files}
    how = [recipe.packages, recipe.flags, dict(recipe.environment), recipe.links]
    parts["/how"] = json.dumps(how).encode()
    parts["/go"] = shell.run("go", "version", cwd=recipe.source).encode()
    return paths.cache() / "bin" / f"{recipe.name}-{key(parts)}"


def programs() -> dict[str, Path]:
    """Return every program by name; a Fault that says what to do if one is not built."""
    found: dict[str, Path] = {}
    for recipe in RECIPES:
        place = folder(recipe)
        if not place.is_dir():
            raise Fault(f"{recipe.name} is not built yet; run `python3 -m onenode build`.")
        found.update((path.name, path) for path in place.iterdir())
    return found


def build(names: Iterable[str]) -> None:
    """Compile the named components, or all, that the cache does not hold."""
    wanted = set(names) or {recipe.name for recipe in RECIPES}
    unknown = wanted - {recipe.name for recipe in RECIPES}
    if unknown:
        known = ", ".join(recipe.name for recipe in RECIPES)
        raise Fault(f"There is no component {', '.join(sorted(unknown))}; there are {known}.")
    with state.lock(paths.cache() / "bin.lock"):
        for recipe in RECIPES:
            if recipe.name in wanted and not folder(recipe).is_dir():
                _compile(recipe, folder(recipe))


def _compile(recipe: Recipe, target: Path) -> None:
    shell.say(f"Building {recipe.name}; that usually takes {recipe.usually} on two cores…")
    begun = time.monotonic()
    half = target.with_name(f".half-{target.name}")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    # The path has a slash at its end: then `go build` writes each program under its own name.
    output = f"{half}/" if recipe.packages != (".",) else half / recipe.name
    flags = ("-trimpath", "-buildvcs=false", "-mod=readonly", *recipe.flags)
    shell.run("go", "build", *flags, "-o", output, *recipe.packages,
              extra=recipe.environment, cwd=recipe.source)  # fmt: skip
    for name in recipe.links:
        (half / name).symlink_to(recipe.name)
    half.rename(target)
    shell.say(f"Built {recipe.name} in {time.monotonic() - begun:.0f} seconds.")
