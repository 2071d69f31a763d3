"""Inputs stay as they were given, whatever is tried on them; what is missing is named at once."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
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
from tiers import Tier
from unfenced import NAMESPACE, Unfenced, unfenced
from volumes import claim_on, volume

HERE = Path(__file__).parent
CONTENT = "content\n"
AGENT = 65532
# Tier -> what its kernel does not have, wherever it is tried: there is no control of these.
LACKS = {"gvisor": {"create without a name": "ENOTSUP", "set a flag": "ENOTTY"}}
# Tier -> what an agent may do to every mount of a kernel that is its own. No file changes by it.
OWN_MOUNTS = {
    "gvisor": {
        "leave the mount namespace",
        "copy the mount, having left",
        "bind elsewhere, having left",
        "bind over, having left",
        "unmount, having left",
        "leave the mount namespace, having left",
    }
}
# Tier and folder -> what works there although the folder was given read-only; and what becomes of
# it on the node. gVisor makes the volume read-only there but not what is mounted below it, which
# its own kernel guards: its `SetXattrAt` asks no mount, as `SetStatAt` and the others do.
LEAKS = {
    ("gvisor", "/inputs/tree/below"): {"set an attribute", "set an attribute, having left"},
}
LEAKED = {"gvisor": {"below/file": {"attributes": {"user.x": b"x"}}}}
# The kernel of these tiers reads for its agents, and the node notes when.
LEAVE_A_TRACE = ("gvisor",)
# gVisor's kernel counts as the agent's.
ROOM = {"cpu": "200m", "memory": "128Mi"}
# Every trick on every folder that was given read-only; and on a folder of the agent's own.
TRY_ALL = """
import json, os, tricks
folders = json.loads(os.environ['FOLDERS'])
seen = {folder: tricks.apart(lambda: tricks.thoroughly(folder, file))
        for folder, file in folders.items()}
os.mkdir('/workspace/own')
open('/workspace/own/file', 'w').close()
seen['own'] = tricks.all_on('/workspace/own', 'file', tricks.ON_FILES)
paths = [f'{folder}/{file}' for folder, file in folders.items()]
seen['read'] = {path: open(path).read() for path in paths}
print(json.dumps(seen), flush=True)
"""
FOLDERS = {
    "/inputs/settings": "key",
    "/inputs/tree": "file",
    "/inputs/tree/below": "file",
    "/inputs/image/hostile": "telling.py",
    "/run/anchorhold": "task",
}


# File of the volume -> what the node knows of it.
State = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Tried:
    """What came of each trick on each folder, and what the node had of the volume around it."""

    seen: dict[str, dict[str, str]]
    before: State
    after: State

    def changes(self) -> State:
        """What the node knows otherwise, or newly, of which file."""
        paths = [p for p in self.before | self.after if self.before.get(p) != self.after.get(p)]
        return {path: difference(self.before, self.after, path) for path in paths}


def difference(before: State, after: State, path: str) -> dict[str, object]:
    """What is known of a file after that was not known before."""
    known = before.get(path, {})
    return {key: value for key, value in after.get(path, {}).items() if known.get(key) != value}


def state_of(folder: Path) -> State:
    """All that the node knows of the volume and of what is mounted below it, but who read when."""
    tops = {"": folder, "below/": onnode.through(folder / "below")}
    return {
        f"{prefix}{path.relative_to(top)}": facts(path)
        for prefix, top in tops.items()
        for path in (top, *top.iterdir())
    }


def facts(path: Path) -> dict[str, object]:
    """What a file is, whose, since when, and what it holds."""
    found = path.lstat()
    return {
        "mode": found.st_mode,
        "owner": (found.st_uid, found.st_gid),
        "written": found.st_mtime_ns,
        "attributes": {name: os.getxattr(path, name) for name in os.listxattr(path)},
        "content": path.read_bytes() if path.is_file() else b"",
    }


@pytest.fixture(scope="module")
def folder(hostile: Agents) -> Iterator[Path]:
    """A folder of the node that everybody may write, and another file system below it.

    The files are the agent's own: nothing but the mount keeps it from changing whose they are.
    """
    top = CLUSTER / "volumes" / hostile.namespace
    below = top / "below"
    below.mkdir(parents=True, exist_ok=True)
    on_the_node("mount", "-t", "tmpfs", "-o", "mode=1777,strictatime", "below", str(below))
    try:
        for place in (top, onnode.through(below)):
            (place / "file").write_text(CONTENT, encoding="utf-8")
            (place / "file").chmod(0o666)
            os.chown(place / "file", AGENT, AGENT)
            place.chmod(0o777)
        yield top
    finally:
        on_the_node("umount", "--lazy", str(below))


def on_the_node(*command: str) -> None:
    """Run something in the mount namespace of the node."""
    inside = ("nsenter", f"--mount=/proc/{onnode.holder()}/ns/mnt")
    subprocess.run([*inside, *command], check=True)  # noqa: S603


# What every reader finds where, but for the task, which each has of its own.
GIVEN = {
    "/inputs/settings/key": CONTENT,
    "/inputs/tree/file": CONTENT,
    "/inputs/tree/below/file": CONTENT,
    "/inputs/image/hostile/telling.py": (HERE / "agent/hostile/telling.py").read_text("utf-8"),
}
READ = f"""
import json
print(json.dumps({{path: open(path).read() for path in {list(GIVEN)}}}))
"""


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
def tried(hostile: Agents, inputs: list[Document], folder: Path) -> Tried:
    """What came of every trick, by folder."""
    before = state_of(folder)
    environment = [{"name": "FOLDERS", "value": json.dumps(FOLDERS)}]
    name = hostile.submit(TRY_ALL, inputs=inputs, env=environment, resources=ROOM)
    run = hostile.end(name)
    assert condition(run)["reason"] == "Completed", hostile.said(name)
    seen: dict[str, dict[str, str]] = json.loads(hostile.said(name))
    hostile.admin.delete("agentrun", name, hostile.namespace)
    return Tried(seen, before, state_of(folder))


@pytest.fixture(scope="module")
def readings(
    tried: Tried, hostile: Agents, inputs: list[Document], folder: Path
) -> tuple[Document, Document]:
    """What a run reads after all that was tried, and another when the node has changed a file."""
    after = hostile.shown(READ, inputs=inputs, resources=ROOM)
    (folder / "file").write_text("changed\n", encoding="utf-8")
    changed = hostile.shown(READ, inputs=inputs, resources=ROOM)
    (folder / "file").write_text(CONTENT, encoding="utf-8")
    return after, changed


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
    place: str, tried: Tried, tier: Tier, attempts: Attempts
):
    """Thirty-eight ways, on an input of each kind, on the task, and on a mount below a mount.

    All of them twice, the second time by whoever has tried to leave the mount namespace.
    """
    came = tried.seen[place]
    worked = {name for name, seen in came.items() if seen == "ok"}

    assert worked == OWN_MOUNTS.get(tier.name, set()) | LEAKS.get((tier.name, place), set())
    attempts.record(
        "inputs", f"{len(came)} ways to change {place}", f"a cell ({tier})", told(came),
        "all that its kernel has work in /workspace, or as root with rights over mounts",
    )  # fmt: skip


def told(came: dict[str, str]) -> str:
    """How it was refused, and what was not."""
    worked = sorted(name for name, seen in came.items() if seen == "ok")
    refused = f"refused: {', '.join(sorted(set(came.values()) - {'ok'}))}"
    return f"{refused}; works: {'; '.join(worked)}" if worked else refused


def test_the_same_tricks_work_where_an_agent_may_write(tried: Tried, tier: Tier):
    """The control of those that take no rights, but for what the tier's kernel does not have."""
    failed = {name: seen for name, seen in tried.seen["own"].items() if seen != "ok"}

    assert failed == LACKS.get(tier.name, {})


