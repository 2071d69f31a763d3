"""What the controller makes of the gateway's word that a budget is spent."""

from typing import Any

import pytest

from wiring import fakeapi
from wiring.test_controller import NAMESPACE, SECONDS, Cluster


@pytest.fixture
def cluster(api: fakeapi.FakeApi) -> Cluster:
    return Cluster(api)


def used(cluster: Cluster, **usage: Any) -> None:  # noqa: ANN401
    """The gateway writes what a run has used."""
    cluster.api.patch_status("agentruns", NAMESPACE, "a", {"usage": usage})


async def test_a_run_whose_budget_is_spent_ends_and_its_usage_stays(cluster: Cluster):
    cluster.onboard()
    async with cluster.controller():
        await cluster.runs_on_the_node("a")

        used(cluster, requests=5, exhausted="budget.requests")

        await cluster.until("a", "BudgetExhausted")
        assert cluster.message("a") == "`egress.budget.requests` is spent"
        await cluster.api.wait(lambda: cluster.pod("a") is None, SECONDS)
    run = cluster.api.get("agentruns", NAMESPACE, "a")
    assert run is not None
    assert run["status"]["usage"] == {"requests": 5, "exhausted": "budget.requests"}


async def test_what_a_run_uses_makes_the_controller_write_nothing(cluster: Cluster):
    """It changes every few seconds."""
    cluster.onboard()
    async with cluster.controller():
        await cluster.runs_on_the_node("a")
        before = cluster.api.calls["patch", "agentruns/status"]

        for n in range(20):
            used(cluster, requests=n, exhausted="")
        cluster.api.patch("agentruns", NAMESPACE, "a", {"spec": {"cancel": True}})

        await cluster.until("a", "Cancelled")
    assert cluster.api.calls["patch", "agentruns/status"] <= before + 2


async def test_an_agent_that_gave_up_for_a_spent_budget_did_not_fail(cluster: Cluster):
    cluster.onboard()
    async with cluster.controller():
        await cluster.runs_on_the_node("a")
    used(cluster, requests=5, exhausted="dailyBudget.requests")
    await cluster.ends("a", code=1)

    async with cluster.controller():
        await cluster.until("a", "BudgetExhausted")
