"""What keeps a cell apart from the node's kernel, looked at from inside, on the real node.

Each tier is the other's control: what one shows, the other must not.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import Agents, changed_policy, condition
from anchorhold.api.policy import CLASS_RULE
from attempts import Attempts
from bed.installation import CLUSTER
from bed.kube import Document, Kubectl, RefusedError, wait_for
from onenode import components, mounts, shell, state
from tenants import Tenants, runtime_class, wide_policy
from unfenced import unfenced

TENANT, OTHER = "team-walls", "gvisor-again"
SAME_AS_ROOT = ["0", "0", "4294967295"]
LOOK = """
import json, os
seen = {'users': open('/proc/self/uid_map').read().split(),
        'kernel': open('/proc/version').read().strip(),
        'filter': next(l.split()[1] for l in open('/proc/self/status') if l.startswith('Seccomp:'))}
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(seen))
"""


def seen_from_inside(agents: Agents) -> Document:
    """What an agent sees of its walls."""
    run = agents.end(agents.submit(LOOK))
    return dict(json.loads(run["status"]["result"]["message"]))


@pytest.mark.long
def test_each_tier_shows_its_own_wall_from_inside(
    agents: Agents, under_gvisor: Agents, attempts: Attempts
):
    """In a user namespace root is nobody and the kernel is the node's; under gVisor vice versa."""
    mapped, sandboxed = seen_from_inside(agents), seen_from_inside(under_gvisor)

    assert mapped["kernel"] == Path("/proc/version").read_text().strip()
    assert mapped["users"] != SAME_AS_ROOT
    assert sandboxed["kernel"] != mapped["kernel"]
    assert sandboxed["users"] == SAME_AS_ROOT
    assert (mapped["filter"], sandboxed["filter"]) == ("2", "0"), "README says so of gVisor"
    users = [" ".join(seen["users"]) for seen in (mapped, sandboxed)]
    attempts.record("user namespace", "read /proc/self/uid_map", "cell", *users)
    kernels = sandboxed["kernel"], mapped["kernel"]
    attempts.record("gVisor", "read /proc/version", "cell", *kernels)


def test_the_record_and_the_pod_say_which_tier_it_was(agents: Agents, under_gvisor: Agents):
    """Of the two walls a cell has exactly one."""
    found = {}
    for place in (agents, under_gvisor):
        run = place.completes()
        pod = place.pods(run["metadata"]["name"])[0]["spec"]
        effective = run["status"]["effective"]
        found[effective["isolation"], effective["runtimeClassName"]] = (
            pod["hostUsers"], pod.get("runtimeClassName"),
        )  # fmt: skip

    assert found == {
        ("UserNamespace", ""): (False, None),
        ("RuntimeClass", "gvisor"): (True, "gvisor"),
    }


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"isolation": "RuntimeClass"}, id="no class for a RuntimeClass"),
        pytest.param({"runtimeClassName": "gvisor"}, id="a class beside a user namespace"),
    ],
)
def test_a_policy_names_a_runtime_class_exactly_where_that_is_its_wall(
    kubectl: Kubectl, tenant: str, change: Document
):
    """A name that would be ignored would promise what no cell has."""
    policy = kubectl.get("agentpolicy", tenant, "anchorhold-policies")
    assert policy is not None
    policy["spec"] |= change

    with pytest.raises(RefusedError) as refusal:
        kubectl("replace", "--dry-run=server", "-f", "-", stdin=json.dumps(policy))

    assert CLASS_RULE["message"] in str(refusal.value)


# ---- inputs ----------------------------------------------------------------------------------

WRITE_BELOW = """
import os
try:
    open('/inputs/tree/below/x', 'w').close()
    said = 'written'
except OSError as error:
    said = error.strerror
open('/dev/termination-log', 'w').write(said)
"""


@pytest.fixture
def below(claim: str) -> Iterator[Path]:
    """A claim's volume, in which the node has mounted something that anybody may write to."""
    record = state.load()
    assert record is not None
    folder = CLUSTER / "volumes" / "test-tree"
    (folder / "below").mkdir(exist_ok=True)
    enter = mounts.inside(record.processes[components.MOUNTS])
    shell.run(*enter, "mount", "-t", "tmpfs", "-o", "mode=777,size=1m", "none", folder / "below")
    yield folder
    shell.run(*enter, "umount", "--lazy", folder / "below")


@pytest.mark.long
def test_what_is_mounted_below_an_input_is_read_only_as_well(
    agents: Agents, under_gvisor: Agents, below: Path, claim: str, attempts: Attempts
):
    """In a Pod that asks for `readOnly` alone, it is not."""
    inputs = [{"name": "tree", "persistentVolumeClaim": {"claimName": claim}}]
    ended = [
        place.end(place.submit(WRITE_BELOW, inputs=inputs)) for place in (agents, under_gvisor)
    ]

    said = [run["status"]["result"]["message"] for run in ended]
    without = said_in_a_plain_pod(agents, below)

    assert said == ["Read-only file system"] * 2
    assert without == "written"
    tried = "write to what is mounted below a read-only input"
    for where, seen in zip(("cell", "cell under gVisor"), said, strict=True):
        attempts.record("recursiveReadOnly", tried, where, seen, without)


