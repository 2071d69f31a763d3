"""The report as one page that needs nothing else, worth showing to an auditor."""

import html
from collections import Counter
from importlib import resources

from anchorhold.cli.prove.result import Result, Scene, clean
from anchorhold.cli.prove.verdict import Attempt, Outcome

LEAD = (
    "Each claim was attacked by hostile runs on this cluster. A claim passes only when every "
    "attempt was stopped, and when the same attempts succeeded without the fence."
)
ATTACKERS = "Whole attackers"
MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.NOT_TESTED: "○"}


def as_html(results: list[Result], scene: Scene) -> str:
    """One page that needs nothing else, worth showing to an auditor."""
    counts = Counter(result.verdict.outcome for result in results)
    sums = "".join(
        f'<div class="{css(each)}"><b>{counts[each]}</b>{each.value}</div>' for each in Outcome
    )
    facts = {
        "Namespace": scene.namespace,
        "Isolation": scene.isolation,
        "Kubernetes": scene.kubernetes,
        "Image of the probes": scene.image,
        "Begun": f"{scene.begun}, for {scene.seconds} s",
        "Allowed": ", ".join(scene.flags) or "nothing but runs",
    }
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts.items()
    )
    style = resources.files("anchorhold.cli.prove").joinpath("page.css").read_text("utf-8")
    found = sections(results, attackers=True)
    attackers = f"<h2>{ATTACKERS}</h2>{found}" if found else ""
    title = f"Anchorhold, proved in {escape(scene.namespace)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{style}</style></head><body><h1>{title}</h1>"
        f'<p class="lead">{LEAD}</p><div class="sum">{sums}</div><dl>{rows}</dl>'
        f"{sections(results, attackers=False)}{attackers}"
        "</body></html>\n"
    )


def sections(results: list[Result], *, attackers: bool) -> str:
    """Those of claims, or of attackers."""
    return "".join(section(each) for each in results if each.claim.is_attacker == attackers)


def section(result: Result) -> str:
    """One claim; what is not well is open."""
    claim, known = result.claim, result.verdict
    opened = "" if known.outcome == Outcome.PASS else " open"
    why = f'<p class="why">{escape(known.reason)}</p>' if known.reason else ""
    tiers = f"<p><b>Where it differs:</b> {escape(claim.tiers)}</p>" if claim.tiers else ""
    return (
        f'<details class="{css(known.outcome)}"{opened}><summary><code>{claim.id}</code>'
        f'<span>{escape(claim.sentence)}</span><span class="badge" style="flex:none">'
        f"{MARKS[known.outcome]} {known.outcome.value}</span></summary>"
        f'<div class="in">{why}<p>Made true by: {escape(claim.mechanism)}</p>'
        f"<p>Control: {escape(claim.control)}</p>{tiers}{attempts(known.attempts)}</div></details>"
    )


def attempts(made: tuple[Attempt, ...]) -> str:
    """What was tried, as a table."""
    if not made:
        return ""
    rows = "".join(
        f'<tr class="{grade(each)}"><td>{escape(each.what)}</td><td>{escape(each.expected)}</td>'
        f"<td>{escape(each.seen)}</td><td>{escape(each.without)}</td></tr>"
        for each in made
    )
    heads = "".join(
        f"<th>{head}</th>" for head in ("Tried", "Expected", "Seen", "Without the fence")
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def grade(attempt: Attempt) -> str:
    """How a row is coloured."""
    if not attempt.held:
        return "bad"
    return "" if attempt.shown else "weak"


def css(outcome: Outcome) -> str:
    """A class of the page."""
    return outcome.value.split()[0]


def escape(text: str) -> str:
    """What an agent said stays text."""
    return html.escape(clean(text))
