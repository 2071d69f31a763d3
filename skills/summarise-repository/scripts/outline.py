"""Prints what a repository consists of: `outline.py FOLDER`. Standard library only."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SKIPPED = {".git", ".hg", ".svn", ".tox", ".venv", "__pycache__", "dist", "node_modules", "target"}
TELLING = (
    *("readme", "makefile", "pyproject.toml", "setup.py", "package.json", "go.mod", "cargo.toml"),
    *("pom.xml", "build.gradle", "cmakelists.txt", "dockerfile", "license", "contributing"),
)
MOST_FILES, MOST_BYTES, ROWS = 20_000, 2**20, 10


def files(root: Path) -> Iterator[Path]:
    """The files, less what tools leave behind; no link is followed."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def lines(path: Path) -> int:
    """How many lines of text a file has: none if it is binary or too large."""
    if path.stat().st_size > MOST_BYTES:
        return 0
    data = path.read_bytes()
    return 0 if b"\0" in data else data.count(b"\n")


def table(title: str, rows: list[tuple[str, int]]) -> None:
    """The largest of something, by lines."""
    print(f"\n## {title}")
    for name, count in rows[:ROWS]:
        print(f"{count:>8} lines  {name}")


def outline(root: Path) -> None:
    languages, folders, sources = Counter[str](), Counter[str](), Counter[str]()
    telling, number = list[str](), 0
    for number, path in enumerate(files(root), 1):
        if number > MOST_FILES:
            print(f"only the first {MOST_FILES} files were looked at")
            break
        short = path.relative_to(root)
        name, count = str(short), lines(path)
        languages[path.suffix or path.name] += count
        folders[short.parts[0] if len(short.parts) > 1 else "."] += count
        sources[name] += count
        if path.name.lower().startswith(TELLING) and len(short.parts) <= 2:  # noqa: PLR2004
            telling.append(name)
    print(f"# {root.name}: {number} files, {sum(sources.values())} lines")
    table("By kind", languages.most_common())
    table("By folder", folders.most_common())
    table("Largest files", sources.most_common())
    print("\n## Read first")
    print("\n".join(telling) or "nothing says how this is built")


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():  # noqa: PLR2004
        print("usage: outline.py FOLDER", file=sys.stderr)
        return 1
    outline(Path(sys.argv[1]).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
