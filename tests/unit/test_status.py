"""Statuses: conditions whose times move only with their status, and text that is only text."""

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorhold.api.status import ConditionType, Reason
from anchorhold.controller import status
from anchorhold.policy import digest
from factories import NOW, NOW_TEXT

ANY_TEXT = st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Zs"]))


@pytest.mark.parametrize(
    ("reason", "accepted", "words"),
    [
        pytest.param(Reason.PENDING, "Unknown", ["Unknown", "Unknown", "False", "False"], id="new"),
        pytest.param(Reason.QUEUED, "True", ["True", "Unknown", "False", "False"], id="waiting"),
        pytest.param(Reason.RUNNING, "True", ["True", "Unknown", "False", "False"], id="running"),
        pytest.param(Reason.COMPLETED, "True", ["True", "True", "True", "False"], id="completed"),
        pytest.param(Reason.AGENT_FAILED, "True", ["True", "False", "False", "True"], id="failed"),
        pytest.param(
            Reason.POLICY_REFUSED, "False", ["False", "False", "False", "True"], id="refused"
        ),
    ],
)
def test_the_conditions_of_a_run_that_is(reason: Reason, accepted: str, words: list[str]):
    found = status.conditions(reason, "why", accepted=accepted, generation=4)

    assert list(found) == list(ConditionType)
    assert [condition["status"] for condition in found.values()] == words
    assert {condition["observedGeneration"] for condition in found.values()} == {4}
    assert found[ConditionType.SUCCEEDED]["reason"] == reason.value


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_either_under_way_or_an_end(reason: Reason):
    found = status.conditions(reason, "", accepted="True", generation=1)

    ready, stalled = (
        found[kind]["status"] == "True" for kind in (ConditionType.READY, ConditionType.STALLED)
    )
    assert (reason in status.UNDER_WAY) == (not ready and not stalled)
    assert not (ready and stalled)


def test_a_verdict_that_grants_says_so_without_the_message():
    found = status.conditions(Reason.RUNNING, "why", accepted="True", generation=1)

    accepted = found[ConditionType.ACCEPTED]
    assert (accepted["reason"], accepted["message"]) == ("Granted", "")


def test_a_verdict_that_refuses_says_why():
    found = status.conditions(Reason.POLICY_REFUSED, "why", accepted="False", generation=1)

    accepted = found[ConditionType.ACCEPTED]
    assert (accepted["reason"], accepted["message"]) == ("PolicyRefused", "why")


def before(word: str, time: str) -> list[dict[str, object]]:
    return [
        {"type": kind.value, "status": word, "lastTransitionTime": time} for kind in ConditionType
    ]


WANTED = status.conditions(Reason.PENDING, "", accepted="Unknown", generation=1)
EARLIER = "2025-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        pytest.param([], NOW_TEXT, id="a condition that is new"),
        pytest.param(before("True", EARLIER), NOW_TEXT, id="a status that changed"),
        pytest.param(before("Unknown", EARLIER), EARLIER, id="a status that stayed"),
        pytest.param(before("Unknown", status.EPOCH), NOW_TEXT, id="a default of the schema"),
    ],
)
def test_the_time_of_a_condition_moves_with_its_status(
    known: list[dict[str, object]], expected: str
):
    accepted, *_ = status.dated(WANTED, known, NOW)

    assert accepted == {**WANTED[ConditionType.ACCEPTED], "lastTransitionTime": expected}


def test_dating_is_idempotent():
    later = datetime(2026, 2, 1, tzinfo=UTC)
    once = status.dated(WANTED, [], NOW)

    assert status.dated(WANTED, once, later) == once


def test_a_status_that_says_the_same_is_no_change():
    assert not status.changed({"a": 1, "b": 2}, {"a": 1})


@pytest.mark.parametrize("wanted", [{"a": 2}, {"c": None, "a": 1, "b": 3}])
def test_a_status_that_says_anything_else_is_a_change(wanted: dict[str, object]):
    assert status.changed({"a": 1, "b": 2}, wanted)


@given(ANY_TEXT)
def test_printable_text_has_no_control_characters_but_line_feed_and_tab(text: str):
    found = status.printable(text)

    kinds = {unicodedata.category(char) for char in found if char not in "\n\t"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(ANY_TEXT)
def test_printable_text_stays_as_it_is(text: str):
    once = status.printable(text)

    assert status.printable(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain äöü 漢字 🙂", "plain äöü 漢字 🙂", id="letters stay"),
        pytest.param("a\tb\nc", "a\tb\nc", id="tab and line feed stay"),
        pytest.param("\x1b[2J", r"\x1b[2J", id="an escape sequence"),
        pytest.param("a\rb", r"a\rb", id="a carriage return"),
        pytest.param("\x9b2J", r"\x9b2J", id="a C1 control"),
        pytest.param("\u202egpj", r"\u202egpj", id="a mark that turns the direction"),
        pytest.param("\U000e0041", r"\U000e0041", id="a tag character"),
        pytest.param("a\u2028b", r"a\u2028b", id="a line separator"),
        pytest.param("\x7f\x00", r"\x7f\x00", id="delete and null"),
        pytest.param("\ud800", r"\ud800", id="half a character"),
    ],
)
def test_printable_text_is(text: str, expected: str):
    assert status.printable(text) == expected


@given(ANY_TEXT)
def test_a_sentence_is_one_bounded_line(text: str):
    found = status.sentence(text)

    assert len(found) <= 2_048
    assert found.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("  two\n words ", "two words", id="white space is one space"),
        pytest.param("x" * 2_048, "x" * 2_048, id="at the limit"),
        pytest.param("x" * 2_049, "x" * 2_048, id="one more is cut"),
    ],
)
def test_a_sentence_is(text: str, expected: str):
    assert status.sentence(text) == expected


@pytest.mark.parametrize(
    ("message", "truncated"),
    [
        pytest.param("", False, id="nothing"),
        pytest.param("x" * 4_095, False, id="one byte less than the kubelet keeps"),
        pytest.param("x" * 4_096, True, id="as much as the kubelet keeps"),
        pytest.param("ä" * 2_047 + "x", False, id="bytes count, not characters"),
        pytest.param("ä" * 2_048, True, id="bytes count, not characters, at the limit"),
    ],
)
def test_a_result_may_be_truncated_when_it_is_full(message: str, truncated: object):
    assert status.result(message) == {
        "message": message,
        "truncated": truncated,
        "digest": digest.of_text(message),
    }


def test_the_digest_of_a_result_is_of_what_is_stored():
    found = status.result("\x1b")

    assert (found["message"], found["digest"]) == (r"\x1b", digest.of_text(r"\x1b"))


def test_a_result_with_half_a_character_is_kept():
    """JSON can carry what UTF-8 cannot."""
    found = status.result("\ud800")

    assert (found["message"], found["truncated"]) == (r"\ud800", False)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=4_096))
def test_a_result_fits_into_the_status(text: str):
    """The API server refuses a message of more than 16384 characters."""
    kept = text.encode()[-4_096:].decode(errors="replace")

    assert len(status.result(kept)["message"]) <= 16_384


def test_the_longest_result_fits_into_the_status():
    assert len(status.result("\x1b" * 4_096)["message"]) == 16_384


def test_a_time_is_written_as_kubernetes_does():
    assert status.instant(NOW) == NOW_TEXT
