"""Limits that hold against an enemy: all its attacks at once, beside an honest neighbour.

Each stands beside something that shows that it was the limit: the same program with more room, or
with a smaller wish.
"""

import subprocess

import pytest

import onnode
from agents import Agents, condition
from attacks import ATTACKS, CONTROLS, PIDS, UNSIZED, Attack
from attempts import Attempts
from bed.kube import Document, Kubectl, wait_for
from storm import Storm
from tiers import Tier

# Every `make test` has the bombs of `prove`; here is the whole crowd at once.
pytestmark = pytest.mark.long
ALL = (*ATTACKS, *UNSIZED, *CONTROLS)
FORKS = """
import os, signal
children = []
for _ in range(600):
    if not (child := os.fork()):
        signal.pause()
    children.append(child)
for child in children:
    os.kill(child, signal.SIGKILL)
print(len(children))
"""


@pytest.fixture(scope="module")
def node_before(kubectl: Kubectl) -> dict[str, Document]:
    """What the node says of itself before anything happens."""
    return onnode.conditions(kubectl)


@pytest.fixture(scope="module")
def storm(hostile: Agents, node_before: dict[str, Document]) -> Storm:
    """All attacks are over."""
    made = Storm(hostile)
    made.blow(ATTACKS, UNSIZED, CONTROLS)
    return made


@pytest.mark.parametrize("attack", [*ATTACKS, *CONTROLS], ids=str)
def test_an_attack_ends_with_its_reason(
    attack: Attack, storm: Storm, tier: Tier, attempts: Attempts
):
    """And it saw the limit, where there is something to be seen from inside."""
    run = storm.runs[attack.name]
    found, seen = condition(run), storm.seen(attack)

    expected = tier.ends.get(attack.name, attack.reason)
    assert found["reason"] == expected, (run["status"], seen)
    assert attack.name in tier.ends or attack.saw(seen), seen
    if attack.without:
        saw = ", ".join(f"{key}: {value}" for key, value in seen.items())
        happened = f"{expected} ({saw})" if saw else expected
        attempts.record("limits", attack.name, f"a cell ({tier})", happened, attack.without)


def test_without_the_nodes_limit_one_user_has_more_processes():
    """The control of the fork bomb: nothing else on this machine would stop it."""
    told = subprocess.run(  # noqa: S603
        ["/usr/bin/python3", "-c", FORKS], user=65532, capture_output=True, check=True
    )  # fmt: skip

    assert int(told.stdout) > PIDS


@pytest.mark.parametrize("attack", UNSIZED, ids=str)
def test_what_no_limit_of_a_cell_ends_is_known(
    attack: Attack, storm: Storm, tier: Tier, attempts: Attempts
):
    """It completes: the day on which it no longer does, `unenforced` says too much."""
    run, pod = storm.runs[attack.name], storm.pods[attack.name]
    seen = storm.seen(attack)

    assert condition(run)["reason"] == attack.reason, (run["status"], seen)
    assert attack.saw(seen), seen
    kept = onnode.mebibytes(onnode.termination_file(pod))
    attempts.record(
        "what only the node can limit", attack.name, f"a cell ({tier})",
        f"{attack.reason} {seen or ''}; {kept} MiB of it are left until the run is deleted", "-",
    )  # fmt: skip


def test_the_node_stays_ready(kubectl: Kubectl, storm: Storm, node_before: dict[str, Document]):
    """No condition of the node has changed meanwhile, not even for a moment."""
    assert onnode.conditions(kubectl) == node_before
    assert node_before["Ready"]["status"] == "True"


def test_a_neighbour_is_unharmed(storm: Storm, tier: Tier, attempts: Attempts):
    """It completes; how much slower it was is told, and judged by nobody."""
    quiet, loud = storm.told()

    assert condition(storm.runs["the neighbour"])["reason"] == "Completed"
    attempts.record(
        "limits", f"{len(ATTACKS) + len(UNSIZED)} attacks at once",
        f"cells beside an honest one ({tier})",
        f"it completed, and a round of its work took {loud}", f"{quiet} before",
    )  # fmt: skip


def test_while_a_cell_runs_the_node_has_much_of_it(storm: Storm):
    """The control of what follows."""
    assert set(storm.traces) == {"files", "control groups", "processes", "mounts", "containers"}


@pytest.mark.parametrize("attack", ALL, ids=str)
def test_nothing_runs_after_the_end(attack: Attack, storm: Storm):
    """What is kept until the run is deleted is its log and what it said last."""
    pod = storm.pods[attack.name]

    volumes = onnode.KUBELET / pod["metadata"]["uid"] / "volumes"

    def is_over() -> bool:
        left = {"processes", "control groups", "mounts"} & set(onnode.traces(pod))
        return not left and not any(path.is_file() for path in volumes.rglob("*"))

    wait_for(is_over, 60, "all that ran to be gone, and all that it wrote into volumes")


def test_nothing_is_left_after_its_deletion(storm: Storm):
    """Nothing at all, of any of them."""
    storm.agents.remove_all()

    for attack, pod in storm.pods.items():
        wait_for(lambda p=pod: not onnode.traces(p), 60, f"nothing of {attack} to be left")
