"""The known runs: the newest version wins, whoever brings it, and what is gone stays gone."""

from typing import Any

import pytest

from anchorhold.controller.runs import Runs
from factories import OTHER_UID, make_run

KEY = ("team-a", "review")
ENDED = {"conditions": [{"type": "Succeeded", "status": "True"}]}


def version(number: int, **metadata: object) -> dict[str, Any]:
    return make_run({"resourceVersion": str(number), **metadata})


def known(*documents: dict[str, Any]) -> Runs:
    runs = Runs()
    for document in documents:
        runs.put(document)
    return runs


def version_of(runs: Runs) -> int | None:
    run = runs.get(KEY)
    return None if run is None else run.version


def test_an_unknown_run_is_none():
    assert Runs().get(KEY) is None


def test_a_namespace_counts_as_long_as_it_holds_a_run():
    runs = known(version(5))

    assert runs.namespaces() == {"team-a"}
    runs.remove(version(6))
    assert runs.namespaces() == set()


@pytest.mark.parametrize(
    ("number", "changed", "kept"),
    [
        pytest.param(6, {KEY}, 6, id="a newer one is taken"),
        pytest.param(5, set(), 5, id="the same one is nothing new"),
        pytest.param(4, set(), 5, id="an older one is not taken"),
    ],
)
def test_of_two_versions(number: int, changed: set[tuple[str, str]], kept: int):
    runs = known(version(5))

    assert runs.put(version(number)) == changed
    assert version_of(runs) == kept


def test_a_new_run_is_to_be_looked_at():
    assert Runs().put(version(1)) == {KEY}


@pytest.mark.parametrize(
    ("number", "changed", "kept"),
    [
        pytest.param(6, {KEY}, None, id="is forgotten"),
        pytest.param(5, {KEY}, None, id="is forgotten at the version that is known"),
        pytest.param(4, set(), 5, id="was another one if a newer one is known"),
    ],
)
def test_a_run_that_is_gone(number: int, changed: set[tuple[str, str]], kept: int | None):
    runs = known(version(5))

    assert runs.remove(version(number)) == changed
    assert version_of(runs) == kept


def test_the_end_of_an_unknown_run_is_nothing_to_look_at():
    assert Runs().remove(version(5)) == set()


@pytest.mark.parametrize("was_known", [True, False])
def test_an_answer_to_our_own_write_does_not_bring_a_run_back(was_known: object):
    """The watch may tell that a run is gone before our last PATCH of it returns."""
    runs = known(version(4)) if was_known else Runs()
    runs.remove(version(6))

    assert runs.put(version(5)) == set()
    assert runs.get(KEY) is None


def test_a_new_run_of_the_same_name_is_taken():
    runs = known(version(4))
    runs.remove(version(5))

    assert runs.put(version(6, uid=OTHER_UID)) == {KEY}


def test_a_list_forgets_what_is_gone_and_takes_what_is_newer():
    runs = known(version(5), version(5, name="gone"), version(5, name="same"))

    changed = runs.replace([version(7), version(5, name="same"), version(6, name="new")], 8)

    assert changed == {KEY, ("team-a", "gone"), ("team-a", "new")}
    assert runs.get(("team-a", "gone")) is None
    assert runs.get(("team-a", "same")) is not None
    assert version_of(runs) == 7


@pytest.mark.parametrize(
    ("listed_at", "kept"),
    [
        pytest.param(4, True, id="is kept if it is newer than the list"),
        pytest.param(5, False, id="is forgotten if it is as old as the list"),
    ],
)
def test_a_run_that_a_list_does_not_hold(listed_at: int, kept: object):
    runs = known(version(5))

    runs.replace([], listed_at)

    assert (runs.get(KEY) is not None) is kept


def test_a_stale_list_does_not_bring_a_run_back():
    runs = known(version(4))
    runs.remove(version(6))

    runs.replace([version(4)], 5)

    assert runs.get(KEY) is None


def test_nothing_is_remembered_of_the_dead_after_a_list_that_is_as_new():
    runs = known(version(4))
    runs.remove(version(6))
    runs.replace([], 6)

    assert runs.put(version(5)) == {KEY}


def test_the_unfinished_runs_of_a_namespace_come_by_age_and_then_by_uid():
    runs = known(
        version(1, name="young", creationTimestamp="2026-01-01T00:00:02Z"),
        version(1, name="second", uid="b", creationTimestamp="2026-01-01T00:00:01Z"),
        version(1, name="first", uid="a", creationTimestamp="2026-01-01T00:00:01Z"),
        version(1, name="going", deletionTimestamp="2026-01-01T00:00:03Z"),
        version(1, namespace="team-b"),
        make_run({"name": "ended"}, status=ENDED),
    )

    found = [run.key[1] for run in runs.unfinished("team-a")]

    assert found == ["first", "second", "young"]


def test_the_namespaces_are_those_that_hold_a_run_whether_it_ended_or_not():
    runs = known(
        version(1),
        version(1, name="other"),
        version(1, namespace="team-c"),
        make_run({"namespace": "team-b"}, status=ENDED),
    )
    runs.remove(version(2, namespace="team-c"))

    assert runs.namespaces() == {"team-a", "team-b"}
    assert Runs().namespaces() == set()
