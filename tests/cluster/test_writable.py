"""Every place that a cell can write is known, and either sized or told as what no limit reaches."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import onnode
from agents import Agents
from attempts import Attempts
from bed.kube import Kubectl, wait_for
from onenode import node, paths
from tiers import WRITABLE, Tier
from unfenced import NAMESPACE, unfenced

LOOK = """
import json, writable
print(json.dumps({path: writable.sized(path) for path in writable.places()}))
"""
FILL = "import disk_bomb; disk_bomb.by_bytes('/declared/fill', 200)"
# To look at everything takes a while.
QUICK = {"cpu": "500m", "memory": "128Mi"}
OVERFLOW = "import disk_bomb as d, os; d.by_bytes(os.environ['ANCHORHOLD_RESULT'], 300)"
IGNORED = "ignore_image_defined_volumes = {}"
# Tier -> the runtime of its cells, as the node's settings name it, and as a Pod asks for it.
RUNTIMES = {
    "user-namespace": ('runtime_type = "io.containerd.runc.v2"', {}),
    "gvisor": ('runtime_type = "io.containerd.runsc.v1"', {"runtimeClassName": "gvisor"}),
}


def test_every_place_that_a_cell_can_write_is_known(
    hostile: Agents, tier: Tier, attempts: Attempts
):
    """Found by trying every file and every folder that there is."""
    found = hostile.shown(LOOK, resources=QUICK)

    assert sorted(found) == sorted(tier.places)
    for row in (row for row in WRITABLE[tier.name] if row["keeps"] != "nothing"):
        attempts.record(
            "writable places", f"write to {row['path']}", f"a cell ({tier})",
            f"works; bytes: {row['bytes']}; files: {row['files']}", row.get("setting", "-"),
        )  # fmt: skip


@pytest.mark.parametrize("rows", WRITABLE.values(), ids=WRITABLE)
def test_what_no_limit_of_a_cell_reaches_is_said_with_what_would(rows: list[dict[str, str]]):
    """Nobody is left alone with a place that anybody can fill."""
    unsized = {row["path"] for row in rows if "nothing" in (row.get("bytes"), row.get("files"))}

    assert unsized == {"/workspace", "/dev/termination-log"}
    assert unsized == {row["path"] for row in rows if row.get("setting")}


def test_a_volume_that_an_image_declares_adds_none(
    hostile: Agents, image_with_volume: str, tier: Tier, attempts: Attempts
):
    """Where the runtime is told to ignore it: a setting of the node."""
    found = hostile.shown(LOOK, image=image_with_volume, resources=QUICK)

    assert sorted(found) == sorted(tier.places)


@contextmanager
def node_with(kubectl: Kubectl, before: str, after: str) -> Iterator[None]:
    """The runtime with another line in its settings, for as long as a block runs."""
    reconfigure(kubectl, before, after)
    try:
        yield
    finally:
        reconfigure(kubectl, after, before)


def reconfigure(kubectl: Kubectl, before: str, after: str) -> None:
    """Change the settings, and start the runtime again."""
    file = paths.here().etc / "containerd.toml"
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    node.stop(paths.here(), "containerd")
    node.start(paths.here(), "containerd")
    wait_for(
        lambda: onnode.conditions(kubectl)["Ready"]["status"] == "True", 60, "the node to be ready"
    )


@pytest.mark.long
def test_a_node_that_makes_such_volumes_sets_no_limit_to_them(
    kubectl: Kubectl, hostile: Agents, image_with_volume: str, tier: Tier, attempts: Attempts
):
    """The control: there it is, and 200 MiB go in where the limits of the cell say 128."""
    with node_with(kubectl, IGNORED.format("true"), IGNORED.format("false")):
        found = hostile.shown(LOOK + FILL, image=image_with_volume, resources=QUICK)

    assert set(found) - tier.places == {"/declared"}
    attempts.record(
        "writable places", "a VOLUME that the image declares", f"a cell ({tier})",
        "does not exist", "takes 200 MiB in a cell with a limit of 128",
    )  # fmt: skip


@pytest.mark.usefixtures("gvisor")
def test_a_node_can_limit_the_termination_file(
    kubectl: Kubectl, image: str, tier: Tier, attempts: Attempts
):
    """By a limit for each file; what goes in without it, test_enemy.py has seen.

    Shown without a user namespace: with one, runc needs CAP_SYS_RESOURCE to set that limit, which a
    node in a sandbox may lack.
    """
    ctr = str(paths.here().bin / "ctr")
    base = json.loads(subprocess.check_output([ctr, "oci", "spec"]))  # noqa: S603
    limit = {"type": "RLIMIT_FSIZE", "hard": 64 * 2**20, "soft": 64 * 2**20}
    base["process"]["rlimits"] = [limit]
    file = paths.here().etc / "base-spec.json"
    file.write_text(json.dumps(base), encoding="utf-8")
    line, spec = RUNTIMES[tier.name]
    changed = node_with(kubectl, line, f'{line}\n    base_runtime_spec = "{file}"')
    with changed, unfenced(kubectl, image) as free:
        free.start("filling", OVERFLOW, {}, **spec)
        wait_for(lambda: free.status("filling").get("phase") == "Failed", 60, "the Pod to fail")
        said = kubectl("logs", "filling", "-n", NAMESPACE)
        pod = kubectl.get("pod", "filling", NAMESPACE)
        assert pod is not None
        kept = onnode.mebibytes(onnode.termination_file(pod))

    assert "File too large" in said
    assert 0 < kept <= 64
    attempts.record(
        "writable places", "300 MiB into the termination file, where RLIMIT_FSIZE is 64 MiB",
        f"a Pod ({tier})", f"'File too large'; {kept} MiB are kept", "300 MiB are kept",
    )  # fmt: skip
