"""The gateway on the real node with something broken: nothing passes that was not decided."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import onnode
from agents import Agents, Controller
from attempts import Attempts
from bed.installation import GATEWAY
from bed.kube import Document, Kubectl, wait_for
from onenode import network, node, settings, shell
from onenode.paths import here
from unfenced import unfenced
from window import (  # fmt: skip
    ASK,
    ASK_FOR_EVER,
    ASK_UNTIL_REFUSED,
    ELSEWHERE,
    GOOD,
    LEADING_ELSEWHERE,
    STREAM,
    TENANT,
    cell,
    egress,
    first_answer,
    hung_up,
    requests_since,
    statuses,
    told,
    world_log,
)

MODEL_FOR_EVER = ASK_FOR_EVER.replace("PATH", "/model.test/v1/x")
UNTIL = 90


def gateway_pod(kubectl: Kubectl) -> Document:
    """The gateway's Pod."""
    pod = kubectl.get("pod", "gateway-0", GATEWAY)
    assert pod is not None
    return pod


def kill(pod: Document, container: str) -> None:
    """End a container's processes, as a crash does; the kubelet starts it again."""
    (status,) = (s for s in pod["status"]["containerStatuses"] if s["name"] == container)
    identity = status["containerID"].rpartition("/")[2]
    for pid in onnode.processes(pod["metadata"]["uid"]):
        if identity in (onnode.procfs.PROC / str(pid) / "cgroup").read_text():
            os.kill(pid, signal.SIGKILL)


def until_it_passes_again(window: Agents, run: str) -> list[int]:
    """All that the agent was answered, once something failed and then passed."""

    def look() -> list[int] | None:
        seen = statuses(window, run)
        broken = next((place for place, status in enumerate(seen) if status != 200), None)
        return seen if broken is not None and 200 in seen[broken:] else None

    return wait_for(look, UNTIL, "requests to fail and to pass again")


@pytest.mark.parametrize("part", ["decider", "envoy", "the Pod"])
def test_with_a_part_of_the_gateway_killed_nothing_passes_and_then_it_does_again(
    window: Agents, kubectl: Kubectl, part: str, attempts: Attempts
):
    """At the same address; what arrives in the world is what was answered."""
    run = window.running(MODEL_FOR_EVER, egress=egress("model"))
    assert first_answer(window, kubectl, run) == "200"
    before, answered = len(world_log()), len(statuses(window, run))

    if part == "the Pod":
        kubectl.delete("pod", "gateway-0", GATEWAY, "--grace-period=0", "--force")
    else:
        kill(gateway_pod(kubectl), part)
    seen = until_it_passes_again(window, run)

    assert set(seen) <= {0, 200, 401, 503}
    failed = [status for status in seen if status != 200]
    passed = seen[answered - 1 :].count(200)
    # One may have been on its way when Envoy died, and some came after the last look.
    assert passed - 1 <= len(requests_since(before))
    window.remove_all()
    attempts.record(
        "gateway", f"requests while {part} is dead", "a cell", f"{len(failed)} refused",
        "200 before and after",
    )  # fmt: skip


