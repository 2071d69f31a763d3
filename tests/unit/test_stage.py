"""Whatever `prove` makes is taken away again: when all is well, on errors, after interruptions."""

from typing import Any

import pytest

from anchorhold import names
from anchorhold.cli import api
from anchorhold.cli.prove import facts, props
from anchorhold.cli.prove.attacks import asked, doors, inside, undoing, unled
from anchorhold.cli.prove.props import GaveUpError, StoppedError
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

LIMITS = {
    "activeDeadlineSeconds": 300, "cpu": "1", "memory": "1Gi", "workspace": "1Gi", "activeRuns": 2,
    "queuedRuns": 2,
}  # fmt: skip
IMAGE = "example.com/agent@sha256:" + "1" * 64
POLICY: dict[str, Any] = {
    "metadata": {"name": "team-a"},
    "spec": {"limits": LIMITS, "images": [{"reference": IMAGE}]},
}
BOUND = {
    "spec": {
        "policyName": "anchorhold-run-limits",
        "paramRef": {"name": "team-a"},
        "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}
        },
    }
}


class Cluster(api.Cluster):
    """Keeps objects by path; some requests are refused."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.refused: dict[tuple[str, str], api.Answer] = {}
        self.asked: list[tuple[str, str]] = []

    def ask(self, method: str, path: str, document: Any = None, query: Any = None) -> api.Answer:  # noqa: ANN401
        self.asked.append((method, path))
        if answer := self.refused.get((method, path)):
            return answer
        if query == {"dryRun": "All"}:
            return api.Answer(200, document)
        if method == "APPLY":
            self.objects[path] = document
            return api.Answer(200, document)
        if method == "POST":
            self.objects[f"{path}/{document['metadata']['name']}"] = document
            return api.Answer(201, document)
        return self.answer(method, path)

    def answer(self, method: str, path: str) -> api.Answer:
        found = self.objects.get(path)
        below = [each for key, each in self.objects.items() if key.rpartition("/")[0] == path]
        if method == "GET" and found is None and (below or path.endswith(("runs", "pods"))):
            return api.Answer(200, {"items": below})
        if found is None:
            return api.Answer(404, {"message": "not found"})
        if method == "DELETE":
            del self.objects[path]
        return api.Answer(200, found)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def stage(cluster: Cluster) -> Stage:
    return Stage(cluster, "team-a", IMAGE, (POLICY,), "0123abcd", frozenset({"unfenced"}))


def test_everything_that_was_made_is_deleted_and_the_last_first(stage: Stage, cluster: Cluster):
    stage.submit("one")
    stage.submit("two")

    assert stage.clean() == []

    assert cluster.objects == {}
    deleted = [path for method, path in cluster.asked if method == "DELETE"]
    assert [path[-5:] for path in deleted] == ["two-1", "one-1"]


def test_one_that_cannot_be_deleted_is_told_and_keeps_none_of_the_others(
    stage: Stage, cluster: Cluster
):
    kept, _ = stage.submit("kept"), stage.submit("gone")
    no = api.Answer(403, {"message": "forbidden"})
    cluster.refused["DELETE", stage.runs(kept)] = no

    assert stage.clean() == ["forbidden"]
    assert list(cluster.objects) == [stage.runs(kept)]


CROWDED = api.Answer(409, {"reason": "Conflict", "message": "the object has been modified"})
TAKEN = api.Answer(409, {"reason": "AlreadyExists", "message": "exists"})


PODS, POD = "/api/v1/namespaces/x/pods", {"metadata": {"name": "a"}}


class Crowded(Cluster):
    """Says three times that others were quicker."""

    def ask(self, method: str, path: str, document: Any = None, query: Any = None) -> api.Answer:  # noqa: ANN401
        if len(self.asked) == 3:
            return super().ask(method, path, document, query)
        self.asked.append((method, path))
        return CROWDED


def test_a_quota_that_many_change_at_once_is_asked_again():
    cluster = Crowded()

    cluster.post(PODS, POD)

    assert len(cluster.asked) == 4


@pytest.mark.parametrize(("answer", "times"), [(CROWDED, api.TRIES), (TAKEN, 1)])
def test_but_not_for_ever_and_nothing_else_is(cluster: Cluster, answer: api.Answer, times: int):
    cluster.refused["POST", PODS] = answer

    with pytest.raises(api.RefusedError, match=answer.refusal):
        cluster.post(PODS, POD)

    assert len(cluster.asked) == times


def test_what_is_noted_is_noted_before_it_is_made(stage: Stage, cluster: Cluster):
    """An answer that is lost may still have made it."""
    cluster.refused["POST", stage.runs()] = api.Answer(504, {"message": "timeout"})

    with pytest.raises(api.RefusedError, match="timeout"):
        stage.submit("lost")

    assert len(stage.undo) == 1


def test_an_interruption_ends_whoever_waits_and_cleaning_goes_on(stage: Stage, cluster: Cluster):
    stage.submit("one")
    stage.stopping.set()

    with pytest.raises(StoppedError):
        stage.wait(lambda: None, "ever")

    assert stage.clean() == []
    assert cluster.objects == {}


def ended(reason: str) -> dict[str, Any]:
    kind = {"type": "Succeeded", "status": "False", "reason": reason, "message": "says why"}
    return {"conditions": [kind]}


@pytest.mark.parametrize(("reason", "waits"), [("NotOnboarded", False), ("AgentFailed", True)])
def test_where_nothing_starts_one_run_finds_out_for_all(
    stage: Stage,
    cluster: Cluster,
    reason: str,
    waits: bool,  # noqa: FBT001
):
    first, second = stage.submit("first"), stage.submit("second")
    cluster.objects[stage.runs(first)]["status"] = ended(reason)
    pending = {"type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": ""}
    cluster.objects[stage.runs(second)]["status"] = {"conditions": [pending]}

    with pytest.raises(GaveUpError, match=f"is {reason}, not Completed: says why"):
        stage.until(first, "Completed")

    assert bool(stage.broken) is not waits
    if not waits:
        with pytest.raises(GaveUpError, match=f"is {reason}"):
            stage.until(second, "Completed")


def test_a_run_that_its_namespace_holds_back_need_not_end_first(
    stage: Stage, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("anchorhold.cli.prove.stage.HELD_SECONDS", -1)
    waits = {"status": "Unknown", "reason": "Pending", "message": "no binding of this and that"}
    conditions = [{"type": kind, **waits} for kind in ("Succeeded", "Accepted")]
    held = stage.submit("held")
    cluster.objects[stage.runs(held)]["status"] = {"conditions": conditions}

    with pytest.raises(GaveUpError, match="is Pending, not Completed: no binding of this and that"):
        stage.until(held, "Completed")


def test_waiting_in_vain_gives_up_with_a_word(stage: Stage):
    with pytest.raises(GaveUpError, match="waited 0 s in vain for something"):
        stage.wait(lambda: None, "something", 0)


def test_a_change_is_taken_back_once_on_errors_too(stage: Stage, cluster: Cluster):
    cluster.objects["/x"] = {"metadata": {"name": "x"}}

    with pytest.raises(GaveUpError), undoing.undone(stage, {"do": 1}, {"undo": 1}, "/x"):
        raise GaveUpError

    assert [method for method, _ in cluster.asked] == ["PATCH", "PATCH"]
    assert stage.undo == []


def test_a_wall_that_was_taken_away_is_put_back(stage: Stage, cluster: Cluster):
    path = "/apis/networking.k8s.io/v1/namespaces/team-a/networkpolicies/anchorhold-default-deny"
    wall = {
        "apiVersion": "v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}},
        "metadata": {"name": "anchorhold-default-deny", "labels": {"a": "b"}, "uid": "1"},
    }  # fmt: skip
    cluster.objects[path] = wall

    with undoing.taken_away(stage, path):
        assert path not in cluster.objects

    metadata = {"name": "anchorhold-default-deny", "labels": {"a": "b"}}
    assert cluster.objects[path] == {**wall, "metadata": metadata}


# ---- what an answer means --------------------------------------------------------------------

YES, NO = (
    api.Answer(201, {}),
    api.Answer(403, {"message": "x denied request: `cpu` '2' is too much"}),
)


def test_a_denial_counts_in_its_own_words_and_beside_its_twin():
    found = asked.refused("more", NO, YES, "`cpu`")

    assert (found.held, found.shown) == (True, True)
    assert found.seen == "`cpu` '2' is too much"
    assert not asked.refused("more", NO, YES, "`memory`").held
    assert not asked.refused("more", YES, YES).held
    assert not asked.refused("more", NO, NO).shown


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500])
def test_any_other_error_is_no_denial(status: int):
    """Who may look for what is not there got past every fence."""
    with pytest.raises(GaveUpError, match=f"more: {status} "):
        asked.refused("more", api.Answer(status, {"message": "oh"}), YES)


def test_a_request_that_lacks_an_upgrade_got_in():
    upgrade = api.Answer(400, {"message": "Upgrade request required"})

    assert not doors.stepped("exec", upgrade, upgrade).held
    found = doors.stepped("exec", NO, upgrade)
    assert (found.held, found.shown) == (True, True)


# ---- what must be known before ---------------------------------------------------------------


def known(cluster: Cluster) -> None:
    cluster.objects[f"{facts.BINDINGS}/one"] = {"metadata": {"name": "one"}, **BOUND}
    cluster.objects[
        "/apis/anchorhold.dev/v1alpha1/namespaces/anchorhold-policies/agentpolicies/team-a"
    ] = POLICY


def test_the_policy_is_the_one_that_the_namespace_is_bound_to(cluster: Cluster):
    known(cluster)

    found = facts.stage(cluster, "team-a", ["disruptive"])

    assert [each["metadata"]["name"] for each in found.policies] == ["team-a"]
    assert (found.image, found.given) == (IMAGE, {"disruptive"})


@pytest.mark.parametrize(
    ("namespace", "image", "sentence"),
    [
        ("team-b", "", "'team-b' must be bound to an AgentPolicy"),
        (
            "team-a",
            "example.com/other",
            "'example.com/other' must be an image that the policy lists",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    cluster: Cluster, namespace: str, image: str, sentence: str
):
    known(cluster)

    with pytest.raises(GaveUpError, match=sentence):
        facts.stage(cluster, namespace, [], image)


def test_a_run_is_an_agent_run_with_our_label():
    run = props.run("team-a", "x", LIMITS, {"task": "pass", "image": IMAGE})

    assert run["metadata"]["labels"] == {props.OUR_LABEL: "anchorhold-prove"}
    assert run["spec"]["activeDeadlineSeconds"] == 120


@pytest.mark.parametrize(
    ("users", "apart"),
    [
        (["0", "2852126720", "65536"], True),
        (["0", "0", "4294967295"], False),
        (["0", "0", "1"], False),
        (["0", "1000", "1"], False),
        (["0", "2852126720", "1000", "1000", "0", "1"], False),
        ([], False),
    ],
)
def test_users_are_others_only_if_all_of_them_are(users: list[str], apart: bool):  # noqa: FBT001
    assert inside.are_others(users) is apart


# ---- without a controller ------------------------------------------------------------------


@pytest.fixture
def stops(stage: Stage, cluster: Cluster) -> list[int]:
    """How many controllers there were to be, each time that somebody said so."""
    cluster.objects[undoing.SCALE] = {"spec": {"replicas": 1}}
    said: list[int] = []
    pods = f"/api/v1/namespaces/{names.SYSTEM_NAMESPACE}/pods"

    def ask(method: str, path: str, document: Any = None, query: Any = None) -> api.Answer:  # noqa: ANN401
        if method == "PATCH" and path == undoing.SCALE:
            said.append(document["spec"]["replicas"])
        if path == pods:
            return api.Answer(200, {"items": [READY] * (said[-1] if said else 1)})
        return Cluster.ask(cluster, method, path, document, query)

    cluster.ask = ask  # type: ignore[method-assign]
    return said


READY = {
    "metadata": {"name": "anchorhold-controller-1"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
GOOD = Attempt("this", "no", "no", "yes", held=True, shown=True)


def steps(told: list[str], name: str, *, ends: Exception | None = None) -> Any:  # noqa: ANN401
    """A part that tells what it does."""

    def part(_: Stage) -> unled.Part:
        told.append(f"{name} gets ready")
        yield
        told.append(f"{name} acts")
        if ends:
            raise ends
        yield
        told.append(f"{name} looks")
        return [GOOD]

    return part


def test_everything_that_needs_no_controller_happens_at_one_stop(
    stage: Stage, stops: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unled, "RUNS", 2)
    told: list[str] = []

    found = unled.outcomes(stage, [{"C1": steps(told, "one"), "C2": steps(told, "two")}])

    assert stops == [0, 1]
    assert told == [
        "one gets ready", "two gets ready", "one acts", "two acts", "one looks", "two looks",
    ]  # fmt: skip
    assert found == {"C1": [GOOD], "C2": [GOOD]}


def test_where_few_runs_may_live_each_has_a_stop_of_its_own(stage: Stage, stops: list[int]):
    told: list[str] = []

    unled.outcomes(stage, [{"C1": steps(told, "one"), "C2": steps(told, "two")}])

    assert stops == [0, 1, 0, 1]


def test_one_that_fails_without_a_controller_keeps_none_of_the_others(
    stage: Stage, stops: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unled, "RUNS", 2)
    error = GaveUpError("in vain")
    parts = {"C1": steps([], "one", ends=error), "C2": steps([], "two")}

    assert unled.outcomes(stage, [parts]) == {"C1": error, "C2": [GOOD]}
    assert stops == [0, 1]


def test_a_controller_that_does_not_stop_leaves_all_of_it_untested(
    stage: Stage, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(unled, "RUNS", 2)
    cluster.objects[undoing.SCALE] = {"spec": {"replicas": 1}}
    refused = api.Answer(403, {"message": "forbidden"})
    cluster.refused["PATCH", undoing.SCALE] = refused

    found = unled.outcomes(stage, [{"C1": steps([], "one")}, {"C2": steps([], "two")}])

    assert {name: str(error) for name, error in found.items()} == {
        "C1": "forbidden", "C2": "forbidden",
    }  # fmt: skip
