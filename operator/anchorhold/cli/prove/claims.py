"""The claims, as `claims.yaml` has them, and what each of them needs."""

from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from anchorhold.cli.prove.verdict import Missing

# What a claim may need, and what to say where it is not given.
NEEDS: dict[str, tuple[str, Missing]] = {
    "unfenced": ("needs an unfenced Pod for its control: --allow-unfenced", Missing.SKIPPED),
    "disruptive": (
        "stops the controller or changes the policy for a moment: --disruptive",
        Missing.SKIPPED,
    ),
    "destructive": (
        "the node has no PID limit, and may suffer: --destructive",
        Missing.SKIPPED,
    ),
    "enforcer": (
        "needs a way to stop what enforces NetworkPolicies: --enforcer-off and --enforcer-on",
        Missing.SKIPPED,
    ),
    "gateway": ("there is no gateway here", Missing.HERE),
}


@dataclass(frozen=True)
class Claim:
    """One sentence that is claimed, and how it is attacked."""

    id: str
    sentence: str
    mechanism: str
    control: str
    needs: tuple[str, ...]
    guarantees: tuple[str, ...]
    tiers: str = ""

    @property
    def is_attacker(self) -> bool:
        """Whether it is about a whole attacker, and not about one thing."""
        return self.id.startswith("A")

    def lacking(self, given: frozenset[str]) -> tuple[str, Missing] | None:
        """Why it cannot be tested with what is given, if so."""
        return next((NEEDS[need] for need in self.needs if need not in given), None)


def table() -> dict[str, Any]:
    """The whole of `claims.yaml`."""
    text = resources.files("anchorhold.cli.prove").joinpath("claims.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def claims() -> tuple[Claim, ...]:
    """Every claim, in order."""
    return tuple(
        Claim(
            **{
                **row,
                "needs": tuple(row.get("needs", ())),
                "guarantees": tuple(row["guarantees"]),
            }
        )
        for row in table()["claims"]
    )


def chosen(text: str) -> tuple[Claim, ...]:
    """Those of a list such as 'C09,C16'; all for an empty one. Raises ValueError."""
    known = {claim.id: claim for claim in claims()}
    asked = [word.strip().upper() for word in text.split(",") if word.strip()]
    unknown = [word for word in asked if word not in known]
    if unknown:
        raise ValueError(f"'{unknown[0]}' must be one of {', '.join(known)}")
    return tuple(claim for claim in known.values() if not asked or claim.id in asked)
