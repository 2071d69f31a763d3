"""What a claim is worth after the attempts: pure, and never kinder than what was seen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The verdict on one claim."""

    PASS = "PASS"  # noqa: S105  # a word
    FAIL = "FAIL"
    NOT_TESTED = "NOT TESTED"


class Missing(StrEnum):
    """Why a claim was not tested: whether this cluster could have done better."""

    HERE = "cannot be tested on this cluster"
    SKIPPED = "could have been tested"


@dataclass(frozen=True)
class Attempt:
    """One attack, and the same without the fence.

    `held` says that the fence did its work; `shown` that its absence would have been noticed.
    An `optional` one counts for nothing where there is nobody to be reached at all.
    """

    what: str
    expected: str
    seen: str
    without: str
    held: bool
    shown: bool
    optional: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is known of one claim."""

    outcome: Outcome
    reason: str
    attempts: tuple[Attempt, ...] = ()
    missing: Missing | None = None


def not_tested(reason: str, missing: Missing = Missing.SKIPPED) -> Verdict:
    """Nothing is known."""
    return Verdict(Outcome.NOT_TESTED, reason, (), missing)


def judge(attempts: Iterable[Attempt]) -> Verdict:
    """One that got through fails the claim; one whose control failed leaves it untested."""
    made = tuple(attempts)
    through = [attempt for attempt in made if not attempt.held]
    if through:
        return Verdict(Outcome.FAIL, f"got through: {listed(through)}", made)
    counted = [attempt for attempt in made if attempt.shown or not attempt.optional]
    if not counted:
        return Verdict(Outcome.NOT_TESTED, "nothing was tried", made, Missing.SKIPPED)
    unshown = [attempt for attempt in counted if not attempt.shown]
    if unshown:
        reason = f"the control failed: {listed(unshown)}"
        return Verdict(Outcome.NOT_TESTED, reason, made, Missing.SKIPPED)
    return Verdict(Outcome.PASS, "", made)


def listed(attempts: Sequence[Attempt]) -> str:
    """The first few, in words."""
    named = [f"{each.what}: {each.seen if not each.held else each.without}" for each in attempts]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""  # noqa: PLR2004  # a few
    return "; ".join(named[:3]) + more


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """0: all that this cluster can test holds. 1: something is broken. 2: something was skipped."""
    known = list(verdicts)
    if any(each.outcome == Outcome.FAIL for each in known):
        return 1
    skipped = any(each.missing == Missing.SKIPPED for each in known)
    passed = any(each.outcome == Outcome.PASS for each in known)
    return 0 if passed and not skipped else 2