def said_in_a_plain_pod(agents: Agents, folder: Path) -> str:
    """What becomes of the same attempt without our walls."""
    with unfenced(agents.admin, agents.image) as plain:
        plain.start("writer", WRITE_BELOW, {}, str(folder))
        return plain.message("writer")


# ---- changes bite ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def onboarded(tenants: Tenants, image: str) -> Agents:
    """A namespace whose policy these tests change."""
    tenants.policy(wide_policy(TENANT, image))
    return tenants.onboard(TENANT, TENANT)


@pytest.fixture(scope="module")
def other_class(kubectl: Kubectl) -> Iterator[str]:
    """A second RuntimeClass of the same runtime, which costs something."""
    kubectl.apply(runtime_class(OTHER, "runsc", overhead={"podFixed": {"memory": "16Mi"}}))
    yield OTHER
    kubectl.delete("runtimeclass", OTHER)


@pytest.mark.long
def test_a_policy_that_exchanges_the_wall_ends_what_runs(
    place: Agents, gvisor: str, other_class: str
):
    """No running cell can be given another wall; the next run has it."""
    change = {"isolation": "RuntimeClass", "runtimeClassName": gvisor}
    policy = changed_policy(place.admin, TENANT, change)
    first = place.running()
    with policy:
        assert revocation(place, first) == (
            "`isolation` is 'RuntimeClass' now, and the cell was made with 'UserNamespace'"
        )
        second = place.running()
        policy.patch({"runtimeClassName": other_class})
        assert revocation(place, second) == (
            f"`runtimeClassName` is '{other_class}' now, and the cell was made with '{gvisor}'"
        )
        third = place.running()
        assert place.pods(third)[0]["spec"]["overhead"] == {"memory": "16Mi"}
    assert revocation(place, third) == (
        "`isolation` is 'UserNamespace' now, and the cell was made with 'RuntimeClass'"
    )
    assert place.completes()["status"]["effective"]["isolation"] == "UserNamespace"


def revocation(place: Agents, name: str) -> str:
    """Why a run was revoked; nothing of its cell is left."""
    run = place.end(name)
    assert condition(run)["reason"] == "PolicyRevoked"
    place.until_gone(name)
    return str(condition(run)["message"])


# ---- what is not there -----------------------------------------------------------------------

# A RuntimeClass -> its handler, if it exists, and what is said of it.
ABSENT = {
    "nobody-made-this": (None, "RuntimeClass 'nobody-made-this', which the policy names, does not"),
    "nobody-runs-this": ("nobody", "the node made no sandbox of RuntimeClass 'nobody-runs-this'"),
}


@pytest.fixture(scope="module", autouse=True)
def waiting(tenants: Tenants, image: str, kubectl: Kubectl) -> Iterator[dict[str, Agents]]:
    """A run under each of these, submitted first, because patience has to run out."""
    made = {}
    for name, (handler, _) in ABSENT.items():
        if handler is not None:
            kubectl.apply(runtime_class(name, handler))
        written = wide_policy(name, image)
        written["spec"] |= {"isolation": "RuntimeClass", "runtimeClassName": name}
        tenants.policy(written)
        made[name] = tenants.onboard(name, name)
        made[name].submit()
    yield made
    for name in ABSENT:
        kubectl.delete("runtimeclass", name)


@pytest.mark.parametrize("name", ABSENT)
def test_what_no_node_can_keep_apart_is_refused_with_its_reason(
    waiting: dict[str, Agents], name: str, kubectl: Kubectl, attempts: Attempts
):
    """No run hangs, and none starts behind a lesser wall; a class that works is the control."""
    place = waiting[name]
    submitted = place.submitted[0]

    def ended() -> Document | None:
        run = place.get(submitted)
        return run if condition(run)["status"] != "Unknown" else None

    run = wait_for(ended, 300, f"{submitted} to end")

    assert condition(run)["reason"] == "Unschedulable"
    assert ABSENT[name][1] in condition(run)["message"]
    assert "startTime" not in run["status"]
    place.until_gone(submitted)


def test_a_runtime_class_that_comes_later_is_enough(waiting: dict[str, Agents], kubectl: Kubectl):
    """The control: nothing else was missing."""
    place = waiting["nobody-made-this"]
    wait_for(lambda: condition(place.get(place.submitted[0]))["status"] == "False", 300, "its end")

    kubectl.apply(runtime_class("nobody-made-this", "runsc"))

    assert place.completes()["status"]["effective"]["runtimeClassName"] == "nobody-made-this"
