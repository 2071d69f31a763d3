"""Client, informer and queue together: a loop that makes a Pod for each run, under faults."""

import random
from typing import Any

import pytest

from anchorhold.cluster import client, informer, paths, queue
from wiring import fakeapi

RUNS = 12


def make_run(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"namespace": "team-a", "name": name},
        "spec": {"task": name},
    }


def make_pod(name: str, owner: str) -> dict[str, Any]:
    reference = {"apiVersion": "anchorhold.dev/v1alpha1", "kind": "AgentRun", "name": name}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "ownerReferences": [{**reference, "uid": owner}]},
    }


class Controller:
    """The smallest thing that uses all three parts: one Pod and one status a run."""

    def __init__(self, kube: client.Client) -> None:
        self.kube = kube
        self.chance = random.Random(1)  # noqa: S311
        self.queue = queue.Queue(self.reconcile, 4, self.chance, lambda _: False)
        self.runs = informer.Informer(kube, paths.agent_runs(), self.uid, self.changed)

    @staticmethod
    def uid(run: dict[str, Any]) -> str:
        return str(run["metadata"]["uid"])

    def changed(self, key: informer.Key, _old: str | None, _new: str | None) -> None:
        self.queue.add(key)

    async def reconcile(self, key: informer.Key) -> None:
        namespace, name = str(key[0]), key[1]
        if key not in self.runs.store:
            return
        try:
            pod = make_pod(name, self.runs.store[key])
            await self.kube.create(paths.pods(namespace), pod)
        except client.ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        status = {"status": {"podName": name}}
        await self.kube.patch(paths.agent_run_status(namespace, name), status)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(queue, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(queue, "FORBIDDEN_SECONDS", 0.01)


@pytest.fixture
async def started(kube: client.Client, start: fakeapi.Start) -> Controller:
    controller = Controller(kube)
    start(controller.runs.run(controller.chance))
    start(controller.queue.run())
    return controller


def all_told(api: fakeapi.FakeApi) -> bool:
    return all("podName" in run.get("status", {}) for run in api.objects("agentruns"))


async def test_each_run_gets_one_pod(api: fakeapi.FakeApi, started: Controller):
    """Given a controller, when runs are created, then each has one Pod and one status."""
    for number in range(RUNS):
        api.put(make_run(f"run-{number}"))
    await api.wait(lambda: all_told(api))

    assert len(api.objects("pods")) == RUNS
    assert api.calls["create", "pods"] == RUNS
    assert api.calls["patch", "agentruns/status"] == RUNS


@pytest.mark.parametrize("done", ["not done", "done, but the answer lost"])
@pytest.mark.parametrize("status", [fakeapi.NO_ANSWER, 403, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("call", [("create", "pods"), ("patch", "agentruns/status")], ids=str)
async def test_whatever_write_fails_the_end_is_the_same(
    api: fakeapi.FakeApi, started: Controller, call: tuple[str, str], status: int, done: str
):
    """Given writes that fail, when that is over, then each run has one Pod and its status."""
    api.fail(*call, status, times=3, skip=2, applied=done != "not done")

    for number in range(RUNS):
        api.put(make_run(f"run-{number}"))
    await api.wait(lambda: all_told(api) and api.calls[call] > RUNS)

    assert len(api.objects("pods")) == RUNS


@pytest.mark.parametrize("fault", ["close", "cut", "410", "500", "refused", "compacted"])
async def test_whatever_happens_to_the_watch_no_run_is_missed(
    api: fakeapi.FakeApi, started: Controller, fault: str
):
    """Given a watch that fails in the middle of a burst, when it is over, then all have Pods."""
    faults = {
        "close": lambda: api.close_watches("agentruns"),
        "cut": lambda: api.cut_watches("agentruns"),
        "410": lambda: api.break_watches("agentruns", 410),
        "500": lambda: api.break_watches("agentruns", 500),
        "refused": lambda: (api.fail("watch", "agentruns", 410), api.cut_watches("agentruns")),
        "compacted": lambda: (api.cut_watches("agentruns"), api.compact()),
    }
    await api.wait(lambda: api.watching("agentruns"))

    for number in range(RUNS):
        api.put(make_run(f"run-{number}"))
        if number == RUNS // 2:
            faults[fault]()
    await api.wait(lambda: all_told(api))

    assert len(api.objects("pods")) == RUNS
    assert api.calls["watch", "agentruns"] >= 2
