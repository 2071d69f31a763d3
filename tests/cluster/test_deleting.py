"""Deleted means gone: nothing keeps a run, and no cell outlives it, controller or not."""

import json
from collections.abc import Callable

import pytest

from agents import Agents, Controller
from bed.kube import Document, Kubectl, RefusedError

pytestmark = pytest.mark.long

SLEEP = "import time; time.sleep(600)"


@pytest.fixture(params=[True, False], ids=["the controller runs", "it is at zero replicas"])
def running(request: pytest.FixtureRequest, agents: Agents, controller: Controller) -> str:
    """A run whose agent is at work, with the controller there or not."""
    name = agents.running()
    if not request.param:
        controller.stop()
    return name


def changed(who: Kubectl, namespace: str, name: str, metadata: Document) -> None:
    """Merge into a run's metadata. Raises RefusedError."""
    patch = json.dumps({"metadata": metadata})
    who("patch", "agentrun", name, "-n", namespace, "--type=merge", "-p", patch)


@pytest.mark.parametrize("finalizer", ["example.com/keep", "orphan", "foregroundDeletion"])
def test_nobody_keeps_a_run_with_a_finalizer(agents: Agents, running: str, finalizer: str):
    """Neither on a run that exists nor on a new one, neither its author nor an administrator."""
    for who in (agents.author, agents.admin):
        with pytest.raises(RefusedError, match=r"anchorhold-run-integrity.*`metadata.finalizers`"):
            changed(who, agents.namespace, running, {"finalizers": [finalizer]})
        document = agents.document("")
        who.create(document, "--dry-run=server")
        document["metadata"]["finalizers"] = [finalizer]
        with pytest.raises(RefusedError, match=r"anchorhold-run-integrity.*`metadata.finalizers`"):
            who.create(document, "--dry-run=server")
        # The control: a label is no offence.
        changed(who, agents.namespace, running, {"labels": {"example.com/note": "mine"}})

    agents.author.delete("agentrun", running, agents.namespace)

    agents.until_gone(running)


def by_flag(who: Kubectl, namespace: str, name: str) -> None:
    """As a person would."""
    who("delete", "agentrun", name, "-n", namespace, "--cascade=orphan")


def by_options(who: Kubectl, namespace: str, name: str) -> None:
    """With the options' older field."""
    by_body(who, namespace, name, {"orphanDependents": True})


def all_at_once(who: Kubectl, namespace: str, _: str) -> None:
    """As a collection."""
    who("delete", "agentruns", "--all", "-n", namespace, "--cascade=orphan")


def by_body(who: Kubectl, namespace: str, name: str, options: Document) -> None:
    """A raw request."""
    path = f"/apis/anchorhold.dev/v1alpha1/namespaces/{namespace}/agentruns/{name}"
    body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
    who("delete", "--raw", path, "-f", "-", stdin=json.dumps(body))


Delete = Callable[[Kubectl, str, str], None]


@pytest.mark.parametrize("delete", [by_flag, by_options, all_at_once], ids=lambda how: how.__name__)
def test_an_orphaning_delete_leaves_no_cell_behind(agents: Agents, running: str, delete: Delete):
    """It is refused, whoever asks and however; the usual ones end the cell."""
    for who in (agents.author, agents.admin):
        with pytest.raises(RefusedError, match=r"anchorhold-run-integrity.*`propagationPolicy`"):
            delete(who, agents.namespace, running)

    assert agents.get(running)["metadata"].get("deletionTimestamp") is None
    assert agents.pods(running)[0]["metadata"].get("deletionTimestamp") is None
    agents.author.delete("agentrun", running, agents.namespace)
    agents.until_gone(running)


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_a_deleted_run_takes_its_cell_along(agents: Agents, running: str, cascade: str):
    """Both usual ways, and the run itself is gone as well."""
    agents.author.delete("agentrun", running, agents.namespace, f"--cascade={cascade}")

    agents.until_gone(running)
    assert agents.admin.get("agentrun", running, agents.namespace) is None
