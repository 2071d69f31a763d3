"""Deleted means gone: with the API server and its garbage collector alone, and no controller."""

from collections.abc import Iterator

import pytest

from anchorhold import names
from bed.kube import Kubectl, wait_for
from examples import load, twin
from places import Places, binding, standing

RUN, POD = "agentrun", "pod"
SECONDS = 90


@pytest.fixture(scope="module")
def places(kubectl: Kubectl) -> Iterator[Places]:
    """Every place, in force, and no controller."""
    with standing(kubectl) as made:
        yield made


def cell(places: Places, name: str) -> str:
    """Make a run and its cell, and return their namespace."""
    namespace = places.namespace("cell")
    places.make_cell(name, twin("pod").posted(namespace))
    return namespace


def is_gone(places: Places, name: str, namespace: str) -> None:
    """Both are gone, the run and its cell."""
    for kind in (RUN, POD):
        gone = f"the {kind} {name} to go"
        wait_for(lambda k=kind: places.admin.get(k, name, namespace) is None, SECONDS, gone)


@pytest.mark.parametrize("how", ["background", "foreground"])
def test_a_deleted_run_takes_its_cell_along(places: Places, how: str):
    """The garbage collector's own writes, to the run and to the cell, pass the rules."""
    namespace = cell(places, how)

    places.admin.delete(RUN, how, namespace, f"--cascade={how}", "--wait=false")

    is_gone(places, how, namespace)


def test_a_run_can_not_be_deleted_without_its_cell(places: Places):
    """Neither alone nor with all others; and it can be deleted properly after that."""
    namespace, kubectl = cell(places, "orphan"), places.admin
    options = ("--namespace", namespace, "--cascade=orphan", "--wait=false")

    for which in ("orphan", "--all"):
        refused = kubectl.run("delete", RUN, which, *options)
        assert "`propagationPolicy` must not be 'Orphan'" in refused.stderr

    found = kubectl.get(RUN, "orphan", namespace)
    assert found is not None
    assert "deletionTimestamp" not in found["metadata"]
    assert kubectl.get(POD, "orphan", namespace) is not None
    kubectl.delete(RUN, "orphan", namespace, "--wait=false")
    is_gone(places, "orphan", namespace)


def test_a_cell_keeps_its_run_even_where_the_run_may_be_orphaned(places: Places):
    """The floor of cells alone: the garbage collector can't take the cell's owner away."""
    namespace, kubectl = cell(places, "kept"), places.admin
    rule = f"anchorhold-run-integrity.{namespace}"
    kubectl.delete("validatingadmissionpolicybinding", rule)
    try:
        wait_for(lambda: orphan(kubectl, namespace), SECONDS, "the rule to be out of force")
    finally:
        kubectl.apply(binding("anchorhold-run-integrity", namespace))
    example = load("refused")["a run that is given a finalizer"]
    wait_for(lambda: places.refuses(example), SECONDS, "the rule to be in force again")

    pod, run = kubectl.get(POD, "kept", namespace), kubectl.get(RUN, "kept", namespace)
    assert run is not None
    assert run["metadata"]["finalizers"] == ["orphan"]
    assert pod is not None
    assert pod["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    kubectl.delete(POD, "kept", namespace, "--wait=false")
    is_gone(places, "kept", namespace)


def orphan(kubectl: Kubectl, namespace: str) -> bool:
    """Try to delete the run without its cell."""
    where = ("--namespace", namespace, "--cascade=orphan", "--wait=false")
    return kubectl.run("delete", RUN, "kept", *where).returncode == 0


@pytest.mark.parametrize("who", ["author", "admin", "controller"])
def test_nobody_can_give_a_run_a_finalizer(places: Places, who: str):
    """Not by a merge, and not by server-side apply under another field manager."""
    namespace = cell(places, f"finalizer-{who}")
    path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/agentruns/finalizer-{who}"
    keep = {"metadata": {"finalizers": ["example.com/keep"]}}
    applied = {"apiVersion": names.API_VERSION, "kind": "AgentRun", **keep}
    api = places.posters[who]

    merged = api.request("PATCH", path, keep)
    forced = api.request("APPLY", f"{path}?fieldManager=other&force=true", applied)

    for answer in (merged, forced):
        assert "anchorhold-run-integrity" in answer.refusal
    places.admin.delete(RUN, f"finalizer-{who}", namespace, "--wait=false")
    is_gone(places, f"finalizer-{who}", namespace)
