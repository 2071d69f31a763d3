"""Surveys a source tree and reports on it: an example agent that needs no model and no network.

It reads `/inputs/source`, prints the whole survey as its log, and returns a summary of at most
4096 bytes as its result, whatever the tree holds.
"""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(os.environ.get("SURVEY_SOURCE", "/inputs/source"))
TASK = Path(os.environ.get("SURVEY_TASK", "/run/anchorhold/task"))
RESULT = Path(os.environ["ANCHORHOLD_RESULT"])
RESULT_BYTES = 4096
LISTED = 5
MARKS = ("TODO", "FIXME", "XXX")


@dataclass(frozen=True)
class File:
    """One file of the tree, as far as it could be read as text."""

    path: str
    size: int
    lines: tuple[str, ...]

    @property
    def language(self) -> str:
        """The file's ending, which is what it claims to be."""
        return plain(Path(self.path).suffix.lstrip(".").lower()[:16]) or "(none)"


@dataclass(frozen=True)
class Function:
    """One Python function: where it is and how long."""

    place: str
    lines: int
    documented: bool


def files(root: Path) -> Iterator[File]:
    """Every regular file below the root; no link is followed out of it."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            text = content.decode("utf-8", "replace") if b"\0" not in content else ""
            yield File(str(path.relative_to(root)), len(content), tuple(text.splitlines()))


def functions(file: File) -> Iterator[Function]:
    """The functions of a Python file; none if it does not parse."""
    try:
        tree = ast.parse("\n".join(file.lines))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            place = f"{file.path}:{node.lineno} {node.name}"
            yield Function(place, length, ast.get_docstring(node) is not None)


def survey(tree: list[File]) -> dict[str, object]:
    """What there is: sizes, languages, the longest pieces, and what was left to do."""
    found = [function for file in tree if file.language == "py" for function in functions(file)]
    lines: Counter[str] = Counter()
    for file in tree:
        lines[file.language] += len(file.lines)
    lengths = sorted(function.lines for function in found)
    return {
        "files": len(tree),
        "bytes": sum(file.size for file in tree),
        "lines": sum(lines.values()),
        "linesByLanguage": dict(lines.most_common(LISTED)),
        "pythonFunctions": len(found),
        "medianFunctionLines": lengths[len(lengths) // 2] if lengths else 0,
        "undocumentedFunctions": sum(not function.documented for function in found),
        "longestFiles": longest([(file.path, len(file.lines)) for file in tree]),
        "longestFunctions": longest([(function.place, function.lines) for function in found]),
        "openMarks": sum(any(mark in line for mark in MARKS) for f in tree for line in f.lines),
    }


def longest(pieces: list[tuple[str, int]]) -> list[dict[str, object]]:
    """The longest few, by lines; names are cut: a hostile tree may have long ones."""
    ranked = sorted(pieces, key=lambda piece: -piece[1])[:LISTED]
    return [{"name": plain(name[-96:]), "lines": count} for name, count in ranked]


def plain(text: str) -> str:
    """One byte a character, so that the report's size is bounded by its design."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def main() -> None:
    """Survey the tree: everything to the log, the summary to the result."""
    task = TASK.read_text(encoding="utf-8").strip()
    print(f"task: {task}")
    tree = list(files(SOURCE))
    for file in tree:
        print(f"{len(file.lines):7} lines {file.size:9} bytes  {file.path!r}")
    text = json.dumps({"task": plain(task[:200]), **survey(tree)}, indent=1)
    print(text)
    if len(text.encode()) > RESULT_BYTES:
        raise SystemExit(f"the report has more than {RESULT_BYTES} bytes: mend the report")
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