def test_the_same_tricks_work_with_rights_over_mounts(mighty: dict[str, Any]):
    """The control of the others, among them to write again what was read-only."""
    assert {name: seen for name, seen in mighty["tricks"].items() if seen != "ok"} == {}


def test_below_a_mount_that_is_only_plainly_read_only_one_can_write(
    tried: Tried, mighty: dict[str, Any], folder: Path
):
    """The control of `recursiveReadOnly`: without it, a mount below the volume stays writable."""
    assert mighty["beside"] == "EROFS"
    assert mighty["below"] == "ok"
    new = set(state_of(folder)) - set(tried.before)
    assert new == {"below/by-the-control"}


def test_nothing_was_changed(tried: Tried, hostile: Agents, tier: Tier):
    """Neither as the agent reads it afterwards, nor on the node, nor in the cluster.

    But for what is known to leak: an attribute, never the content of a file or its name.
    """
    assert tried.seen["read"] == {**GIVEN, "/run/anchorhold/task": TRY_ALL}
    assert tried.changes() == LEAKED.get(tier.name, {})
    found = hostile.admin.get("configmap", "settings", hostile.namespace)
    assert found is not None
    assert found["data"] == {"key": CONTENT}


def test_the_next_reader_finds_what_the_node_has(
    readings: tuple[Document, Document], tier: Tier, attempts: Attempts
):
    """What was given, whatever was tried; and what the node writes, which is the control."""
    after, changed = readings

    assert after == GIVEN
    assert changed == {**GIVEN, "/inputs/tree/file": "changed\n"}
    attempts.record(
        "inputs", f"read {len(GIVEN)} inputs after all that was tried on them",
        f"the next cell ({tier})", "what was given", "what the node changes is read",
    )  # fmt: skip


def test_reading_leaves_a_trace_where_it_is_said_to(
    hostile: Agents, inputs: list[Document], folder: Path, tier: Tier, attempts: Attempts
):
    """Whether the time of access tells a later run that this one has read something."""
    file = onnode.through(folder / "below" / "file")
    before = file.stat().st_atime_ns

    hostile.shown(READ, inputs=inputs, resources=ROOM)
    left = file.stat().st_atime_ns != before

    assert left is (tier.name in LEAVE_A_TRACE)
    seen = "a trace: the time of access" if left else "no trace"
    between = file.stat().st_atime_ns
    assert file.read_text(encoding="utf-8") == CONTENT
    assert file.stat().st_atime_ns > between, "the control: reading on the node leaves a trace"
    attempts.record("inputs", "read a file", f"a cell ({tier})", seen, "a trace")


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
