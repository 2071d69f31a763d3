"""What the gateway knows of the cluster: who lives, and what each of them may reach."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from anchorhold import names
from anchorhold.api.egress import EgressRule
from anchorhold.cluster import client
from anchorhold.gateway import __main__ as program
from anchorhold.gateway import leaves
from anchorhold.gateway import view as gateway_view
from anchorhold.gateway.view import View
from anchorhold.policy.egress import of_rule
from factories import RULE
from onenode import pki
from wiring import fakeapi
from wiring.test_controller import NAMESPACE, binding, policy, run

Manifest = dict[str, Any]
SECONDS = 10
OTHER = {**RULE, "name": "other", "host": "other.example"}
ADDRESS = "10.244.0.9"
Change = Callable[[fakeapi.FakeApi], object]


def digest(rule: Manifest) -> str:
    return of_rule(EgressRule.parse(rule))


def pod(uid: str, **status: object) -> Manifest:
    """The cell of the run 'a', which was granted both rules."""
    owner = {
        "apiVersion": names.API_VERSION, "kind": "AgentRun", "name": "a", "uid": uid,
        "controller": True,
    }  # fmt: skip
    granted = f"model={digest(RULE)} other={digest(OTHER)}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "a-cell",
            "namespace": NAMESPACE,
            "labels": {names.RUN_LABEL: uid},
            "annotations": {names.RULES_ANNOTATION: granted},
            "ownerReferences": [owner],
        },
        "spec": {},
        "status": {"phase": "Running", "podIP": ADDRESS, **status},
    }


def written(*rules: Manifest, **more: object) -> Manifest:
    """The policy that the namespace is bound to."""
    document = policy()
    document["spec"] |= {"egress": {"rules": list(rules)}, **more}
    return document


def onboard(api: fakeapi.FakeApi) -> str:
    """A namespace whose policy has two rules, and a run that asks for one; its uid."""
    api.put(written(RULE, OTHER))
    for name in names.LIMITS_POLICIES + names.FLOOR_POLICIES:
        api.put(binding(name))
    uid = str(api.put(run("a", egress={"rules": [{"name": "model"}]}))["metadata"]["uid"])
    api.put(pod(uid))
    return uid


@asynccontextmanager
async def watching(api: fakeapi.FakeApi) -> AsyncIterator[View]:
    """The view, once it is complete."""
    async with client.session(client.Server(api.url)) as http:
        view = View(client.Client(http, api.url), random.Random(0))  # noqa: S311
        task = asyncio.create_task(view.run())
        await api.wait(view.is_complete, SECONDS)
        try:
            yield view
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def reached(view: View, uid: str) -> list[str] | None:
    """The names of the rules that hold for a run, if it lives and nothing is suspended."""
    cell = view.cell(uid)
    return None if cell is None or cell.suspended else [rule.name for rule in cell.rules]


async def test_a_living_run_has_the_rules_that_it_asked_for_and_was_granted(api: fakeapi.FakeApi):
    uid = onboard(api)
    async with watching(api) as view:
        cell = view.cell(uid)

        assert cell is not None
        assert (cell.run, cell.uid, cell.address) == ("team-a/a", uid, ADDRESS)
        assert cell.policies == ("small",)
        assert reached(view, uid) == ["model"]
        assert view.cell("another") is None


async def test_certificates_are_made_for_hosts_that_a_policy_has_at_that_moment(
    api: fakeapi.FakeApi, tmp_path: Path
):
    """Of rules that are to be read, and of no others."""
    onboard(api)
    api.put(written(RULE, {**OTHER, "mode": "Intercept"}))
    pki.authority(tmp_path / "authority")
    async with watching(api) as view:
        mint = leaves.minter(lambda: program.rules_of(view), tmp_path / "authority", program.now)

        assert mint("other.example") is not None
        assert mint(RULE["host"]) is None
        api.put(written(RULE))
        await api.wait(lambda: mint("other.example") is None, SECONDS)


def ended(api: fakeapi.FakeApi) -> None:
    api.patch_status("pods", NAMESPACE, "a-cell", {"phase": "Succeeded"})


def without_its_pod(api: fakeapi.FakeApi) -> None:
    api.delete("pods", NAMESPACE, "a-cell")


def without_its_run(api: fakeapi.FakeApi) -> None:
    api.delete("agentruns", NAMESPACE, "a")


def cancelled(api: fakeapi.FakeApi) -> None:
    api.patch("agentruns", NAMESPACE, "a", {"spec": {"cancel": True}})


def by_a_namesake(api: fakeapi.FakeApi) -> None:
    api.delete("agentruns", NAMESPACE, "a")
    api.put(run("a", egress={"rules": [{"name": "model"}]}))


def suspended(api: fakeapi.FakeApi) -> None:
    api.put(written(RULE, OTHER, suspend=True))


def not_understood(api: fakeapi.FakeApi) -> None:
    api.put(written(RULE, OTHER, newRestriction=True))


def without_policy(api: fakeapi.FakeApi) -> None:
    api.delete("agentpolicies", names.POLICY_NAMESPACE, "small")


def without_a_binding(api: fakeapi.FakeApi) -> None:
    name = f"anchorhold-pod-floor.{NAMESPACE}"
    api.delete("validatingadmissionpolicybindings", None, name)


def without_the_rule(api: fakeapi.FakeApi) -> None:
    api.put(written(OTHER))


def with_a_wider_rule(api: fakeapi.FakeApi) -> None:
    api.put(written({**RULE, "paths": ["/**"]}, OTHER))


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (ended, None),
        (without_its_pod, None),
        (without_its_run, None),
        (cancelled, None),
        (by_a_namesake, None),
        (suspended, None),
        (not_understood, None),
        (without_policy, None),
        (without_a_binding, None),
        (without_the_rule, []),
        (with_a_wider_rule, []),
    ],
)
async def test_what_changes_takes_the_rules_from_a_run(
    api: fakeapi.FakeApi, change: Change, left: list[str] | None
):
    """With nobody but the API server to tell it: there is no controller here."""
    uid = onboard(api)
    async with watching(api) as view:
        assert reached(view, uid) == ["model"]

        change(api)

        await api.wait(lambda: reached(view, uid) == left, SECONDS)


def with_budgets(budget: Manifest, daily: Manifest) -> Manifest:
    document = written(RULE, OTHER)
    document["spec"]["egress"] |= {"budget": budget, "dailyBudget": daily}
    return document


async def test_the_tightest_budget_counts_and_a_wider_one_does_not_reach_a_run(
    api: fakeapi.FakeApi,
):
    """Its own, what it was granted, and what the policy says at this moment."""
    onboard(api)
    asked = {"rules": [{"name": "model"}], "budget": {"requests": 50}}
    api.delete("agentruns", NAMESPACE, "a")
    uid = str(api.put(run("a", egress=asked))["metadata"]["uid"])
    cell = pod(uid)
    record = {"effective": {"budget": {"requests": 50, "tokens": 100}}}
    cell["metadata"]["annotations"][names.EFFECTIVE_ANNOTATION] = json.dumps(record)
    api.put(cell)

    def budget() -> Manifest:
        found = view.cell(uid)
        return found.budget.model_dump(exclude_none=True) if found else {}

    async with watching(api) as view:
        assert budget() == {"requests": 50, "tokens": 100}
        api.put(with_budgets({"requests": 7, "tokens": 1_000, "bytes": 9}, {"tokens": 5}))
        await api.wait(lambda: budget() == {"requests": 7, "tokens": 100, "bytes": 9}, SECONDS)

        found = view.cell(uid)
        assert found is not None
        assert [(name, day.tokens) for name, day in found.daily] == [("small", 5)]


@pytest.mark.parametrize("record", ["{", "[]", '{"effective": {"budget": {"tokens": 0}}}', "1"])
async def test_a_run_whose_record_cannot_be_read_reaches_nothing(api: fakeapi.FakeApi, record: str):
    uid = onboard(api)
    cell = pod(uid)
    cell["metadata"]["annotations"][names.EFFECTIVE_ANNOTATION] = record
    async with watching(api) as view:
        assert reached(view, uid) == ["model"]

        api.put(cell)

        await api.wait(lambda: reached(view, uid) is None, SECONDS)


async def test_a_secret_is_known_as_it_is_now(api: fakeapi.FakeApi):
    annotations = {names.HOSTS_ANNOTATION: "a.example", names.POLICIES_ANNOTATION: "small"}
    metadata = {"name": "model", "namespace": names.GATEWAY_NAMESPACE, "annotations": annotations}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    api.put({**secret, "data": {"key": "b2xk"}})
    async with watching(api) as view:
        kept = view.kept("model")
        assert kept is not None
        assert kept.values == {"key": "old"}
        assert view.kept("other") is None

        api.put({**secret, "data": {"key": "bmV3"}})

        def values() -> dict[str, str]:
            kept = view.kept("model")
            return dict(kept.values) if kept else {}

        await api.wait(lambda: values() == {"key": "new"}, SECONDS)


async def test_what_the_controller_says_in_a_status_changes_nothing(api: fakeapi.FakeApi):
    uid = onboard(api)
    rules = [{"name": "other", "digest": digest(OTHER)}]
    async with watching(api) as view:
        api.patch_status("agentruns", NAMESPACE, "a", {"effective": {"rules": rules}})
        api.put(run("b"))
        await api.wait(lambda: (NAMESPACE, "b") in view.runs.store, SECONDS)

        assert reached(view, uid) == ["model"]


def elsewhere(admission_policy: str) -> Manifest:
    """A binding of another namespace."""
    document = binding(admission_policy)
    document["metadata"]["name"] = f"{admission_policy}.elsewhere"
    labels = {names.NAMESPACE_LABEL: "elsewhere"}
    document["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = labels
    return document


@pytest.mark.parametrize(
    "left", [names.FLOOR_POLICIES, names.FLOOR_POLICIES + names.LIMITS_POLICIES]
)
async def test_a_namespace_that_is_closed_to_us_holds_up_nobody(
    api: fakeapi.FakeApi, monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...]
):
    """What a tenant leaves behind, and one whose release is older than the gateway."""
    monkeypatch.setattr(gateway_view, "PATIENCE_SECONDS", 0.0)
    uid = onboard(api)
    async with watching(api) as view:
        await api.wait(lambda: reached(view, uid) == ["model"], SECONDS)
        api.fail("list", "pods", 403, times=1000)
        for name in left:
            api.put(elsewhere(name))
        await api.wait(lambda: "elsewhere" in view.pods, SECONDS)

        await api.wait(view.is_complete, SECONDS)
        assert reached(view, uid) == ["model"]


async def test_the_view_is_not_complete_before_the_pods_are_seen(api: fakeapi.FakeApi):
    """A gateway that is not ready gets no requests."""
    uid = onboard(api)
    async with watching(api) as view:
        api.fail("list", "pods", 500, times=3)
        for name in names.FLOOR_POLICIES + names.LIMITS_POLICIES:
            api.put(elsewhere(name))
        await api.wait(lambda: not view.is_complete(), SECONDS)

        assert reached(view, uid) == ["model"]
        await api.wait(view.is_complete, SECONDS)


async def test_a_view_that_nobody_keeps_true_is_none(
    api: fakeapi.FakeApi, monkeypatch: pytest.MonkeyPatch
):
    """The API server has been silent for too long: what was true then may not be now."""
    uid = onboard(api)
    async with watching(api) as view:
        assert reached(view, uid) == ["model"]

        monkeypatch.setattr(gateway_view, "SILENT_SECONDS", 0.0)

        assert not view.is_complete()
        assert view.cell(uid) is None
