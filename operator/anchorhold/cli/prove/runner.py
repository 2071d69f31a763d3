"""Tests each claim in its turn: some at once, and alone what disturbs the others."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from anchorhold.cli.prove import verdict
from anchorhold.cli.prove.attacks import (
    asked,
    attackers,
    borrowed,
    doors,
    elsewhere,
    given,
    greedy,
    inside,
    lying,
    reaching,
    stopped,
    unled,
    window,
    written,
)
from anchorhold.cli.prove.claims import Claim
from anchorhold.cli.prove.props import NothingHereError
from anchorhold.cli.prove.result import Result
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt, Missing, Outcome, Verdict

Attack = Callable[[Stage], Iterable[Attempt]]
Show = Callable[[Claim, Verdict | None], None]
ATTACKS: dict[str, Attack] = {
    **inside.ATTACKS,
    **reaching.ATTACKS,
    **asked.ATTACKS,
    **borrowed.ATTACKS,
    **lying.ATTACKS,
    **given.ATTACKS,
    **doors.ATTACKS,
    **greedy.ATTACKS,
    **stopped.ATTACKS,
    **elsewhere.ATTACKS,
    **window.ATTACKS,
    **written.ATTACKS,
    **attackers.ATTACKS,
}
NOTHING = "the policy of this namespace leaves nothing to be tried"
# At most; and no more than half of the runs that may live at a time, as some attacks take two.
AT_ONCE = 4


def test(claim: Claim, stage: Stage, *attacks: Attack) -> Verdict:
    """Attack one claim. Whatever goes wrong on the way leaves it untested."""
    lacking = claim.lacking(stage.given)
    if lacking:
        return verdict.not_tested(*lacking)
    if not attacks:
        return verdict.not_tested("not built")
    attempts: list[Attempt] = []
    try:
        for attack in attacks:
            attempts.extend(attack(stage))
    except unled.FAULTS as error:
        return unfinished(attempts, error)
    return verdict.judge(attempts) if attempts else verdict.not_tested(NOTHING, Missing.HERE)


def unfinished(attempts: list[Attempt], error: Exception) -> Verdict:
    """What got through before an error still got through; what held says nothing of the rest."""
    found = verdict.judge(attempts)
    if found.outcome == Outcome.FAIL:
        return found
    missing = Missing.HERE if isinstance(error, NothingHereError) else Missing.SKIPPED
    senseless = isinstance(error, unled.SENSELESS)
    reason = f"what was told makes no sense: {error!r}" if senseless else str(error)
    return Verdict(Outcome.NOT_TESTED, reason, tuple(attempts), missing)


def run(chosen: Iterable[Claim], stage: Stage, show: Show) -> list[Result]:
    """All of them; `show` is told when one begins and what became of it."""
    claims = list(chosen)
    found: dict[str, Verdict] = {}

    parts: dict[str, Attack] = {}

    def one(claim: Claim) -> None:
        if not stage.stopping.is_set():
            show(claim, None)
            attacks = [each[claim.id] for each in (ATTACKS, parts) if claim.id in each]
            found[claim.id] = test(claim, stage, *attacks)
            show(claim, found[claim.id])

    try:
        parts |= without_controller(claims, stage, show)
        together(one, in_company(claims), stage)
        for claim in filter(is_alone, claims):
            one(claim)
    except KeyboardInterrupt:
        stage.stopping.set()
    interrupted = verdict.not_tested("interrupted")
    return [Result(claim, found.get(claim.id, interrupted)) for claim in claims]


def without_controller(claims: list[Claim], stage: Stage, show: Show) -> dict[str, Attack]:
    """What came of all that needs no controller, by claim: told again as if it were tried then."""
    if "disruptive" not in stage.given:
        return {}
    asked = {claim.id: claim for claim in claims}
    groups = [{n: part for n, part in g.items() if n in asked} for g in stopped.UNLED]
    for name in (name for group in groups for name in group):
        show(asked[name], None)
    known = unled.outcomes(stage, list(filter(None, groups))) if any(groups) else {}
    return {name: told(outcome) for name, outcome in known.items()}


def told(outcome: unled.Outcome) -> Attack:
    """What came of an attack, as an attack."""

    def again(_: Stage) -> list[Attempt]:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return again


def is_alone(claim: Claim) -> bool:
    """Whether nothing else may be tested meanwhile."""
    return claim.id in {*greedy.ALONE, *stopped.ATTACKS}


def in_company(claims: list[Claim]) -> list[Claim]:
    """The others; attackers first, who take long."""
    company = [claim for claim in claims if not is_alone(claim)]
    return sorted(company, key=lambda claim: not claim.is_attacker)


def together(one: Callable[[Claim], None], claims: list[Claim], stage: Stage) -> None:
    """Some at once. Whoever interrupts stops those that wait first."""
    cap = stage.policy["limits"]["activeRuns"]
    with ThreadPoolExecutor(max(1, min(AT_ONCE, cap // 2))) as pool:
        begun = [pool.submit(one, claim) for claim in claims]
        try:
            wait(begun)
        except KeyboardInterrupt:
            stage.stopping.set()
            raise
    for each in begun:
        each.result()
