"""What watches the walls while an agent runs, on the real node."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents import Agents, changed_policy, condition
from anchorhold import names
from attempts import Attempts
from bed.installation import CLUSTER
from bed.kube import Kubectl, wait_for
from enforcement import blind_sentinel, ipv6, until_guarded, without_enforcer
from onenode import network, node, shell
from onenode.paths import CONTAINERD_SOCKET, here

CONNECTIONS = 200
# Goes for the outside until it has been there so many times, and then says so.
BREAK_OUT = f"""
import os, socket, time
got_out = 0
while got_out < {CONNECTIONS}:
    try:
        socket.create_connection(('203.0.113.10', 8080), timeout=1).close()
        got_out += 1
    except OSError:
        pass
    time.sleep(0.1)
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(str(got_out))
"""
WORLD = CLUSTER / "log" / "world.log"


def visits(address: str) -> int:
    """How often a Pod came to the outside."""
    return WORLD.read_text(encoding="utf-8").count(f"{address} connected to ")


def address_of(agents: Agents, name: str) -> str:
    """The address of a run's cell."""
    return str(agents.pods(name)[0]["status"]["podIP"])


@pytest.fixture(autouse=True)
def _guarded_again(kubectl: Kubectl) -> Iterator[None]:
    """Whatever a test did: after it the sentinel stands guard."""
    yield
    until_guarded(kubectl)


@pytest.mark.usefixtures("nobody_waits")
def test_a_run_whose_fence_falls_is_ended_and_none_starts_until_it_stands(
    agents: Agents, kubectl: Kubectl, attempts: Attempts
):
    """The enforcer dies, and its rules with it; no component says a word but the sentinel."""
    until_guarded(kubectl)
    name = agents.running(BREAK_OUT)
    address = address_of(agents, name)
    assert visits(address) == 0
    with without_enforcer():
        ended = agents.until(name, "BoundaryOpen", "Completed")
        agents.until_gone(name)
        waiting = agents.submit("")
        held = agents.until(waiting, "Pending", says="nothing starts while the fence of node")
        got_out = visits(address)
    assert condition(agents.end(waiting))["reason"] == "Completed"

    assert condition(ended)["reason"] == "BoundaryOpen", f"after {got_out} connections"
    assert "the sentinel could reach" in condition(ended)["message"]
    assert not held["status"].get("podName")
    assert got_out < CONNECTIONS
    attempts.record(
        "the sentinel", "connections to the outside once the enforcer is dead", "a running cell",
        f"ended as BoundaryOpen after {got_out} connections; nothing new started",
        f"{CONNECTIONS} connections, the run completed, nobody said a word",
    )  # fmt: skip


@pytest.mark.long
def test_without_a_sentinel_it_gets_out_and_nobody_says_a_word(agents: Agents, kubectl: Kubectl):
    """The control: the same agent, the same dead enforcer, and a sentinel that looks at nothing."""
    with blind_sentinel(kubectl):
        name = agents.running(BREAK_OUT)
        address = address_of(agents, name)
        with without_enforcer():
            run = agents.end(name)

    assert condition(run)["reason"] == "Completed"
    assert run["status"]["result"]["message"] == str(CONNECTIONS)
    assert visits(address) == CONNECTIONS


def test_a_sentinel_that_is_deleted_ends_nothing_and_nothing_starts_until_it_is_back(
    agents: Agents, kubectl: Kubectl
):
    """What is not known to be open is left alone; what is not known to be closed is not entered."""
    until_guarded(kubectl)
    name = agents.running()
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"example.com/no": "node"}}}}}
    words = ("patch", "daemonset", names.SENTINEL, "-n", names.SENTINEL_NAMESPACE, "-p")
    kubectl(*words, json.dumps(nowhere))
    try:
        pods = ("pods", names.SENTINEL_NAMESPACE)
        wait_for(lambda: not kubectl.items(*pods), 60, "the sentinel to be gone")
        waiting = agents.submit("")
        agents.until(waiting, "Pending", says="no node has a sentinel that is ready")
        still = condition(agents.get(name))["reason"]
    finally:
        nowhere["spec"]["template"]["spec"]["nodeSelector"] = {"example.com/no": None}
        kubectl(*words, json.dumps(nowhere))
    ended = condition(agents.end(waiting))["reason"]

    assert (still, ended) == ("Running", "Completed")


@pytest.mark.long
def test_the_netgate_alone_keeps_an_agent_from_starting_where_ipv6_is_open(
    agents: Agents, kubectl: Kubectl, tenant: str, attempts: Attempts
):
    """Under the runtime's own seccomp profile, on a node that lets IPv6 through.

    Fenced Pods without a netgate get out there: `test_walls.py`.
    """
    with changed_policy(kubectl, tenant, {"seccomp": "RuntimeDefault"}):
        agents.until_admitted()
        with ipv6():
            run = agents.end(agents.submit(BREAK_OUT))
        closed = agents.end(agents.submit(""))

    assert condition(run)["reason"] == "BoundaryOpen", run["status"]
    assert "fe80:" in condition(run)["message"]
    assert "startTime" not in run["status"]
    assert condition(closed)["reason"] == "Completed"
    attempts.record(
        "the netgate, where IPv6 is open", "to start an agent",
        "a fenced cell on a node that lets IPv6 through",
        "BoundaryOpen before the agent started", "connected (by `test_walls.py`)",
    )  # fmt: skip


