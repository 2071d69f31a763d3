"""What `prove` concludes from what it sees, and that no sentence goes unproved."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree as ET

import pytest

from anchorhold.cli import api
from anchorhold.cli.prove import claims, page, props, report, runner
from anchorhold.cli.prove.attacks import greedy
from anchorhold.cli.prove.props import GaveUpError, NothingHereError
from anchorhold.cli.prove.result import Result, Scene, clean, counted
from anchorhold.cli.prove.verdict import (
    Attempt,
    Missing,
    Verdict,
    exit_status,
    judge,
    not_tested,
)

ROOT = Path(__file__).parents[2]
GOOD = Attempt("knock", "no answer", "timeout", "answered", held=True, shown=True)
THROUGH = replace(GOOD, seen="answered", held=False)
UNSHOWN = replace(GOOD, without="timeout", shown=False)
NOBODY = replace(UNSHOWN, optional=True)
PASSED = judge([GOOD])
FAILED = judge([THROUGH])


@pytest.mark.parametrize(
    ("attempts", "outcome", "reason"),
    [
        pytest.param([GOOD, GOOD], "PASS", "", id="all held, and the controls succeeded"),
        pytest.param([GOOD, NOBODY], "PASS", "", id="nobody is there to be reached"),
        pytest.param([GOOD, THROUGH], "FAIL", "got through: knock: answered", id="one got through"),
        pytest.param([UNSHOWN, THROUGH], "FAIL", "got through", id="through, without its control"),
        pytest.param(
            [replace(NOBODY, held=False)], "FAIL", "got through", id="through, though optional"
        ),
        pytest.param(
            [GOOD, UNSHOWN], "NOT TESTED", "the control failed: knock: timeout", id="one control"
        ),
        pytest.param([], "NOT TESTED", "nothing was tried", id="nothing"),
        pytest.param([NOBODY, NOBODY], "NOT TESTED", "nothing was tried", id="nobody anywhere"),
        pytest.param([THROUGH] * 5, "FAIL", "and 2 more", id="many"),
    ],
)
def test_a_verdict_is_no_kinder_than_what_was_seen(
    attempts: list[Attempt], outcome: str, reason: str
):
    found = judge(attempts)

    assert found.outcome == outcome
    assert reason in found.reason
    assert (found.missing is None) == (outcome != "NOT TESTED")


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([PASSED], 0),
        ([PASSED, not_tested("no gateway", Missing.HERE)], 0),
        ([PASSED, not_tested("not asked for")], 2),
        ([PASSED, judge([UNSHOWN])], 2),
        ([PASSED, FAILED], 1),
        ([FAILED, not_tested("not asked for")], 1),
        ([not_tested("no gateway", Missing.HERE)], 2),
        ([], 2),
    ],
)
def test_the_exit_status_is_0_only_if_all_that_can_be_tested_holds(
    verdicts: list[Verdict], status: int
):
    assert exit_status(verdicts) == status


# ---- the claims ------------------------------------------------------------------------------

ALL = claims.claims()


def test_every_claim_is_complete():
    numbered = [f"C{number:02}" for number in range(1, 32)]
    assert [claim.id for claim in ALL] == [*numbered, "A01", "A02", "A03"]
    for claim in ALL:
        assert claim.sentence.endswith(".")
        assert claim.mechanism.endswith(".")
        assert claim.control.endswith(".")
        assert set(claim.needs) <= set(claims.NEEDS)
        assert claim.guarantees


def test_every_attack_belongs_to_a_claim():
    assert set(runner.ATTACKS) <= {claim.id for claim in ALL}


def readme_rows() -> list[str]:
    """The sentences of the README's table of guarantees."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("| guarantee | shown by |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_no_guarantee_of_the_readme_is_without_a_claim_or_a_reason():
    beyond = tuple(row["row"] for row in claims.table()["beyond"])
    starts = (*(start for claim in ALL for start in claim.guarantees), *beyond)

    assert [row for row in readme_rows() if not row.startswith(starts)] == []


@pytest.mark.parametrize("claim", ALL, ids=[claim.id for claim in ALL])
def test_no_claim_is_without_a_guarantee_of_the_readme(claim: claims.Claim):
    rows = readme_rows()

    assert [start for start in claim.guarantees if not any(map_starts(rows, start))] == []


def map_starts(rows: list[str], start: str) -> list[bool]:
    return [row.startswith(start) for row in rows]


def test_what_no_run_can_show_is_a_guarantee_with_a_reason():
    rows = readme_rows()
    for row in claims.table()["beyond"]:
        assert any(map_starts(rows, row["row"])), row
        assert row["why"]


LIST = re.compile(r"<!-- claims -->\n.*?<!-- /claims -->", re.DOTALL)


