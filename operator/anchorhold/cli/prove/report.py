"""What was found, as a table, JSON or JUnit; the page has a module of its own."""

import json
from collections import Counter
from dataclasses import asdict
from xml.etree import ElementTree as ET

from rich.table import Table
from rich.text import Text

from anchorhold.cli.prove import page
from anchorhold.cli.prove.claims import Claim
from anchorhold.cli.prove.result import Result, Scene, clean
from anchorhold.cli.prove.verdict import Attempt, Outcome, Verdict, exit_status

COLOURS = {Outcome.PASS: "green", Outcome.FAIL: "bold red", Outcome.NOT_TESTED: "yellow"}


def live(claims: tuple[Claim, ...], states: dict[str, Verdict | None]) -> Table:
    """The table while it grows."""
    found = Table(title="kubectl anchorhold prove", expand=True)
    for heading, ratio in (("id", 0), ("claim", 5), ("tried", 0), ("verdict", 0), ("seen", 4)):
        found.add_column(heading, ratio=ratio or None, no_wrap=not ratio)
    attackers = [claim for claim in claims if claim.is_attacker]
    for claim in claims:
        if attackers and claim == attackers[0]:
            found.add_section()
            found.add_row("", page.ATTACKERS, style="bold")
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
    return f"{first.what}: {first.seen}"[:120]


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
    suite = ET.Element(
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
        case = ET.SubElement(suite, "testcase", classname=scene.namespace, name=name)
        tag = {Outcome.FAIL: "failure", Outcome.NOT_TESTED: "skipped"}.get(result.verdict.outcome)
        if tag:
            ET.SubElement(case, tag, message=clean(result.verdict.reason))
        told = ET.SubElement(case, "system-out")
        told.text = clean("\n".join(map(line, result.verdict.attempts)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suite, encoding="unicode")


def line(attempt: Attempt) -> str:
    """One attempt as a line of text."""
    return (
        f"{attempt.what}: {attempt.seen} (expected: {attempt.expected}; without: {attempt.without})"
    )


FORMATS = {"json": as_json, "junit": as_junit, "html": page.as_html}
