"""What the test node reads from the machine, and what it remembers."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from onenode import api, cgroups, paths, processes, procfs, snapshot, state
from onenode.processes import Process

STAT = "7 ({name}) {state} 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"
MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
40 31 0:36 / /sys/fs/cgroup/pids rw shared:4 - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 27 254:0 /home/my\040data /mnt/my\040data rw - ext4 /dev/vda rw
"""


@pytest.mark.parametrize(
    ("name", "letter", "flags", "kernel"),
    [
        pytest.param("etcd", "S", "4194304", False, id="a plain one"),
        pytest.param("a) R 9 (b", "R", "4194304", False, id="a name that looks like fields"),
        pytest.param("kworker/0:0", "I", "69238880", True, id="a kernel thread"),
    ],
)
def test_stat_is_read_past_any_name(name: str, letter: str, flags: str, *, kernel: bool):
    """A process cannot disguise itself by its name."""
    found = procfs.parse_stat(STAT.format(name=name, state=letter, flags=flags))

    assert found == procfs.Stat(letter, 1, int(flags), 4711)
    assert found.is_kernel_thread is kernel


def test_mounts_are_read_with_their_blanks():
    """The kernel's escapes are undone."""
    last = procfs.parse_mounts(MOUNTS)[-1]

    assert last == procfs.Mount("/home/my data", "/mnt/my data", "ext4", "/dev/vda")


def test_every_hierarchy_gets_our_group():
    """Both versions of control groups count, other mounts do not."""
    found = cgroups.roots(procfs.parse_mounts(MOUNTS))

    tops = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified")
    assert found == [Path(top) / "anchorhold-onenode" for top in tops]


@pytest.mark.parametrize(
    ("there", "enabled"),
    [
        pytest.param(
            "cpuset cpu io memory pids\n", "+cpu +cpuset +memory +pids", id="second version"
        ),
        pytest.param("\n", "", id="beside the first version"),
        pytest.param(None, "", id="first version"),
    ],
)
def test_controllers_are_handed_on(tmp_path: Path, there: str | None, enabled: str):
    """The kubelet refuses a root group that lacks a controller which the machine has."""
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("")
    if there is not None:
        (tmp_path / "cgroup.controllers").write_text(there)

    cgroups.enable(tmp_path)

    assert control.read_text() == enabled


def test_a_process_is_itself_only():
    """The same id with another start time is somebody else."""
    ours = procfs.stat(os.getpid())
    assert ours is not None

    assert Process(os.getpid(), ours.start).alive
    assert not Process(os.getpid(), ours.start + 1).alive


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        pytest.param({"link": ["a", "a"]}, [], id="the same"),
        pytest.param({"link": ["a", "a", "b"]}, ["+ link: b"], id="one came"),
        pytest.param({"link": ["a"]}, ["- link: a"], id="one of two went"),
        pytest.param({"link": ["a", "b"]}, ["+ link: b", "- link: a"], id="came and went"),
        pytest.param({"link": ["a", "a"], "mount": ["/"]}, ["+ mount: /"], id="a new kind"),
    ],
)
def test_differences_name_each_thing(after: dict[str, list[str]], lines: list[str]):
    """Equal things are counted, not merged."""
    assert snapshot.differences({"link": ["a", "a"]}, after) == lines


def test_a_record_survives_its_file():
    """What is written is what is read."""
    record = state.Record("/checkout", "boot", ("/cache/x",), ("/made",))
    record = record.started("etcd", Process(1, 2)).started("kubelet", Process(3, 4))

    written = json.dumps(dataclasses.asdict(record.ended("kubelet")))

    assert state.parse(written) == record.ended("kubelet")


def test_only_what_nobody_stopped_is_dead():
    """Stopping is not dying, and starting again takes it back."""
    gone = Process(2**22 + 1, 1)
    record = state.Record("/checkout", "boot").started("etcd", gone).started("kubelet", gone)

    assert record.dead == ["etcd", "kubelet"]
    assert record.ended("kubelet").dead == ["etcd"]
    assert record.ended("kubelet").started("kubelet", gone).dead == ["etcd", "kubelet"]


@pytest.mark.parametrize(
    ("status", "taints", "ready"),
    [
        pytest.param("True", [], True, id="ready"),
        pytest.param("False", [], False, id="not ready"),
        pytest.param("True", [{"key": "node.kubernetes.io/not-ready"}], False, id="tainted"),
    ],
)
def test_a_node_is_ready_without_its_first_taint(
    status: str, taints: list[dict[str, str]], *, ready: bool
):
    """A Ready Node that no Pod may be put on is of no use yet."""
    conditions = [{"type": "Ready", "status": status}]
    node = {"spec": {"taints": taints}, "status": {"conditions": conditions}}

    assert api.node_is_ready(node) is ready


@pytest.mark.parametrize(
    ("line", "namespaces", "expected"),
    [
        pytest.param("/usr/bin/cron: cron", ("n", "m", "u"), False, id="the machine's own"),
        pytest.param("/pause: /pause", ("pod", "m", "u"), True, id="in a network of its own"),
        pytest.param("/x: x", ("n", "m", "cell"), True, id="with users of its own"),
        pytest.param("/x: x", ("", "", ""), False, id="gone meanwhile"),
        pytest.param(f"{paths.cache()}/bin/etcd: etcd", ("n", "m", "u"), True, id="our program"),
        pytest.param(f"/x: x --at {paths.RUN}/a.sock", ("n", "m", "u"), True, id="on our socket"),
    ],
)
def test_whether_a_process_may_be_a_node_s(
    line: str, namespaces: tuple[str, ...], expected: object
):
    assert snapshot.is_of_a_node(line, namespaces, ("n", "m", "u")) is expected


def test_a_component_inherits_no_file_of_its_starters_caller(tmp_path: Path):
    """A lock that `flock` holds for its command must not live as long as the node."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003
        log = tmp_path / "log"
        process = processes.spawn(["ls", "-l", "/proc/self/fd"], log, {})
        os.waitpid(process.pid, 0)

    assert str(tmp_path / "log") in log.read_text()
    assert str(tmp_path / "lock") not in log.read_text()
