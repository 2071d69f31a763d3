"""The netgate on the real node: an agent starts behind a closed boundary, or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pytest

from agents import Agents, Controller, as_posted, condition
from anchorhold import names
from attempts import Attempts
from bed.installation import SYSTEM, Installation
from bed.kube import Document, Kubectl, wait_for
from damage import removed
from onenode import node, paths
from unfenced import NAMESPACE, Unfenced, unfenced

ENFORCER = "kube-router"
# The API server as a Service and directly, the kubelet, the canary.
WANTED = (":443", ":6443", ":10250", ":8443")
# Sooner than Python could start.
HASTE = """
n=0
while [ $SECONDS -lt 2 ]; do
  (exec 3<>/dev/tcp/$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT) 2>/dev/null && n=$((n+1))
done
echo $n >/dev/termination-log
"""
TRIED = "TCP to the API server, the kubelet and the canary"
# What the netgate does, without its consequences.
LOOK = """
import json, os
from anchorhold.inside import boundary
open('/dev/termination-log', 'w').write(json.dumps(boundary.answering(os.environ)))
"""


@contextmanager
def nobody_enforces() -> Iterator[None]:
    """The node without what makes NetworkPolicies true, for as long as a block runs."""
    node.stop(paths.here(), ENFORCER)
    try:
        yield
    finally:
        node.start(paths.here(), ENFORCER)


@dataclass(frozen=True)
class Hand:
    """Makes a run's cell as the controller makes it, with its token and while it is stopped."""

    agents: Agents
    operator: Kubectl
    controller: Controller

    def copy(self, name: str) -> tuple[str, str]:
        """A new run like an ended one, and its cell like that one's: the names of both."""
        old = self.agents.get(name)
        (pod,) = self.agents.pods(name)
        task = self.agents.admin.get("configmap", pod["metadata"]["name"], self.agents.namespace)
        assert task is not None
        run = self.agents.submit("", **old["spec"])
        uid = self.agents.get(run)["metadata"]["uid"]
        for document in (task, pod):
            self.operator.create(adopted(document, names.child_name(run, uid), run, uid))
        return run, names.child_name(run, uid)


def adopted(document: Document, name: str, run: str, uid: str) -> Document:
    """An object of one run as another run would own it."""
    document = as_posted(document, name)
    document["metadata"]["ownerReferences"][0] |= {"name": run, "uid": uid}
    document["metadata"]["labels"][names.RUN_LABEL] = uid
    return document


@pytest.fixture
def hand(agents: Agents, kubectl: Kubectl, controller: Controller) -> Hand:
    return Hand(agents, kubectl.acting_as_account(SYSTEM, names.CONTROLLER), controller)


def agent_of(pod: Document) -> Document:
    """The state of a cell's agent."""
    return dict(pod["status"]["containerStatuses"][0])


def assert_the_agent_never_ran(pod: Document) -> None:
    found = agent_of(pod)
    assert found["imageID"] == ""
    assert "running" not in found["state"]
    assert "lastState" not in found or found["lastState"] == {}


def pod(name: str, image: str, command: list[str], env: list[Document]) -> Document:
    """A Pod without a netgate."""
    container = {"name": "look", "image": image, "command": command, "env": env}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def last_word(place: Unfenced, document: Document) -> str:
    """What a Pod says at its end."""
    name = document["metadata"]["name"]
    place.admin.create(document)
    wait_for(lambda: place.status(name).get("phase") == "Succeeded", 90, "the Pod's end")
    return str(place.status(name)["containerStatuses"][0]["state"]["terminated"]["message"])


def look(bed: Installation) -> Document:
    """A Pod that looks for what the netgate looks for, and with its code."""
    canary = bed.kubectl.get("service", names.CANARY, SYSTEM)
    assert canary is not None
    environment = {
        "ANCHORHOLD_CANARY": f"{canary['spec']['clusterIP']}:8443",
        "ANCHORHOLD_CLOSED": "",
    }
    env: list[Document] = [{"name": key, "value": value} for key, value in environment.items()]
    addresses = {"fieldRef": {"fieldPath": "status.hostIPs"}}
    env.append({"name": "ANCHORHOLD_NODE_ADDRESSES", "valueFrom": addresses})
    return pod("look", bed.controller_image, ["python3", "-c", LOOK], env)


def test_without_a_netgate_a_fenced_pod_gets_out_before_its_fence_is_up(
    bed: Installation, image: str, attempts: Attempts
):
    """What the netgate is there for: the default deny was there before each of these Pods."""
    with unfenced(bed.kubectl, image) as place:
        place.fence()
        hasty = (pod(f"hasty-{number}", image, ["bash", "-c", HASTE], []) for number in range(8))
        connected = next(filter(None, (int(last_word(place, each)) for each in hasty)), 0)

    assert connected > 0
    attempts.record(
        "netgate", "TCP to the API server, from the first instruction on",
        "a fenced Pod without a netgate", f"{connected} connections got out", "that is the control",
    )  # fmt: skip


def test_an_agent_starts_once_nothing_answers_and_the_status_says_so(
    agents: Agents, attempts: Attempts
):
    run = agents.completes()

    boundary = run["status"]["boundary"]
    assert boundary["verified"] is True
    attempts.record(
        "netgate", TRIED, "a cell, before its agent", "nothing answers any more; the fence was "
        f"open until {boundary['openMilliseconds']} ms", "the agent's first connections get out",
    )  # fmt: skip