def dropped() -> list[str]:
    """iptables, in the world's network, about questions to its name server."""
    rule = ("INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
    return [*network.inside(settings.WORLD_NETWORK), "iptables", "-w", "MODE", *rule]


@contextmanager
def no_name_server() -> Iterator[None]:
    """A world whose name server does not answer, for as long as a block runs."""
    words = dropped()
    shell.run(*(word if word != "MODE" else "-A" for word in words))
    try:
        yield
    finally:
        shell.run(*(word if word != "MODE" else "-D" for word in words))


def test_where_no_name_server_answers_nothing_passes(window: Agents, attempts: Attempts):
    """A name that nobody has asked for before; the same one passes once there is an answer."""
    run = window.running(
        ASK_FOR_EVER.replace("PATH", "/a.wild.test/v1/x").replace("0.1", "1"),
        egress=egress("wild"),
    )
    wait_for(lambda: 200 in statuses(window, run), UNTIL, "the name to be resolved")
    with no_name_server():
        wait_for(lambda: statuses(window, run)[-1] == 502, UNTIL, "the name to be forgotten")
    wait_for(lambda: statuses(window, run)[-1] == 200, UNTIL, "the name to be resolved again")

    attempts.record("gateway", "a request without name servers", "a cell", "502", "200")


# What the decider would do if all addresses were good to it.
BLIND = """
from anchorhold.gateway import __main__ as program, resolver
resolver.addresses.may_be_dialled = lambda *_: True
program.main()
"""


def decider_runs(kubectl: Kubectl, *command: str) -> None:
    """Change what the decider runs, and wait until it does."""
    containers = [{"name": "decider", "command": list(command)}]
    body = json.dumps({"spec": {"template": {"spec": {"containers": containers}}}})
    kubectl("patch", "statefulset", "gateway", "-n", GATEWAY, "-p", body)
    kubectl("rollout", "status", "statefulset/gateway", "-n", GATEWAY, "--timeout=120s")


@pytest.fixture
def blinded(gateway: object, kubectl: Kubectl) -> Iterator[None]:
    """A gateway whose decider lets every address pass."""
    decider_runs(kubectl, "python3", "-c", BLIND)
    yield
    decider_runs(kubectl, "python3", "-m", "anchorhold.gateway")


@pytest.mark.long
def test_envoy_itself_dials_no_forbidden_address_with_the_decider_blinded(
    window: Agents, kubectl: Kubectl, blinded: None, attempts: Attempts
):
    """The decider says yes to all of them, as its own lines tell."""
    before = len(world_log())
    asked = [f"/{host}/v1/x" for host in LEADING_ELSEWHERE]
    code = ASK + f"tell(found=[ask(path)[0] for path in {asked}], good=ask('/model.test/v1/x')[0])"
    rules = egress("model", *(str(rule["name"]) for rule in ELSEWHERE))

    found = told(window.end(window.submit(code, egress=rules)))

    # A name with good and bad addresses may now lead to the good one.
    never = [s for s, host in zip(found["found"], LEADING_ELSEWHERE, strict=True) if one(host)]
    assert found["good"] == 200
    assert never == [403] * len(never)
    assert len(never) > 4
    arrived = requests_since(before)
    assert {line.split()[0] for line in arrived} == {gateway_pod(kubectl)["status"]["podIP"]}
    assert len(arrived) == 1 + found["found"].count(200)
    visits = [line for line in world_log()[before:] if " connected to " in line]
    assert not [line for line in visits if GOOD not in line]
    lines = kubectl("-n", GATEWAY, "logs", "gateway-0", "-c", "envoy").splitlines()
    denied = [line for line in lines if '"decision":"allow"' in line and "rbac" in line]
    assert len(denied) >= len(never)
    attempts.record(
        "gateway", f"{len(never)} forbidden addresses with a blinded decider", "a cell", "403",
        "the decider allowed each",
    )  # fmt: skip


def one(host: str) -> bool:
    """Whether a name leads to forbidden addresses alone."""
    return GOOD not in settings.WORLD_NAMES[host][0]


# Tries until the network's fence is up, and says what it reached then.
THIRD_LAYER = """
import json, os, socket, time
targets = json.loads(os.environ['TARGETS'])
def reach(where):
    try:
        socket.create_connection(tuple(where), timeout=1).close()
        return True
    except OSError:
        return False
for _ in range(20):
    found = {name: reach(where) for name, where in targets.items()}
    if found == {name: name == 'good' for name in targets}:
        break
    time.sleep(0.5)
open('/dev/termination-log', 'w').write(json.dumps(found))
"""


def test_the_network_lets_the_gateway_itself_nowhere_else(
    gateway: object, kubectl: Kubectl, image: str, attempts: Attempts
):
    """A Pod with the gateway's labels, and one without a fence."""
    targets = {
        "good": (GOOD, 443), "metadata": ("169.254.169.254", 443), "other": ("198.51.100.30", 443),
        "kubelet": (settings.NODE_ADDRESS, 10250),
    }  # fmt: skip
    with unfenced(kubectl, image) as outside:
        outside.start("free", THIRD_LAYER.replace("range(20)", "range(1)"), targets)
        free = json.loads(outside.message("free"))
    kubectl.create(like_the_gateway(image, targets))
    try:
        ended = wait_for(lambda: message(kubectl, "like-the-gateway"), UNTIL, "the Pod's end")
    finally:
        kubectl.delete("pod", "like-the-gateway", GATEWAY)

    assert free == dict.fromkeys(targets, True)
    assert json.loads(ended) == {name: name == "good" for name in targets}
    attempts.record(
        "gateway", "metadata, other hosts and the kubelet", "the gateway's own network", ended,
        json.dumps(free),
    )  # fmt: skip


def like_the_gateway(image: str, targets: dict[str, tuple[str, int]]) -> Document:
    """A Pod to the network as the gateway's own."""
    security = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    container = {
        "name": "agent", "image": image, "args": [THIRD_LAYER], "securityContext": security,
        "env": [{"name": "TARGETS", "value": json.dumps(targets)}],
    }  # fmt: skip
    labels = {"anchorhold.dev/component": "gateway"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "like-the-gateway", "namespace": GATEWAY, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def message(kubectl: Kubectl, name: str) -> str | None:
    """What a Pod has said at its end."""
    pod = kubectl.get("pod", name, GATEWAY)
    assert pod is not None
    if pod["status"]["phase"] not in ("Succeeded", "Failed"):
        return None
    return str(pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"])


def test_a_deleted_run_s_open_stream_ends_with_the_controller_down(
    window: Agents, kubectl: Kubectl, controller: Controller
):
    """All the way to the server; a stream of another run goes on."""
    run, other = (window.running(STREAM, egress=egress("model")) for _ in range(2))
    assert first_answer(window, kubectl, run).startswith("data: ")
    assert first_answer(window, kubectl, other).startswith("data: ")
    controller.stop()
    before = len(world_log())

    window.author.delete("agentrun", run, TENANT, "--wait=false")

    wait_for(lambda: hung_up(before), 60, "the stream's end")
    heard = len(window.said(other))
    wait_for(lambda: len(window.said(other)) > heard, 60, "the other run's stream to go on")
    assert len(hung_up(before)) == 1


def test_a_cancelled_run_is_refused_at_once_with_the_controller_down(
    window: Agents, kubectl: Kubectl, controller: Controller, attempts: Attempts
):
    code = ASK_UNTIL_REFUSED.replace("WAIT", "0")
    run = window.running(code, egress=egress("model"))
    assert first_answer(window, kubectl, run) == "200"
    controller.stop()

    words = ("patch", "agentrun", run, "-n", TENANT, "--type=merge", "-p")
    window.author(*words, '{"spec": {"cancel": true}}')

    wait_for(lambda: cell(window, run)["status"]["phase"] == "Succeeded", 60, "the agent's end")
    ended = cell(window, run)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert json.loads(ended["message"])["last"] == [401, "unknown-run"]
    attempts.record("gateway", "a request after: the run is cancelled", "a cell", "401", "200")


@pytest.mark.long
def test_with_the_api_server_away_what_was_seen_holds_for_a_while_and_then_nothing_does(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    run = window.running(
        MODEL_FOR_EVER.replace("0.1", "1"), egress=egress("model"), activeDeadlineSeconds=300
    )
    assert first_answer(window, kubectl, run) == "200"
    log = onnode.LOGS / "{namespace}_{name}_{uid}".format(**cell(window, run)["metadata"])

    node.stop(here(), "kube-apiserver")
    try:
        wait_for(lambda: last_answer(log) == "401", 260, "the gateway to trust its view no more")
    finally:
        node.start(here(), "kube-apiserver")
    wait_for(lambda: last_answer(log) == "200", UNTIL, "the gateway to see again")
    attempts.record("gateway", "a request with the API server away", "a cell", "401", "200")


def last_answer(log: Path) -> str:
    """The end of an agent's log, as the node has it."""
    return (log / "agent" / "0.log").read_text(encoding="utf-8").split()[-1]
