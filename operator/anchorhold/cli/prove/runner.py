"""Tests each claim in its turn: some at once, and alone what disturbs the others."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from anchorhold.cli import api
from anchorhold.cli.prove import verdict
from anchorhold.cli.prove.attacks import (
    asked,
    attackers,
    borrowed,
    doors,
    elsewhere,
    greedy,
    inside,
    lying,
    reaching,
    stopped,
    window,
    written,
)
from anchorhold.cli.prove.claims import Claim
from anchorhold.cli.prove.props import GaveUpError, NothingHereError
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


def test(claim: Claim, stage: Stage, attack: Attack | None) -> Verdict:
    """Attack one claim. Whatever goes wrong on the way leaves it untested."""
    if attack is None:
        return verdict.not_tested("not built")
    lacking = claim.lacking(stage.given)
    if lacking:
        return verdict.not_tested(*lacking)
    attempts: list[Attempt] = []
    try:
        attempts.extend(attack(stage))
    except NothingHereError as error:
        return unfinished(attempts, str(error), Missing.HERE)
    except (GaveUpError, api.RefusedError, api.UnreachableError) as error:
        return unfinished(attempts, str(error))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        # A probe's word is data, and may be anything.
        return unfinished(attempts, f"what was told makes no sense: {error!r}")
    return verdict.judge(attempts) if attempts else verdict.not_tested(NOTHING, Missing.HERE)


def unfinished(attempts: list[Attempt], reason: str, missing: Missing = Missing.SKIPPED) -> Verdict:
    """What got through before an error still got through; what held says nothing of the rest."""
    found = verdict.judge(attempts)
    if found.outcome == Outcome.FAIL:
        return found
    return Verdict(Outcome.NOT_TESTED, reason, tuple(attempts), missing)


def run(chosen: Iterable[Claim], stage: Stage, show: Show) -> list[Result]:
    """All of them; `show` is told when one begins and what became of it."""
    claims = list(chosen)
    alone = [claim for claim in claims if is_alone(claim)]
    found: dict[str, Verdict] = {}

    def one(claim: Claim) -> None:
        if stage.stopping.is_set():
            return
        show(claim, None)
        found[claim.id] = test(claim, stage, ATTACKS.get(claim.id))
        show(claim, found[claim.id])

    try:
        together(one, [claim for claim in claims if claim not in alone], stage)
        for claim in alone:
            one(claim)
    except KeyboardInterrupt:
        stage.stopping.set()
    interrupted = verdict.not_tested("interrupted")
    return [Result(claim, found.get(claim.id, interrupted)) for claim in claims]


def is_alone(claim: Claim) -> bool:
    """Whether nothing else may be tested meanwhile."""
    return claim.id in {*greedy.ALONE, *stopped.ATTACKS, *lying.ATTACKS}


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