@pytest.mark.long
def test_no_agent_starts_while_nobody_enforces_the_fence(
    agents: Agents, bed: Installation, attempts: Attempts
):
    """The control is a Pod without a netgate, fenced as a cell is, that makes the same attempts."""
    with unfenced(bed.kubectl, agents.image) as place, nobody_enforces():
        place.fence()
        answered = json.loads(last_word(place, look(bed)))
        name = agents.submit("pass")
        run = agents.end(name)

    message = condition(run)["message"]
    assert condition(run)["reason"] == "BoundaryOpen", run["status"]
    assert len(answered) >= len(WANTED)
    for port in WANTED:
        assert any(each.endswith(port) for each in answered), answered
        assert port in message
    assert run["status"]["boundary"]["verified"] is False
    assert_the_agent_never_ran(agents.pods(name)[0])
    attempts.record(
        "netgate", TRIED, "a cell while the enforcer is stopped", f"BoundaryOpen: {message}",
        f"answered: {', '.join(answered)}",
    )  # fmt: skip
    agents.completes()


@pytest.mark.parametrize("walled", [True, False], ids=["with its wall", "without it"])
@pytest.mark.long
def test_a_cell_that_is_posted_while_there_is_no_controller_starts(
    walled: bool,  # noqa: FBT001
    agents: Agents,
    hand: Hand,
):
    """Its netgate is in the Pod, which admission holds to it: no controller is asked."""
    pattern = agents.completes()["metadata"]["name"]
    hand.controller.stop()
    gone = removed(agents.admin, "networkpolicy", names.DEFAULT_DENY, agents.namespace)

    with nullcontext() if walled else gone:
        run, pod = hand.copy(pattern)
        ended = until_over(agents.admin, pod, agents.namespace)

    assert ended["status"]["phase"] == ("Succeeded" if walled else "Failed")
    if not walled:
        assert_the_agent_never_ran(ended)
    hand.controller.start()
    expected = "Completed" if walled else "BoundaryOpen"
    assert condition(agents.end(run))["reason"] == expected


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "reason"),
    [("value", "Completed"), ("another", "InputMissing")],
    ids=["the same", "another"],
)
def test_an_agent_whose_input_was_swapped_after_its_grant_gets(
    content: str,
    reason: str,
    agents: Agents,
    hand: Hand,
    attempts: Attempts,
):
    """An immutable ConfigMap can be made anew under its name, before the cell mounts it.

    The controller is stopped: it is the cell that notices.
    """
    apply_input(agents, "value")
    inputs = [{"name": "swapped", "configMap": {"name": "swapped"}}]
    pattern = agents.completes(inputs=inputs)["metadata"]["name"]
    hand.controller.stop()
    apply_input(agents, content)
    run, pod = hand.copy(pattern)
    ended = until_over(agents.admin, pod, agents.namespace)
    hand.controller.start()

    found = condition(agents.end(run))
    assert found["reason"] == reason
    if reason == "InputMissing":
        assert found["message"] == "the content of '/inputs/swapped' is not what was granted"
        assert_the_agent_never_ran(ended)
        attempts.record(
            "digest of inputs", "an immutable ConfigMap made anew with other content",
            "between the grant and the start", f"{reason}: the agent never ran",
            "the agent reads what nobody judged",
        )  # fmt: skip
    agents.author.delete("configmap", "swapped", agents.namespace)


def apply_input(agents: Agents, content: str) -> None:
    """The ConfigMap, made anew."""
    agents.author.delete("configmap", "swapped", agents.namespace)
    metadata = {"name": "swapped", "namespace": agents.namespace}
    kind = {"apiVersion": "v1", "kind": "ConfigMap", "immutable": True}
    agents.author.create({**kind, "metadata": metadata, "data": {"key": content}})


def until_over(kubectl: Kubectl, name: str, namespace: str) -> Document:
    """A Pod, once nothing of it runs any more."""

    def over() -> Document | None:
        pod = kubectl.get("pod", name, namespace)
        phase = pod["status"].get("phase") if pod is not None else None
        return pod if phase in ("Succeeded", "Failed") else None

    return wait_for(over, 90, f"the end of {name}")


@pytest.mark.long
def test_no_cell_is_made_while_the_canary_is_dead(
    agents: Agents, kubectl: Kubectl, attempts: Attempts
):
    """Silence around a cell would mean nothing then. The run waits, and goes on by itself."""
    scale = ("-n", SYSTEM, "scale", f"deployment/{names.CANARY}")
    kubectl(*scale, "--replicas=0")
    try:
        name = wait_for(lambda: held(agents), 60, "a run to be held")
    finally:
        kubectl(*scale, "--replicas=1")

    assert agents.pods(name) == []
    assert condition(agents.end(name))["reason"] == "Completed"
    attempts.record(
        "canary", "a run while the canary is dead", "its author", "held, and no cell is made",
        "the cell's silence would prove nothing",
    )  # fmt: skip


def held(agents: Agents) -> str | None:
    """A run that waits for the canary; the controller notices its death a few seconds late."""
    name = agents.submit("pass")
    run = agents.until(name, "Pending", "Running", "Completed")
    says = f"`{names.CANARY}` in `{SYSTEM}` does not answer"
    return name if says in condition(run)["message"] else None
