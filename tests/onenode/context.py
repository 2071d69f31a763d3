"""The files of a build context, as `.dockerignore` leaves them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of .dockerignore."""

    pattern: str
    excludes: bool

    def matches(self, name: str) -> bool:
        """Say whether it speaks of a path, or of a folder that holds it."""
        return re.fullmatch(f"{_expression(self.pattern)}(/.*)?", name) is not None


def _expression(pattern: str) -> str:
    # `**` crosses folders, `*` and `?` do not.
    marks = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(marks.get(part, re.escape(part)) for part in parts)


def parse(text: str) -> list[Rule]:
    """Read a .dockerignore file."""
    lines = (line.strip() for line in text.splitlines())
    return [
        Rule(line.removeprefix("!").strip().strip("/"), not line.startswith("!"))
        for line in lines
        if line and not line.startswith("#")
    ]


def ignored(name: str, rules: list[Rule]) -> bool:
    """Say whether a path is left out: the last rule that matches decides."""
    verdicts = [rule.excludes for rule in rules if rule.matches(name)]
    return bool(verdicts) and verdicts[-1]


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Return every file and link of a context by its relative name."""
    ignore = folder / ".dockerignore"
    rules = parse(ignore.read_text()) if ignore.exists() else []
    for root, folders, names in os.walk(folder):
        above = Path(root).relative_to(folder)
        folders[:] = sorted(f for f in folders if _worth_a_look((above / f).as_posix(), rules))
        links = [f for f in folders if (Path(root) / f).is_symlink()]
        for name in sorted([*names, *links]):
            relative = (above / name).as_posix()
            if not ignored(relative, rules):
                yield relative, Path(root) / name


def _worth_a_look(name: str, rules: list[Rule]) -> bool:
    # An ignored folder is entered only if an exception could lie in it.
    if not ignored(name, rules):
        return True
    kept = [rule.pattern for rule in rules if not rule.excludes]
    return any("**" in pattern or pattern.startswith(f"{name}/") for pattern in kept)


def content(path: Path) -> bytes:
    """Return what an image depends on: a link's target, or bytes and whether they may run."""
    if path.is_symlink():
        return b"link " + str(path.readlink()).encode()
    mode = b"run " if path.stat().st_mode & 0o111 else b"file "
    return mode + path.read_bytes()
