"""What became of each claim, and where: what the reports are made of."""

from collections import Counter
from dataclasses import dataclass

from anchorhold.cli.prove.claims import Claim
from anchorhold.cli.prove.verdict import Outcome, Verdict


@dataclass(frozen=True)
class Result:
    """A claim and what became of it."""

    claim: Claim
    verdict: Verdict


@dataclass(frozen=True)
class Scene:
    """Where and when; and what a reader must know of it."""

    namespace: str
    isolation: str
    kubernetes: str
    image: str
    begun: str
    seconds: int
    flags: tuple[str, ...]


def counted(results: list[Result]) -> str:
    """For instance '20 PASS, 1 FAIL, 3 NOT TESTED'."""
    counts = Counter(result.verdict.outcome for result in results)
    return ", ".join(f"{counts[each]} {each.value}" for each in Outcome)


def clean(text: str) -> str:
    """Without what XML cannot hold, and what gives orders to a terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
