"""What holds while the controller is down, restarted, or bypassed."""

import copy
import json

import pytest

from agents import Agents, Controller, condition
from bed.kube import Document, Kubectl, RefusedError, wait_for

SLEEP = "import time; time.sleep(600)"


def test_deleting_a_run_kills_its_cell_with_the_controller_stopped(
    agents: Agents, controller: Controller
):
    """The garbage collector follows the owner; no finalizer of ours stands in its way."""
    name = agents.submit(SLEEP)
    agents.until(name, "Running")
    controller.stop()

    agents.author.delete("agentrun", name, agents.namespace)

    wait_for(lambda: not agents.pods(name), 60, "the cell to be gone")


def test_the_deadline_holds_with_the_controller_stopped(agents: Agents, controller: Controller):
    """The kubelet keeps the time; the record follows when somebody is there to write it."""
    name = agents.submit(SLEEP, activeDeadlineSeconds=20)
    agents.until(name, "Running")
    controller.stop()

    ended = wait_for(lambda: phase(agents.pods(name)) == "Failed", 90, "the kubelet to end it")
    controller.start()

    assert ended
    assert condition(agents.end(name))["reason"] == "DeadlineExceeded"


def phase(pods: list[Document]) -> str:
    """The phase of the only Pod."""
    return str(pods[0]["status"]["phase"])


def test_a_run_that_is_submitted_meanwhile_starts_when_the_controller_is_back(
    agents: Agents, controller: Controller
):
    """Nothing is lost: the run waits, and reads as unfinished."""
    controller.stop()
    name = agents.submit("")
    before = agents.get(name)

    controller.start()

    assert condition(before)["reason"] == "Pending"
    assert condition(before)["status"] == "Unknown"
    assert condition(agents.end(name))["reason"] == "Completed"


def test_a_restart_in_the_middle_loses_nothing_and_makes_nothing_twice(
    agents: Agents, controller: Controller
):
    """Killed while five runs are at every stage: each has one Pod, the same one, and its end."""
    names = [agents.submit("import time; time.sleep(12)") for _ in range(5)]
    agents.until(names[0], "Running")
    before = {name: [p["metadata"]["uid"] for p in agents.pods(name)] for name in names}

    controller.kill()
    ended = [agents.end(name) for name in names]

    assert [condition(run)["reason"] for run in ended] == ["Completed"] * 5
    after = {name: [p["metadata"]["uid"] for p in agents.pods(name)] for name in names}
    assert all(len(uids) == 1 for uids in after.values())
    assert all(uids == after[name] for name, uids in before.items() if uids)
    assert all(run["status"]["exitCode"] == 0 for run in ended)


def cell_of(agents: Agents) -> Document:
    """A Pod exactly as the controller posts it, taken from a run that has ended."""
    name = agents.submit("")
    agents.end(name)
    pod = copy.deepcopy(agents.pods(name)[0])
    pod.pop("status")
    keep = ("name", "namespace", "labels", "annotations", "ownerReferences")
    pod["metadata"] = {key: pod["metadata"][key] for key in keep}
    pod["metadata"]["name"] += "-copy"
    for field in ("nodeName", "priority", "preemptionPolicy", "tolerations", "schedulerName"):
        pod["spec"].pop(field, None)
    pod["spec"]["volumes"] = [
        {**volume, "configMap": {"name": pod["metadata"]["name"]}} if volume["name"] == "task"
        else volume
        for volume in pod["spec"]["volumes"]
    ]  # fmt: skip
    return pod


