"""The known runs: the newest version wins, whoever brings it, and what is gone stays gone."""

from typing import Any

import pytest

from anchorhold.controller.observed import Pod, read_pod, read_run
from anchorhold.controller.runs import Cells, Runs
from factories import OTHER_UID, UID, make_pod, make_run

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


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(make_run({"resourceVersion": "2"}, status=ENDED), id="has ended"),
        pytest.param(version(2, deletionTimestamp="2026-01-01T00:00:03Z"), id="is being deleted"),
    ],
)
def test_a_run_is_unfinished_no_more_once_it(document: dict[str, Any]):
    runs = known(version(1), document)

    assert runs.unfinished("team-a") == []
    assert runs.get(KEY) is not None


def test_a_run_that_is_gone_is_unfinished_no_more():
    runs = known(version(1))
    runs.remove(version(2))

    assert runs.unfinished("team-a") == []


def test_an_unfinished_run_is_known_in_its_newest_version():
    runs = known(version(1), version(2))

    assert [run.version for run in runs.unfinished("team-a")] == [2]


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


# --- Cells ----------------------------------------------------------------------------------------

NAMESPACE = "team-a"
THE_RUN = read_run(make_run())
NAMESAKE = read_run(make_run({"uid": OTHER_UID}))


def cell(owner: str = "review", uid: str = UID, name: str = "cell", phase: str = "Running") -> Pod:
    references = [{"name": owner, "uid": uid}]
    return read_pod(make_pod({"name": name, "ownerReferences": references}, phase=phase))


def shown(*pods: Pod) -> Cells:
    cells = Cells()
    for pod in pods:
        cells.change(NAMESPACE, None, pod)
    return cells


def test_where_nothing_was_shown_there_is_no_cell():
    cells = Cells()

    assert (cells.named(KEY), cells.of(THE_RUN), cells.live(NAMESPACE)) == ([], None, [])


def test_a_cell_is_found_by_the_name_of_its_run_and_by_the_run_itself():
    mine, other = cell(name="mine"), cell(uid=OTHER_UID, name="other")
    cells = shown(other, mine, cell(owner="another", name="third"))

    assert cells.named(KEY) == [other, mine]
    assert cells.of(THE_RUN) == mine
    assert cells.of(NAMESAKE) == other


def test_a_cell_of_another_namespace_is_none():
    cells = shown(cell())

    assert cells.named(("team-b", "review")) == []
    assert cells.live("team-b") == []


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        pytest.param(None, cell(), {KEY}, id="comes"),
        pytest.param(cell(), cell(phase="Succeeded"), {KEY}, id="changes"),
        pytest.param(cell(), None, {KEY}, id="goes"),
        pytest.param(
            cell(), cell(owner="heir"), {KEY, (NAMESPACE, "heir")}, id="has another owner now"
        ),
    ],
)
def test_the_runs_to_look_at_when_a_cell(
    old: Pod | None, new: Pod | None, keys: set[tuple[str, str]]
):
    cells = shown(*([old] if old is not None else []))

    assert cells.change(NAMESPACE, old, new) == keys


def test_a_cell_that_changes_is_known_as_it_is_now():
    cells, old, new = shown(cell()), cell(), cell(phase="Failed")
    cells.change(NAMESPACE, old, new)

    assert cells.named(KEY) == [new]


def test_a_cell_with_another_owner_is_not_the_old_ones_any_more():
    cells = shown(cell())
    cells.change(NAMESPACE, cell(), cell(owner="heir"))

    assert cells.named(KEY) == []
    assert cells.named((NAMESPACE, "heir")) == [cell(owner="heir")]


def test_of_two_cells_of_a_run_the_other_stays_when_one_goes():
    one, other = cell(name="one"), cell(name="other", uid=OTHER_UID)
    cells = shown(one, other)
    cells.change(NAMESPACE, one, None)

    assert cells.named(KEY) == [other]
    assert cells.live(NAMESPACE) == [OTHER_UID]


def test_a_cell_that_is_gone_is_forgotten():
    cells = shown(cell())
    cells.change(NAMESPACE, cell(), None)

    assert (cells.named(KEY), cells.of(THE_RUN), cells.live(NAMESPACE)) == ([], None, [])


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_a_cell_is_live_that_may_still_do_something(phase: str):
    assert shown(cell(phase=phase)).live(NAMESPACE) == [UID]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_cell_that_has_ended_is_not_live_and_is_still_known(phase: str):
    cells = shown(cell())
    cells.change(NAMESPACE, cell(), cell(phase=phase))

    assert cells.live(NAMESPACE) == []
    assert cells.of(THE_RUN) == cell(phase=phase)


def test_nothing_is_left_of_a_namespace_that_is_forgotten():
    """Else a cell that went unseen would count as live for ever."""
    cells = shown(cell())
    cells.change("team-b", None, cell())

    cells.forget(NAMESPACE)

    assert (cells.named(KEY), cells.live(NAMESPACE)) == ([], [])
    assert cells.of(THE_RUN) is None
    assert cells.named(("team-b", "review")) == [cell()]
    assert cells.live("team-b") == [UID]
