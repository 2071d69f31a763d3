"""Inputs are read-only through and through, and what is missing is named at once."""

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import onnode
from agents import Agents, condition
from attempts import Attempts
from bed.installation import CLUSTER
from bed.kube import Document, Kubectl, wait_for
from tenants import unavailable
from tiers import OWN_KERNEL, Tier
from unfenced import NAMESPACE, Unfenced, unfenced
from volumes import claim_on, volume

# Under gVisor an agent may move the mounts of a kernel of its own: `test_isolation.py` looks there.
pytestmark = [OWN_KERNEL, pytest.mark.usefixtures("tier")]
CONTENT = "content\n"
# Every trick on every folder that was given read-only; and on a folder of the agent's own.
TRY_ALL = """
import json, os, shutil, tricks
folders = json.loads(os.environ['FOLDERS'])
seen = {folder: tricks.all_on(folder, file, {**tricks.ON_FILES, **tricks.ON_MOUNTS})
        for folder, file in folders.items()}
os.mkdir('/workspace/own')
open('/workspace/own/file', 'w').close()
seen['own'] = tricks.all_on('/workspace/own', 'file', tricks.ON_FILES)
paths = [f'{folder}/{file}' for folder, file in folders.items()]
seen['read'] = {path: open(path).read(99) for path in paths}
print(json.dumps(seen), flush=True)
"""
FOLDERS = {
    "/inputs/settings": "key",
    "/inputs/tree": "file",
    "/inputs/tree/below": "file",
    "/inputs/image/hostile": "telling.py",
    "/run/anchorhold": "task",
}


@pytest.fixture(scope="module")
def folder(hostile: Agents) -> Iterator[Path]:
    """A folder of the node that everybody may write, and another file system below it."""
    top = CLUSTER / "volumes" / hostile.namespace
    below = top / "below"
    below.mkdir(parents=True, exist_ok=True)
    on_the_node("mount", "-t", "tmpfs", "-o", "mode=1777,strictatime", "below", str(below))
    try:
        for place in (top, onnode.through(below)):
            (place / "file").write_text(CONTENT, encoding="utf-8")
            (place / "file").chmod(0o666)
            place.chmod(0o777)
        yield top
    finally:
        on_the_node("umount", "--lazy", str(below))


def on_the_node(*command: str) -> None:
    """Run something in the mount namespace of the node."""
    inside = ("nsenter", f"--mount=/proc/{onnode.holder()}/ns/mnt")
    subprocess.run([*inside, *command], check=True)  # noqa: S603


@pytest.fixture(scope="module")
def inputs(hostile: Agents, folder: Path) -> Iterator[list[Document]]:
    """One input of each kind."""
    namespace, admin = hostile.namespace, hostile.admin
    settings = {
        "apiVersion": "v1", "kind": "ConfigMap", "immutable": True,
        "metadata": {"name": "settings", "namespace": namespace}, "data": {"key": CONTENT},
    }  # fmt: skip
    made = volume(namespace, namespace, str(folder)), claim_on(namespace, namespace)
    for document in (settings, *made):
        admin.apply(document)
    yield [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "tree", "persistentVolumeClaim": {"claimName": "tree"}},
        {"name": "image", "image": {"reference": hostile.image}},
    ]
    admin.delete("persistentvolumeclaim", "tree", namespace, "--wait=false")
    admin.delete("persistentvolume", namespace, "", "--wait=false")


@pytest.fixture(scope="module")
def tried(hostile: Agents, inputs: list[Document]) -> dict[str, dict[str, str]]:
    """What came of every trick, by folder."""
    environment = [{"name": "FOLDERS", "value": json.dumps(FOLDERS)}]
    name = hostile.submit(TRY_ALL, inputs=inputs, env=environment)
    run = hostile.end(name)
    assert condition(run)["reason"] == "Completed", hostile.said(name)
    seen: dict[str, dict[str, str]] = json.loads(hostile.said(name))
    hostile.admin.delete("agentrun", name, hostile.namespace)
    return seen


@pytest.fixture(scope="module")
def mighty(kubectl: Kubectl, hostile: Agents, folder: Path) -> Iterator[dict[str, Any]]:
    """The same tricks by root with rights over mounts, in a Pod that nobody fenced."""
    with unfenced(kubectl, hostile.image) as free:
        kubectl.create(mighty_pod(hostile.image, folder))
        wait_for(partial(has_ended, free), 60, "the mighty Pod to end")
        ended = free.status("mighty")["containerStatuses"][0]["state"]["terminated"]
        yield dict(json.loads(ended["message"]))


def has_ended(free: Unfenced) -> bool:
    return free.status("mighty").get("phase") in ("Succeeded", "Failed")


MIGHTY = """
import telling, tricks
seen = tricks.all_on('/inputs/tree', 'file', tricks.ON_MOUNTS)
below = telling.outcome(lambda: tricks.opened('/plain/below/by-the-control', 0o102))
telling.report(tricks=seen, below=below, beside=telling.outcome(lambda: open('/plain/file', 'w')))
"""