def test_a_pod_that_the_author_creates_is_refused(agents: Agents, kubectl: Kubectl):
    """By rights, and by admission for those who have rights; the controller's own passes."""
    pod = cell_of(agents)

    with pytest.raises(RefusedError, match="forbidden"):
        agents.author.create(pod, "--dry-run=server")
    with pytest.raises(RefusedError, match="anchorhold-pod-floor"):
        kubectl.create(pod, "--dry-run=server")
    operator = kubectl.acting_as_account("anchorhold-system", "anchorhold-controller")
    operator.create(pod, "--dry-run=server")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"suspend": True}, "suspend", id="a suspended policy"),
        pytest.param({"images": []}, "image", id="an image that is not listed any more"),
        pytest.param(
            {"limits": {"memory": "32Mi"}, "defaults": {"memory": "32Mi"}},
            "memory",
            id="a lower memory limit",
        ),
        pytest.param(
            {"limits": {"cpu": "50m"}, "defaults": {"cpu": "50m"}}, "cpu", id="a lower CPU limit"
        ),
        pytest.param(
            {"limits": {"activeDeadlineSeconds": 10}}, "Deadline", id="a shorter deadline"
        ),
        pytest.param({"limits": {"workspace": "32Mi"}}, "32Mi", id="a smaller workspace"),
    ],
)
def test_the_policy_holds_against_the_controllers_own_token_with_it_at_zero_replicas(
    agents: Agents, kubectl: Kubectl, controller: Controller, change: Document, says: str
):
    """Somebody who has the controller's token and posts its very Pod is bound all the same."""
    pod = cell_of(agents)
    controller.stop()
    operator = kubectl.acting_as_account("anchorhold-system", "anchorhold-controller")
    operator.create(pod, "--dry-run=server")

    with changed_policy(kubectl, agents.namespace, change):
        refusal = wait_for(lambda: refused(operator, pod), 30, "the tightened policy to hold")

    assert "anchorhold-pod-limits" in refusal
    assert says in refusal


def refused(operator: Kubectl, pod: Document) -> str | None:
    """What the API server says to the Pod, if it refuses it."""
    try:
        operator.create(pod, "--dry-run=server")
    except RefusedError as refusal:
        return str(refusal)
    return None


class changed_policy:  # noqa: N801  # it reads as a statement
    """A policy with a change, for as long as a block runs."""

    def __init__(self, kubectl: Kubectl, name: str, change: Document) -> None:
        self.kubectl, self.name, self.change = kubectl, name, change

    def patch(self, change: Document) -> None:
        """Merge a change into the policy's spec."""
        words = ("patch", "agentpolicy", self.name, "-n", "anchorhold-policies", "--type=merge")
        self.kubectl(*words, "-p", json.dumps({"spec": change}))

    def __enter__(self) -> None:
        found = self.kubectl.get("agentpolicy", self.name, "anchorhold-policies")
        assert found is not None
        self.before = {key: found["spec"].get(key) for key in self.change}
        self.patch(self.change)

    def __exit__(self, *_: object) -> None:
        self.patch(self.before)


def test_a_policy_that_is_tightened_while_a_run_waits_refuses_it(
    agents: Agents, kubectl: Kubectl, controller: Controller
):
    """The run was admitted under the wider policy; `evaluate` has the last word."""
    controller.stop()
    name = agents.submit("", resources={"memory": "128Mi"})

    with changed_policy(kubectl, agents.namespace, {"limits": {"memory": "64Mi"}}):
        controller.start()
        run = agents.end(name)

    assert condition(run)["reason"] == "PolicyRefused"
    assert (
        "`resources.memory` '128Mi' must be less than or equal to '64Mi'"
        in (condition(run)["message"])
    )
    assert condition(run, "Accepted")["status"] == "False"
    assert agents.pods(name) == []


def test_without_a_policy_nothing_is_admitted(agents: Agents, kubectl: Kubectl, image: str):
    """The binding names a policy that does not exist (any more): missing means refused."""
    policy = kubectl.get("agentpolicy", agents.namespace, "anchorhold-policies")
    assert policy is not None
    kubectl.delete("agentpolicy", agents.namespace, "anchorhold-policies")
    try:
        refusal = wait_for(lambda: submission(agents), 30, "the missing policy to be noticed")
    finally:
        del policy["metadata"]["resourceVersion"], policy["metadata"]["uid"]
        kubectl.create(policy)

    assert "anchorhold-run-limits" in refusal
    wait_for(lambda: not submission(agents), 30, "the policy to hold again")


def submission(agents: Agents) -> str | None:
    """What the API server says to a run, if it refuses it."""
    try:
        agents.author.create(agents.document(), "--dry-run=server")
    except RefusedError as refusal:
        return str(refusal)
    return None
