"""Tenants share the cluster fairly, and several policies hold at once."""

import json
from collections.abc import Iterator

import pytest

from agents import Agents, changed_policy, condition
from bed.kube import Document, wait_for
from tenants import Tenants, wide_policy

BURST, CALM = "team-burst", "team-calm"
WIDE, NARROW, TWICE = "policy-wide", "policy-narrow", "team-twice"

pytestmark = pytest.mark.long

RUNS = 500


def cleared(agents: Agents) -> Iterator[Agents]:
    """The agents, and what a test submitted there is removed after it."""
    yield agents
    agents.admin.delete("agentruns", "--all", agents.namespace, "--wait=false")
    for kind in ("agentruns", "pods"):
        gone = f"the {kind} to be gone"
        wait_for(lambda k=kind: not agents.admin.items(k, agents.namespace), 120, gone)
    agents.submitted.clear()


@pytest.fixture
def burst(tenants: Tenants, image: str) -> Iterator[Agents]:
    """A tenant that may have two cells at a time, and a long queue."""
    written = wide_policy(BURST, image)
    written["spec"]["limits"] |= {"activeRuns": 2, "queuedRuns": 1_000}
    tenants.policy(written)
    room = {"quota.agentRuns": "600", "quota.configMaps": "700"}
    yield from cleared(tenants.onboard(BURST, BURST, **room))


@pytest.fixture
def calm(tenants: Tenants, image: str) -> Iterator[Agents]:
    """Another tenant."""
    tenants.policy(wide_policy(CALM, image))
    yield from cleared(tenants.onboard(CALM, CALM))


def by_reason(agents: Agents) -> dict[str, int]:
    """How many runs of a namespace there are in each state."""
    counts: dict[str, int] = {}
    for run in agents.admin.items("agentruns", agents.namespace):
        reason = condition(run)["reason"]
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def test_one_tenants_burst_does_not_delay_anothers_first_run(burst: Agents, calm: Agents):
    """The other's run has come and gone while the burst still waits for its turns."""
    runs = [burst.document("import time; time.sleep(3)") for _ in range(RUNS)]
    whole = {"apiVersion": "v1", "kind": "List", "items": runs}
    burst.author("create", "-f", "-", stdin=json.dumps(whole))
    wait_for(lambda: by_reason(burst).get("Queued", 0) > 1, 60, "the burst to queue")

    run = calm.completes()
    left = by_reason(burst)

    assert condition(run)["reason"] == "Completed"
    waiting = left.get("Queued", 0) + left.get("Pending", 0)
    assert waiting > 0, f"the burst was over too soon to show anything: {left}"
    assert left.get("PolicyRefused", 0) == 0, "none lost its place"
    cells = [p for p in burst.admin.items("pods", BURST) if p["status"]["phase"] == "Running"]
    assert len(cells) <= 2
    first = burst.end(runs[0]["metadata"]["name"])
    assert condition(first)["reason"] == "Completed", "the control: the burst goes on as well"


def test_a_queue_has_an_end(burst: Agents):
    """One active, one waiting; the third is refused with the bound, and the second moves up."""
    with changed_policy(burst.admin, BURST, {"limits": {"activeRuns": 1, "queuedRuns": 1}}):
        first, second = burst.running(), burst.submit("")
        burst.until(second, "Queued", says="`activeRuns` is 1")
        third = burst.end(burst.submit(""))
        burst.author.delete("agentrun", first, BURST)
        last = burst.end(second)

    assert condition(third)["reason"] == "PolicyRefused"
    assert condition(third)["message"].startswith("`queuedRuns` is 1")
    assert condition(last)["reason"] == "Completed"


# ---- two policies for one namespace ----------------------------------------------------------


@pytest.fixture(scope="module")
def onboarded(tenants: Tenants, image: str) -> Agents:
    """A namespace under two policies, each of which is tighter than the other somewhere."""
    for document in (wide(image), narrow(image)):
        tenants.policy(document)
    return tenants.onboard(TWICE, WIDE, NARROW)


def wide(image: str) -> Document:
    """A policy that lists more images and lets a run be short only."""
    written = wide_policy(WIDE, image)
    written["spec"]["limits"] |= {"activeDeadlineSeconds": 100, "activeRuns": 5, "cpu": "150m"}
    written["spec"]["defaults"] = {"cpu": "140m"}
    return written


