"""What was tried against a cell's walls on the real cluster, for the table at the end.

A denial shows nothing unless the same attempt succeeds where the control is not: that is the last
column, and a test must have seen it, like everything else that it records.
"""

from dataclasses import dataclass, field
from itertools import groupby

HEADINGS = ("tried", "from", "what happened", "without the control")


@dataclass(frozen=True)
class Attempts:
    """A table, in the order in which tests recorded their attempts."""

    rows: dict[str, list[tuple[str, str, str, str]]] = field(default_factory=dict)

    def record(self, control: str, tried: str, where: str, seen: str, without: str) -> None:
        """Note one attempt, under the control that is to stop it."""
        self.rows.setdefault(control, []).append((tried, where, seen, without))

    def lines(self) -> list[str]:
        """The whole table as Markdown, one section a control."""
        found: list[str] = []
        for control, rows in sorted(self.rows.items()):
            found += ["", f"### {control}", "", row(HEADINGS), row(("---",) * len(HEADINGS))]
            found += [row(cells) for cells, _ in groupby(rows)]
        return found


def row(cells: tuple[str, ...]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
