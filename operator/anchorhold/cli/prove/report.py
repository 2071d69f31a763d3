"""What was found, as a table, JSON, JUnit or one page of HTML."""

import html
import json
from collections import Counter
from dataclasses import asdict, dataclass
from xml.etree import ElementTree as XML

from rich.table import Table
from rich.text import Text

from anchorhold.cli.prove.claims import Claim
from anchorhold.cli.prove.runner import Result
from anchorhold.cli.prove.verdict import Attempt, Outcome, Verdict, exit_status

COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.NOT_TESTED: "yellow"}


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


def live(claims: tuple[Claim, ...], states: dict[str, Verdict | None]) -> Table:
    """The table while it grows."""
    found = Table(title="kubectl anchorhold prove", expand=True)
    for heading, ratio in (("id", 0), ("claim", 5), ("tried", 0), ("verdict", 0), ("seen", 4)):
        found.add_column(heading, ratio=ratio or None, no_wrap=not ratio)
    for claim in claims:
        found.add_row(claim.id, claim.sentence, *state(claim.id, states))
    return found


def state(name: str, states: dict[str, Verdict | None]) -> tuple[str, Text, str]:
    """How many attempts, the verdict, and in a few words why."""
    if name not in states:
        return "", Text("waits", style="dim"), ""
    known = states[name]
    if known is None:
        return "", Text("…", style="cyan"), ""
    word = Text(known.outcome.value, style=COLOURS[known.outcome])
    return str(len(known.attempts) or ""), word, known.reason or example(known.attempts)


def example(attempts: tuple[Attempt, ...]) -> str:
    """One attempt and its control, as a reminder of what a PASS is made of."""
    if not attempts:
        return ""
    first = attempts[0]
    return f"{first.what}: {first.seen} (without: {first.without})"


def as_json(results: list[Result], scene: Scene) -> str:
    """Everything, for programs."""
    document = {
        "scene": asdict(scene),
        "exitStatus": exit_status(result.verdict for result in results),
        "claims": [{**asdict(result.claim), **asdict(result.verdict)} for result in results],
    }
    return json.dumps(document, indent=2)


def as_junit(results: list[Result], scene: Scene) -> str:
    """For whatever shows tests: what could not be tested here is skipped, the rest is an error."""
    counts = Counter(result.verdict.outcome for result in results)
    suite = XML.Element(
        "testsuite",
        name="anchorhold prove",
        tests=str(len(results)),
        failures=str(counts[Outcome.FAIL]),
        skipped=str(counts[Outcome.NOT_TESTED]),
        time=str(scene.seconds),
        timestamp=scene.begun,
    )
    for result in results:
        name = f"{result.claim.id} {result.claim.sentence}"
        case = XML.SubElement(suite, "testcase", classname=scene.namespace, name=name)
        tag = {Outcome.FAIL: "failure", Outcome.NOT_TESTED: "skipped"}.get(result.verdict.outcome)
        if tag:
            XML.SubElement(case, tag, message=clean(result.verdict.reason))
        told = XML.SubElement(case, "system-out")
        told.text = clean("\n".join(map(line, result.verdict.attempts)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + XML.tostring(suite, encoding="unicode")


def line(attempt: Attempt) -> str:
    """One attempt as a line of text."""
    return (
        f"{attempt.what}: {attempt.seen} (expected: {attempt.expected}; without: {attempt.without})"
    )


def clean(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


STYLE = """
:root{--good:#1a7f37;--bad:#cf222e;--open:#9a6700;--line:#d0d7de;--soft:#f6f8fa;--text:#1f2328}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--text);margin:0 auto;
max-width:70rem;padding:2rem 1.25rem}h1{font-size:1.6rem;margin:0 0 .25rem}p{margin:.25rem 0}
.lead{color:#59636e}.sum{display:flex;gap:.75rem;margin:1.25rem 0;flex-wrap:wrap}
.sum div{flex:1;min-width:8rem;border:1px solid var(--line);border-radius:.5rem;padding:.6rem 1rem}
.sum b{display:block;font-size:1.7rem;line-height:1.2}dl{display:grid;grid-template-columns:max-content 1fr;
gap:.15rem 1.25rem;margin:1rem 0;padding:.75rem 1rem;background:var(--soft);border-radius:.5rem}
dt{color:#59636e}dd{margin:0;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-left-width:.3rem;border-radius:.4rem;margin:.5rem 0}
summary{display:flex;gap:.9rem;padding:.55rem .9rem;cursor:pointer;align-items:baseline}
summary code{color:#59636e}summary span{flex:1}.badge{font-weight:600;font-size:.82rem;white-space:nowrap}
.in{padding:.25rem .9rem .9rem}.why{margin:.25rem 0 .6rem;padding:.4rem .7rem;background:#fff8c5}
.PASS{border-left-color:var(--good)}.FAIL{border-left-color:var(--bad)}.NOT{border-left-color:var(--open)}
.PASS .badge,.PASS b{color:var(--good)}.FAIL .badge,.FAIL b{color:var(--bad)}.NOT .badge,.NOT b{color:var(--open)}
.FAIL .why{background:#ffebe9}table{width:100%;border-collapse:collapse;font-size:.87rem}
th{text-align:left;color:#59636e;font-weight:500}th,td{padding:.25rem .6rem .25rem 0;vertical-align:top;
border-top:1px solid var(--line);overflow-wrap:anywhere}tr.bad td{color:var(--bad)}tr.weak td{color:var(--open)}
@media print{details{break-inside:avoid}}
"""
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
    title = f"Anchorhold, proved in {escape(scene.namespace)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>"
        '<p class="lead">Each claim was attacked by hostile runs on this cluster. A claim passes only '
        "when every attempt was stopped, and when the same attempts succeeded without the fence.</p>"
        f'<div class="sum">{sums}</div><dl>{rows}</dl>{"".join(map(section, results))}</body></html>\n'
    )


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


FORMATS = {"json": as_json, "junit": as_junit, "html": as_html}
