"""Budgets of a run: of several the tightest holds, in each of its kinds."""

from collections.abc import Sequence

from anchorhold.api.egress import Budget

KINDS = ("requests", "bytes", "tokens")
UNLIMITED = Budget()


def tightest(budgets: Sequence[Budget]) -> Budget:
    """The smallest of each kind; a kind that none of them limits has no limit."""
    return Budget.parse({kind: smallest(budgets, kind) for kind in KINDS})


def smallest(budgets: Sequence[Budget], kind: str) -> int | None:
    """The smallest that is given."""
    given = (getattr(budget, kind) for budget in budgets)
    return min((amount for amount in given if amount is not None), default=None)