def test_security_md_lists_every_claim(pytestconfig: pytest.Config):
    path = ROOT / "SECURITY.md"
    lines = "".join(f"- **{claim.id}** {' '.join(claim.sentence.split())}\n" for claim in ALL)
    expected = f"<!-- claims -->\n{lines}<!-- /claims -->"
    if pytestconfig.getoption("--update-golden"):
        text = path.read_text(encoding="utf-8")
        path.write_text(LIST.sub(lambda _: expected, text), encoding="utf-8")

    shown = LIST.findall(path.read_text(encoding="utf-8"))

    assert shown == [expected], "SECURITY.md must list the claims: pytest --update-golden"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("C09,C16", ["C09", "C16"]), (" c01 ,", ["C01"]), ("a01", ["A01"]), ("", [c.id for c in ALL])],
)
def test_claims_can_be_chosen(text: str, expected: list[str]):
    assert [claim.id for claim in claims.chosen(text)] == expected


def test_a_claim_that_does_not_exist_cannot_be_chosen():
    with pytest.raises(ValueError, match=r"'C99' must be one of C01, .*, C31, A01"):
        claims.chosen("C01,C99")


# ---- the runner ------------------------------------------------------------------------------


class Stage:
    """As much of a stage as the runner looks at."""

    given: frozenset[str] = frozenset()
    policy: ClassVar = {"limits": {"activeRuns": 5}}
    stopping = threading.Event()


CLAIM = replace(ALL[0], needs=())


def raises(error: Exception) -> runner.Attack:
    def attack(_: object) -> list[Attempt]:
        raise error

    return attack


@pytest.mark.parametrize(
    ("attack", "outcome", "reason"),
    [
        (lambda _: [GOOD], "PASS", ""),
        (lambda _: [THROUGH], "FAIL", "got through"),
        (lambda _: [], "NOT TESTED", "leaves nothing to be tried"),
        (None, "NOT TESTED", "not built"),
        (raises(GaveUpError("waited in vain")), "NOT TESTED", "waited in vain"),
        (raises(api.RefusedError("forbidden")), "NOT TESTED", "forbidden"),
        (raises(api.UnreachableError("gone")), "NOT TESTED", "gone"),
        (raises(KeyError("users")), "NOT TESTED", "makes no sense: KeyError('users')"),
    ],
)
def test_whatever_goes_wrong_leaves_a_claim_untested(
    attack: runner.Attack | None, outcome: str, reason: str
):
    found = runner.test(CLAIM, Stage(), *filter(None, [attack]))  # type: ignore[arg-type]

    assert found.outcome == outcome
    assert reason in found.reason


def test_what_this_cluster_has_not_leaves_a_claim_untested_and_is_nobodys_fault():
    def attack(_: object) -> Iterator[Attempt]:
        yield GOOD
        raise NothingHereError("no such rule")

    def worse(_: object) -> Iterator[Attempt]:
        yield THROUGH
        raise NothingHereError("no such rule")

    found = runner.test(CLAIM, Stage(), attack)  # type: ignore[arg-type]

    assert (found.outcome, found.reason) == ("NOT TESTED", "no such rule")
    assert (found.attempts, found.missing) == ((GOOD,), Missing.HERE)
    assert runner.test(CLAIM, Stage(), worse).outcome == "FAIL"  # type: ignore[arg-type]


@pytest.mark.parametrize("need", claims.NEEDS)
def test_what_a_claim_needs_must_be_given(need: str):
    claim = replace(CLAIM, needs=(need,))

    without = runner.test(claim, Stage(), lambda _: [GOOD])  # type: ignore[arg-type]
    stage = Stage()
    stage.given = frozenset({need})
    given = runner.test(claim, stage, lambda _: [GOOD])  # type: ignore[arg-type]

    assert (without.outcome, without.reason) == ("NOT TESTED", claims.NEEDS[need][0])
    assert given.outcome == "PASS"


def test_all_claims_are_reported_in_order_whatever_is_tested_when(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner, "ATTACKS", {"C02": lambda _: [GOOD], "C15": lambda _: [THROUGH]})
    chosen = tuple(replace(claim, needs=()) for claim in claims.chosen("C01,C02,C15"))
    shown: list[str] = []

    found = runner.run(chosen, Stage(), lambda claim, _: shown.append(claim.id))  # type: ignore[arg-type]

    assert [each.claim.id for each in found] == ["C01", "C02", "C15"]
    assert [each.verdict.outcome for each in found] == ["NOT TESTED", "PASS", "FAIL"]
    assert sorted(shown) == ["C01", "C01", "C02", "C02", "C15", "C15"]


