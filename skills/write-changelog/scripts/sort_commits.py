"""Sorts commit subjects into the sections of Keep a Changelog: `sort_commits.py < SUBJECTS`.

It knows the prefixes of Conventional Commits and, failing those, the verb at a subject's beginning.
"""

import re
import sys
from collections.abc import Iterable

SECTIONS = (
    "Breaking",
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
    "To judge",
)
PREFIXES = {
    "feat": "Added",
    "fix": "Fixed",
    "perf": "Changed",
    "revert": "Removed",
    "security": "Security",
}
UNNOTICED = {"build", "chore", "ci", "docs", "refactor", "style", "test"}
VERBS = {
    "Added": "add adds added introduce introduces support supports allow allows",
    "Changed": "change changes changed rename renames update updates improve improves make makes",
    "Deprecated": "deprecate deprecates deprecated",
    "Removed": "remove removes removed drop drops delete deletes",
    "Fixed": "fix fixes fixed correct corrects repair repairs",
    "Security": "harden hardens",
}
SUBJECT = re.compile(r"(?:(?P<hash>[0-9a-f]{7,40})\s+)?(?P<text>.+)")
CONVENTIONAL = re.compile(
    r"(?P<kind>[a-z]+)(?:\((?P<scope>[^)]*)\))?(?P<breaking>!)?:\s+(?P<text>.+)"
)


def sort(subjects: Iterable[str]) -> dict[str, list[str]]:
    """Section -> lines, each line once, in the order of the subjects."""
    found: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for subject in subjects:
        placed = SUBJECT.fullmatch(subject.strip())
        if placed is None:
            continue
        section, text = place(placed["text"])
        line = f"- {text[0].upper()}{text[1:]}" + (f" ({placed['hash']})" if placed["hash"] else "")
        if section and line not in found[section]:
            found[section].append(line)
    return found


def place(subject: str) -> tuple[str | None, str]:
    """The section of a subject, None if users notice nothing, and its text."""
    parts = CONVENTIONAL.fullmatch(subject)
    if parts is None:
        verb = subject.split(maxsplit=1)[0].lower()
        known = (section for section, verbs in VERBS.items() if verb in verbs.split())
        return next(known, "To judge"), subject
    text = f"{parts['scope']}: {parts['text']}" if parts["scope"] else parts["text"]
    if parts["breaking"]:
        return "Breaking", text
    return None if parts["kind"] in UNNOTICED else PREFIXES.get(parts["kind"], "To judge"), text


def main() -> int:
    found = sort(sys.stdin)
    for section, lines in found.items():
        if lines:
            print(f"### {section}\n\n" + "\n".join(lines) + "\n")
    return 0 if any(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
