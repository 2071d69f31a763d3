"""Real work loses nothing in a cell but what the profile forbids on purpose.

The same image does the same work in a cell and in a copy of it without any filter, and the two are
compared test by test. `forbidden.yaml` lists every test that may differ, and why.
"""

import copy
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

import calls
from agents import Agents, condition
from attempts import Attempts
from bed.installation import CLUSTER, Installation
from bed.kube import Document, Kubectl, wait_for
from bed.profile import NAME
from tenants import Tenants, wide_policy

pytestmark = pytest.mark.work

TENANT = "team-work"
WORKLOAD = Path(__file__).parent / "workload"
PACKAGES = "libpython3.11-testsuite nodejs npm git gcc libc6-dev golang-go"
# test -> why it may differ
FORBIDDEN: dict[str, dict[str, str]] = yaml.safe_load(
    (WORKLOAD.parent / "forbidden.yaml").read_text(encoding="utf-8")
)
GOOD = {"ok", "pass", "passed"}
# How much each suite is at least: a suite that did not run has lost nothing either.
MOST = {
    "tools": 11,
    "node": 20,
    "go": 800,
    "python-processes": 3_000,
    "python-rest": 8_000,
}
SECONDS = 2_400
# As much as a small node has left for one cell.
ROOM = {
    "resources": {"cpu": "1", "memory": "3Gi"},
    "workspace": {"sizeLimit": "3Gi"},
    "activeDeadlineSeconds": SECONDS,
}


@pytest.fixture(scope="module")
def place(bed: Installation, tenants: Tenants) -> Iterator[Agents]:
    """A namespace whose runs may do real work, and one without any fence for the control."""
    image = bed.image("tests/work", WORKLOAD, "--packages", PACKAGES)
    written = wide_policy(TENANT, image)
    limits = {"memory": "3Gi", "workspace": "3Gi", "activeDeadlineSeconds": SECONDS}
    written["spec"]["limits"] |= limits
    tenants.policy(written)
    tenants.image = image
    bed.kubectl.namespace(calls.NAMESPACE)
    agents = tenants.onboard(TENANT, TENANT)
    yield agents
    agents.remove_all()
    bed.kubectl.delete("namespace", calls.NAMESPACE, "", "--wait=true")


def confined(place: Agents, suite: str) -> tuple[Document, str]:
    """The Pod of a cell that has done its work, and what it said."""
    name = place.submit(args=[suite], **ROOM)
    wait_for(partial(is_over, place, name), SECONDS, f"{suite} to be done in a cell")
    run = place.get(name)
    (pod,) = place.pods(name)
    assert condition(run)["reason"] == "Completed", said(place.admin, pod)[-2_000:]
    assert run["status"]["effective"]["seccomp"] == NAME
    return pod, said(place.admin, pod)


def is_over(place: Agents, name: str) -> bool:
    """Whether a run has ended."""
    return bool(condition(place.get(name))["status"] != "Unknown")


def unconfined(place: Agents, cell: Document, suite: str) -> str:
    """What a copy of the cell said, which differs in its filter and in having no netgate."""
    pod = copy.deepcopy(cell)
    pod["metadata"] = {"name": f"free-{suite}", "namespace": calls.NAMESPACE}
    spec = pod["spec"]
    for field in ("initContainers", "nodeName", "serviceAccount", "serviceAccountName"):
        spec.pop(field, None)
    for part in (spec, spec["containers"][0]):
        part["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    (task,) = (volume for volume in spec["volumes"] if volume["name"] == "task")
    task["emptyDir"] = {}
    del task["configMap"], pod["status"]
    place.admin.create(pod)
    wait_for(partial(has_ended, place.admin, pod), SECONDS, f"{suite} to be done without a filter")
    return said(place.admin, pod)


def has_ended(admin: Kubectl, pod: Document) -> bool:
    """Whether a Pod has ended, and well."""
    found = admin.get("pod", pod["metadata"]["name"], pod["metadata"]["namespace"])
    assert found is not None
    assert found["status"]["phase"] != "Failed", said(admin, pod)[-2_000:]
    return bool(found["status"]["phase"] == "Succeeded")


def said(admin: Kubectl, pod: Document) -> str:
    """The log of a Pod's agent."""
    metadata = pod["metadata"]
    return admin("logs", metadata["name"], "-n", metadata["namespace"], "-c", "agent")


def outcomes(log: str) -> dict[str, str]:
    """Every test and its outcome."""
    return {name: outcome for outcome, name in re.findall(r"^= (\w+) (.+)$", log, re.MULTILINE)}


@pytest.mark.parametrize("suite", list(MOST))
@pytest.mark.timeout(2 * SECONDS + 300)
def test_real_work_loses_nothing_but_what_is_forbidden(
    place: Agents, attempts: Attempts, suite: str
):
    """Each test that differs is in the list, and each in the list differs."""
    cell, inside = confined(place, suite)
    outside = unconfined(place, cell, suite)
    with_it, without = outcomes(inside), outcomes(outside)
    for kind, log in (("confined", inside), ("unconfined", outside)):
        (CLUSTER / "log" / f"work-{suite}-{kind}.log").write_text(log, encoding="utf-8")

    differ = {name: (with_it.get(name, "absent"), without.get(name, "absent"))
              for name in with_it | without if with_it.get(name) != without.get(name)}  # fmt: skip
    allowed = FORBIDDEN[suite] or {}
    assert {name: how for name, how in differ.items() if name not in allowed} == {}
    assert set(allowed) <= set(differ), "remove from the list what does not differ any more"
    good, before = (sum(outcome in GOOD for outcome in seen.values())
                    for seen in (with_it, without))  # fmt: skip
    assert good >= MOST[suite]
    attempts.record(
        "seccomp: real work", f"{len(with_it)} tests of {suite}", "a cell", f"{good} pass",
        f"{before} pass",
    )  # fmt: skip