def test_after_an_interruption_nothing_more_is_tested():
    stage = Stage()
    stage.stopping = threading.Event()
    stage.stopping.set()

    (found,) = runner.run([CLAIM], stage, lambda *_: None)  # type: ignore[arg-type]

    assert (found.verdict.outcome, found.verdict.reason) == ("NOT TESTED", "interrupted")


# ---- reports ---------------------------------------------------------------------------------

SCENE = Scene(
    "team-a", "UserNamespace", "v1.37.2", "example.com/x", "2026-01-01", 42, ("unfenced",)
)
EVIL = "<script>alert(1)</script>\x1b[2J\x00"
RESULTS = [
    Result(ALL[0], judge([replace(GOOD, seen=EVIL)])),
    Result(ALL[6], judge([replace(THROUGH, seen=EVIL)])),
    Result(ALL[8], judge([UNSHOWN])),
    Result(ALL[9], not_tested("there is no gateway here", Missing.HERE)),
]


def test_the_page_is_whole_and_what_an_agent_said_stays_text():
    text = page.as_html(RESULTS, SCENE)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    assert not re.findall(r'(?:src|href)="', text), "a single file"
    for result in RESULTS:
        assert result.claim.id in text
    assert text.count("<details") == len(RESULTS)
    assert text.count(" open>") == 3
    assert text.count('class="bad"') == 1
    assert text.count('class="weak"') == 1
    for tag in ("details", "table", "div", "dl", "body", "html"):
        assert text.count(f"<{tag}") == text.count(f"</{tag}>"), tag


def test_attackers_come_after_the_claims_under_a_heading_of_their_own():
    text = page.as_html([*RESULTS, Result(ALL[-1], PASSED)], SCENE)

    order = [text.index(word) for word in ("<code>C10<", page.ATTACKERS, "<code>A03<")]
    assert order == sorted(order)
    assert page.ATTACKERS not in page.as_html(RESULTS, SCENE), "no heading of nothing"
    assert report.live(claims.chosen("C01,A02,A03"), {}).row_count == 4
    assert report.live(claims.chosen("C01"), {}).row_count == 1


def test_junit_counts_and_can_be_read():
    (suite,) = [ET.fromstring(report.as_junit(RESULTS, SCENE))]  # noqa: S314  # our own

    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    assert len(suite.findall("testcase/failure")) == 1
    assert len(suite.findall("testcase/skipped")) == 2


def test_json_holds_everything():
    found = report.json.loads(report.as_json(RESULTS, SCENE))

    assert found["exitStatus"] == 1
    assert found["claims"][1]["attempts"][0]["seen"] == EVIL
    assert [each["outcome"] for each in found["claims"]] == ["PASS", "FAIL"] + ["NOT TESTED"] * 2


def test_the_table_shows_each_claim_in_every_state():
    states: dict[str, Verdict | None] = {each.claim.id: each.verdict for each in RESULTS}
    states[ALL[1].id] = None

    table = report.live(ALL, states)

    assert table.row_count == len(ALL) + 1, "and the heading of the attackers"
    assert report.example(()) == ""
    assert counted(RESULTS) == "1 PASS, 1 FAIL, 2 NOT TESTED"
    assert clean("a\x1b\tb\n") == "a\tb\n"


# ---- how cells are counted -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([("00:01", "00:07"), ("00:02", "00:08")], 2),
        ([("00:01", "00:07"), ("00:07", "00:13")], 1),
        ([("00:01", "00:07"), ("00:06", "00:13"), ("00:07", "00:13")], 2),
    ],
)
def test_cells_live_at_a_time_whose_lives_overlap(spans: list[tuple[str, str]], most: int):
    assert greedy.most_at_once(spans) == most


# ---- what is put up --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "probe",
    [
        "look",
        "calls",
        "write",
        "reach",
        "persist",
        "greedy",
        "follow",
        "escape",
        "hear",
        "ask",
        "listen",
    ],
)
def test_a_probe_is_one_program_that_fits_a_task(probe: str):
    text = props.program(probe, {"word": 'it\'s "quoted"\n', "number": 1})

    compile(text, probe, "exec")
    assert len(text.encode()) < 65_536


def test_a_run_takes_little_and_no_more_than_its_policy_allows():
    small = {"cpu": "50m", "memory": "32Mi"}

    assert props.smaller({"cpu": "2", "memory": "4Gi"}) == props.SMALL
    assert props.smaller(small) == small


@pytest.mark.parametrize("told", ["", "{", "\\x1b", "[1,"])
def test_a_probe_that_tells_nonsense_tells_nothing(told: str):
    with pytest.raises(GaveUpError, match="told nothing that can be read"):
        props.read_json(told)
