"""Every place that a cell can write is known, and either sized or told as what no limit reaches."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import onnode
from agents import Agents
from attempts import Attempts
from bed.kube import Kubectl, wait_for
from onenode import node, paths
from tiers import Tier

LIST = yaml.safe_load((Path(__file__).parent / "writable.yaml").read_text(encoding="utf-8"))
LOOK = """
import json, writable
print(json.dumps({path: writable.sized(path) for path in writable.places()}))
"""
FILL = "import disk_bomb; disk_bomb.by_bytes('/declared/fill', 200)"
# To look at everything takes a while.
QUICK = {"cpu": "500m", "memory": "128Mi"}
SETTING = "ignore_image_defined_volumes = {}"


def test_every_place_that_a_cell_can_write_is_known(
    hostile: Agents, tier: Tier, attempts: Attempts
):
    """Found by trying every file and every folder that there is."""
    found = hostile.shown(LOOK, resources=QUICK)

    assert sorted(found) == sorted(row["path"] for row in LIST)
    for row in (row for row in LIST if row["keeps"] != "nothing"):
        attempts.record(
            "writable places", f"write to {row['path']}", f"a cell ({tier})",
            f"works; bytes: {row['bytes']}; files: {row['files']}", row.get("setting", "-"),
        )  # fmt: skip


def test_what_no_limit_of_a_cell_reaches_is_said_with_what_would():
    """Nobody is left alone with a place that anybody can fill."""
    unsized = {row["path"] for row in LIST if "nothing" in (row.get("bytes"), row.get("files"))}

    assert unsized == {"/workspace", "/dev/termination-log"}
    assert unsized == {row["path"] for row in LIST if row.get("setting")}


def test_a_volume_that_an_image_declares_adds_none(
    hostile: Agents, image_with_volume: str, tier: Tier, attempts: Attempts
):
    """Where the runtime is told to ignore it: a setting of the node."""
    found = hostile.shown(LOOK, image=image_with_volume, resources=QUICK)

    assert sorted(found) == sorted(row["path"] for row in LIST)


@pytest.fixture
def image_volumes(kubectl: Kubectl) -> Iterator[None]:
    """The node makes the volumes that images declare, as it does unless it is told otherwise."""
    reconfigure(kubectl, "true", "false")
    yield
    reconfigure(kubectl, "false", "true")


def reconfigure(kubectl: Kubectl, before: str, after: str) -> None:
    """Change the setting, and start the runtime again."""
    file = paths.here().etc / "containerd.toml"
    text = file.read_text(encoding="utf-8")
    assert SETTING.format(before) in text
    file.write_text(text.replace(SETTING.format(before), SETTING.format(after)), encoding="utf-8")
    node.stop(paths.here(), "containerd")
    node.start(paths.here(), "containerd")
    wait_for(
        lambda: onnode.conditions(kubectl)["Ready"]["status"] == "True", 60, "the node to be ready"
    )


@pytest.mark.usefixtures("image_volumes")
def test_without_that_setting_it_is_a_place_without_any_limit(
    hostile: Agents, image_with_volume: str, tier: Tier, attempts: Attempts
):
    """The control: there it is, and 200 MiB go in where the limits of the cell say 128."""
    found = hostile.shown(LOOK + FILL, image=image_with_volume, resources=QUICK)

    assert set(found) - {row["path"] for row in LIST} == {"/declared"}
    attempts.record(
        "writable places", "a VOLUME that the image declares", f"a cell ({tier})",
        "does not exist", "takes 200 MiB in a cell with a limit of 128",
    )  # fmt: skip
