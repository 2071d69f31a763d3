"""Attacks with the controller's own token: on what it has no right to, and by lies in a status."""

from anchorhold.api.egress import EgressRule
from anchorhold.cli.api import Document
from anchorhold.cli.prove.attacks import asking
from anchorhold.cli.prove.attacks.asked import DRY, refused
from anchorhold.cli.prove.attacks.borrowed import controller, rights
from anchorhold.cli.prove.attacks.unled import Part
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy.egress import of_rule

# A lie about a budget, and how many requests the run that it is about has in truth: enough for
# some to pass before the controller is stopped, and after.
MUCH, LIED_ABOUT = {"requests": 1_000_000}, 60
NOT_LISTED = "403 host-not-allowed"


def c26(stage: Stage) -> list[Attempt]:
    """What a stolen token of the controller's is not good for."""
    return rights(stage, controller(stage))


def lies(stage: Stage) -> Part:
    """What its word is not good for: a status grants a cell another rule and a budget.

    The controller would put right what it finds in a status.
    """
    if "gateway" not in stage.given:
        return []
    them = controller(stage)
    rule = asking.own(stage)
    other = next((r for r in asking.rules(stage) if r["host"] != rule["host"]), None)
    both = [each for each in (rule, other) if each]
    most = asking.least(stage, LIED_ABOUT)
    mine = {**asking.egress(rule["name"]), "budget": {"requests": most}}
    run = asking.asks_on(stage, "lied-about", *map(asking.allowed, both), **mine)
    asking.heard(stage, run, bool)
    yield
    told = them.ask("PATCH", f"{stage.runs(run)}/status", {"status": {"effective": {
        "rules": [granted(each) for each in both], "budget": MUCH}}})  # fmt: skip
    used = them.ask("PATCH", f"{stage.runs(run)}/status", {"status": {"usage": MUCH}}, DRY)
    before = len(asking.heard(stage, run, bool))
    lines = asking.heard(stage, run, lambda lines: any(asking.SPENT in each for each in lines))
    kept = stage.get(run)["status"].get("effective", {}).get("budget") == MUCH
    stage.cluster.delete(stage.runs(run))
    there = kept and not told.refusal
    return [*judged(lines, before, most, told=there), refused("write what it used", used, told)]


def granted(rule: Document) -> Document:
    """A rule as a status says that it was granted."""
    return {"name": rule["name"], "digest": of_rule(EgressRule.parse(rule))}


def judged(lines: list[str], before: int, most: int, *, told: bool) -> list[Attempt]:
    """What came of the lie, which was `told` if it was still there to be read afterwards."""
    rows = [line.split(", ") for line in lines]
    passing = sum(" " not in row[0] for row in rows)
    others = [row[1] for row in rows[before:] if row[1:]]
    through = next((said for said in others if said != NOT_LISTED), "")
    shown = told and any(" " not in row[0] for row in rows[before:])
    without = "the lie is in the status, and its own rule passes" if shown else "no lie was told"
    spent = f"{passing} passed of {most}, then {rows[-1][0] if rows else '-'}"
    bounded = passing <= most and bool(rows) and rows[-1][0] == asking.SPENT
    found = [Attempt("use what only a lie adds to its budget", f"{most} passed of {most}, then "
                     f"{asking.SPENT}", spent, without, bounded, shown)]  # fmt: skip
    if not others:
        return found
    what = "reach a rule that only a lie grants"
    said = through or others[-1]
    return [Attempt(what, NOT_LISTED, said, without, not through, shown), *found]


ATTACKS = {"C26": c26}