def narrow(image: str) -> Document:
    """A policy that lists one image and lets a run be small only."""
    written = wide_policy(NARROW, image)
    written["spec"]["images"] = [{"reference": image}]
    written["spec"]["limits"] |= {"memory": "128Mi", "workspace": "32Mi", "activeRuns": 1}
    written["spec"]["defaults"] = {"memory": "96Mi"}
    written["spec"]["minRetentionSeconds"] = 50
    return written


@pytest.fixture
def twice(onboarded: Agents) -> Iterator[Agents]:
    """That namespace; what a test submitted there is removed after it."""
    yield onboarded
    onboarded.remove_all()
    onboarded.submitted.clear()


def test_of_two_policies_the_tightest_of_each_limit_holds(twice: Agents):
    """The status names both, and what came of them."""
    run = twice.completes()

    assert [p["name"] for p in run["status"]["policies"]] == [NARROW, WIDE]
    assert all(p["uid"] and p["generation"] == 1 for p in run["status"]["policies"])
    effective = run["status"]["effective"]
    assert {key: effective[key] for key in ("cpu", "memory", "workspace")} == {
        "cpu": "140m", "memory": "96Mi", "workspace": "32Mi",
    }  # fmt: skip
    assert effective["activeDeadlineSeconds"] == 100


OTHER_IMAGE = "203.0.113.10:5999/agent@sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("within", "beyond", "whose"),
    [
        pytest.param(
            {"resources": {"memory": "128Mi"}}, {"resources": {"memory": "129Mi"}}, NARROW,
            id="memory",
        ),
        pytest.param(
            {"resources": {"cpu": "150m"}}, {"resources": {"cpu": "151m"}}, WIDE, id="cpu"
        ),
        pytest.param(
            {"activeDeadlineSeconds": 100}, {"activeDeadlineSeconds": 101}, WIDE, id="deadline"
        ),
        pytest.param(
            {"workspace": {"sizeLimit": "32Mi"}}, {"workspace": {"sizeLimit": "33Mi"}}, NARROW,
            id="workspace",
        ),
        pytest.param(
            {"ttlSecondsAfterFinished": 50}, {"ttlSecondsAfterFinished": 49}, NARROW,
            id="retention",
        ),
        pytest.param({}, {"image": OTHER_IMAGE}, NARROW, id="an image that only one lists"),
    ],
)  # fmt: skip
def test_a_run_must_pass_each_of_two_policies(
    twice: Agents, within: Document, beyond: Document, whose: str
):
    """Refused at the door by the one that does not allow it; what both allow is admitted."""
    assert twice.refusal(**within) is None

    refusal = twice.refusal(**beyond)

    assert refusal is not None
    assert f"(AgentPolicy '{whose}')" in refusal


def test_of_two_policies_the_shorter_turn_holds(twice: Agents):
    """One allows five at a time, the other one."""
    first, second = twice.running(), twice.submit("")

    twice.until(second, "Queued", says="`activeRuns` is 1")
    twice.author.delete("agentrun", first, TWICE)

    assert condition(twice.end(second))["reason"] == "Completed"


def test_policies_that_differ_in_placement_are_a_conflict(twice: Agents):
    """No cell can be built as both say: what runs is ended, and a new run is refused at once."""
    name = twice.running()
    elsewhere = {"placement": {"nodeSelector": {"disk": "fast"}}}
    says = f"the AgentPolicies '{NARROW}', '{WIDE}' must not differ in `placement`"

    with changed_policy(twice.admin, WIDE, elsewhere):
        revoked = twice.end(name)
        twice.until_gone(name)
        refused = twice.end(twice.submit(""))
    # The same words in both are no conflict; no node has the label, so the run waits for one.
    with (
        changed_policy(twice.admin, WIDE, elsewhere),
        changed_policy(twice.admin, NARROW, elsewhere),
    ):
        agreed = twice.until(twice.submit(""), "Pending", says="node affinity/selector")

    assert (condition(revoked)["reason"], condition(revoked)["message"]) == ("PolicyRevoked", says)
    assert (condition(refused)["reason"], condition(refused)["message"]) == ("PolicyConflict", says)
    assert condition(refused, "Accepted")["status"] == "False"
    assert twice.pods(refused["metadata"]["name"]) == []
    assert condition(agreed, "Accepted")["status"] == "True"
    twice.admin.delete("agentrun", agreed["metadata"]["name"], TWICE)
    twice.completes()