def mighty_pod(image: str, folder: Path) -> Document:
    """Its folder is read-only, but lies in memory of its own: it may do there what it likes.

    `/plain` is the volume of the runs, read-only as Kubernetes understands it by default.
    """
    environment = [{"name": "ANCHORHOLD_RESULT", "value": "/dev/termination-log"}]
    workspace = {"name": "workspace", "mountPath": "/workspace"}
    tree = {"name": "tree", "mountPath": "/inputs/tree"}
    plain = {"name": "plain", "mountPath": "/plain", "readOnly": True}
    rights = {
        "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN", "DAC_READ_SEARCH"]},
        "seccompProfile": {"type": "Unconfined"},
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mighty", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "initContainers": [{
                "name": "fill", "image": image, "args": ["open('/inputs/tree/file', 'w')"],
                "securityContext": {"runAsUser": 0}, "volumeMounts": [tree],
            }],
            "containers": [{
                "name": "agent", "image": image, "args": [MIGHTY], "env": environment,
                "securityContext": rights,
                "volumeMounts": [workspace, {**tree, "readOnly": True}, plain],
            }],
            "volumes": [
                {"name": "workspace", "emptyDir": {}},
                {"name": "tree", "emptyDir": {"medium": "Memory"}},
                {"name": "plain", "hostPath": {"path": str(folder)}},
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize("place", FOLDERS)
def test_no_trick_writes_to_what_was_given_read_only(
    place: str, tried: dict[str, dict[str, str]], tier: Tier, attempts: Attempts
):
    """Thirty-six ways, on an input of each kind, on the task, and on a mount below a mount."""
    worked = [name for name, seen in tried[place].items() if seen == "ok"]

    assert worked == []
    attempts.record(
        "inputs", f"{len(tried[place])} ways to change {place}", f"a cell ({tier})",
        f"refused: {', '.join(sorted(set(tried[place].values())))}",
        "all work in /workspace, or as root with rights over mounts",
    )  # fmt: skip


def test_the_same_tricks_work_where_an_agent_may_write(tried: dict[str, dict[str, str]]):
    """The control of those that take no rights."""
    assert {name: seen for name, seen in tried["own"].items() if seen != "ok"} == {}


def test_the_same_tricks_work_with_rights_over_mounts(mighty: dict[str, Any]):
    """The control of the others, among them to write again what was read-only."""
    assert {name: seen for name, seen in mighty["tricks"].items() if seen != "ok"} == {}


def test_below_a_mount_that_is_only_plainly_read_only_one_can_write(mighty: dict[str, Any]):
    """The control of `recursiveReadOnly`: without it, a mount below the volume stays writable."""
    assert mighty["beside"] == "EROFS"
    assert mighty["below"] == "ok"


def test_nothing_was_changed(tried: dict[str, dict[str, str]], folder: Path, hostile: Agents):
    """Neither as the agent reads it afterwards, nor on the node, nor in the cluster."""
    read = tried["read"]
    assert read["/inputs/settings/key"] == read["/inputs/tree/file"] == CONTENT
    for place in (folder, onnode.through(folder / "below")):
        assert (place / "file").read_text(encoding="utf-8") == CONTENT
    assert {path.name for path in folder.iterdir()} == {"file", "below"}
    found = hostile.admin.get("configmap", "settings", hostile.namespace)
    assert found is not None
    assert found["data"] == {"key": CONTENT}


def test_reading_leaves_no_trace(hostile: Agents, inputs: list[Document], folder: Path):
    """Not even the time of access tells a later run that this one has read something."""
    file = onnode.through(folder / "below" / "file")
    before = file.stat().st_atime_ns

    run = hostile.end(
        hostile.submit("print(open('/inputs/tree/below/file').read())", inputs=inputs)
    )

    assert condition(run)["reason"] == "Completed"
    assert file.stat().st_atime_ns == before
    assert file.read_text(encoding="utf-8") == CONTENT
    assert file.stat().st_atime_ns > before, "the control: reading on the node leaves a trace"


MISSING = {
    "a ConfigMap": ({"configMap": {"name": "not-there"}}, "'not-there' does not exist"),
    "a claim": ({"persistentVolumeClaim": {"claimName": "not-there"}}, '"not-there" not found'),
    "an image": ({}, "tests/agent@sha256:3333"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_what_is_missing_is_named_while_the_run_still_waits_for_it(kind: str, hostile: Agents):
    """Nobody waits minutes to learn of a typing error."""
    source, says = MISSING[kind]
    if kind == "an image":
        source = {"image": {"reference": unavailable(hostile.image)[-1]}}
    name = hostile.submit("", inputs=[{"name": "a", **source}])

    run = hostile.until(name, "Pending", says=says)

    assert condition(run)["status"] == "Unknown"
    hostile.author.delete("agentrun", name, hostile.namespace)


def test_an_input_that_turns_up_in_time_is_read(hostile: Agents):
    """The control: waiting for what is missing has a point."""
    name = hostile.submit("print(open('/inputs/a/key').read())", inputs=[
        {"name": "a", "configMap": {"name": "late"}},
    ])  # fmt: skip
    hostile.until(name, "Pending", says="'late' does not exist")
    made = {"name": "late", "namespace": hostile.namespace}
    hostile.author.apply({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": made, "immutable": True,
        "data": {"key": "value"},
    })  # fmt: skip

    run = hostile.end(name)

    assert condition(run)["reason"] == "Completed"
    assert hostile.said(name).strip() == "value"