# Tries what got out of a fenced Pod where IPv6 is open.
OVER_IPV6 = """
import errno, os, socket
try:
    socket.create_connection(('{}%eth0', 10250), timeout=2)
    word = 'connected'
except OSError as error:
    word = errno.errorcode[error.errno]
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(word)
"""


def test_the_seccomp_profile_alone_keeps_an_agent_from_ipv6_where_it_is_open(
    agents: Agents, attempts: Attempts
):
    with ipv6():
        run = agents.end(agents.submit(OVER_IPV6.format(network.link_local())))

    assert run["status"]["result"]["message"] == "EAFNOSUPPORT", run["status"]
    attempts.record(
        "the seccomp profile, where IPv6 is open", "TCP to the kubelet's link-local address",
        "an agent", "EAFNOSUPPORT", "connected (by `test_walls.py`)",
    )  # fmt: skip


PROCESSES = "processes: a cell can start 1024 and more"
VOLUMES = "disk: a `VOLUME` of the agent's image is writable and has no size"
SIZE = "disk: the file `/dev/termination-log` may have any size"
FILES = "disk: `/workspace` may hold any number of files"
RUNTIME = "restrict_oom_score_adj = true"
IGNORES = "ignore_image_defined_volumes = "


def closed(kubelet: str, containerd: str) -> tuple[str, str]:
    """The settings of a node that closes what a setting can, from the settings that it has.

    RLIMIT_FSIZE is not among them: runc sets it in a user namespace only where root on the machine
    has CAP_SYS_RESOURCE, which a test machine may lack.
    """
    kubelet, containerd = bare(kubelet, containerd)
    limited = json.dumps({**json.loads(kubelet), "podPidsLimit": 256})
    return limited, containerd.replace(f"{IGNORES}false", f"{IGNORES}true")


def bare(kubelet: str, containerd: str) -> tuple[str, str]:
    """The settings of a node as both programs have them by themselves."""
    others = [line for line in containerd.splitlines() if IGNORES not in line]
    text = "\n".join(others).replace(RUNTIME, f"{RUNTIME}\n  {IGNORES}false")
    return json.dumps({**json.loads(kubelet), "podPidsLimit": -1}), text


@contextmanager
def node_with(settings: Callable[[str, str], tuple[str, str]]) -> Iterator[None]:
    """A node with other settings, for as long as a block runs."""
    files = {"kubelet": here().etc / "kubelet.json", "containerd": here().etc / "containerd.toml"}
    before = [file.read_text(encoding="utf-8") for file in files.values()]
    configure(files, settings(*before))
    try:
        yield
    finally:
        configure(files, before)


def configure(files: dict[str, Path], texts: Sequence[str]) -> None:
    """Write the settings, and start both programs again; the kubelet needs the other."""
    for name in files:
        node.stop(here(), name)
    for file, text in zip(files.values(), texts, strict=True):
        file.write_text(text, encoding="utf-8")
    node.start(here(), "containerd")
    wait_for(answers, 60, "containerd")
    node.start(here(), "kubelet")


def answers() -> bool:
    """Whether containerd does."""
    ctr = (here().bin / "ctr", "-a", CONTAINERD_SOCKET, "version")
    return shell.succeeds(*ctr)


def unenforced(agents: Agents, kubectl: Kubectl) -> list[str]:
    """What a new run's status says, after a new look at the node."""
    for pod in kubectl.items("pods", names.SENTINEL_NAMESPACE):
        kubectl.delete("pod", pod["metadata"]["name"], names.SENTINEL_NAMESPACE)
    until_guarded(kubectl)
    run = agents.end(agents.submit(""))
    assert condition(run)["reason"] == "Completed", run["status"]
    return sorted(row["what"] for row in run["status"]["unenforced"])


@pytest.mark.long
def test_what_the_node_does_not_enforce_is_in_the_status_of_a_run(
    agents: Agents, kubectl: Kubectl, attempts: Attempts
):
    """Found by looking: on a node that sets nothing, and on one that sets what can be set."""
    with node_with(bare):
        without = unenforced(agents, kubectl)
    with node_with(closed):
        left = unenforced(agents, kubectl)
    usual = unenforced(agents, kubectl)

    assert without == sorted([PROCESSES, VOLUMES, SIZE, FILES])
    assert left == sorted([SIZE, FILES])
    assert set(left) <= set(usual) <= set(without)
    for what in without:
        attempts.record(
            "settings of the node", what, "a Pod like a cell",
            "still so" if what in left else "not so", "so, and `status.unenforced` says it",
        )  # fmt: skip
