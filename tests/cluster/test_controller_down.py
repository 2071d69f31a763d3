"""What holds while the controller is down, restarted, or bypassed."""

import pytest

import onnode
from agents import Agents, Controller, cell_of, changed_policy, condition
from bed.kube import Document, Kubectl, RefusedError, wait_for

SLEEP = "import time; time.sleep(600)"


@pytest.mark.long
def test_deleting_a_run_kills_its_cell_with_the_controller_stopped(
    agents: Agents, controller: Controller
):
    """The garbage collector follows the owner; no finalizer of ours stands in its way."""
    name = agents.submit(SLEEP)
    agents.until(name, "Running")
    controller.stop()

    agents.author.delete("agentrun", name, agents.namespace)

    wait_for(lambda: not agents.pods(name), 60, "the cell to be gone")


@pytest.mark.long
def test_the_deadline_holds_with_the_controller_stopped(agents: Agents, controller: Controller):
    """The kubelet keeps the time, also for an agent that hears no signal; the record follows."""
    name = agents.running("import deaf", activeDeadlineSeconds=20)
    controller.stop()
    (pod,) = agents.pods(name)
    assert onnode.traces(pod)["processes"]

    wait_for(lambda: phase(agents.pods(name)) == "Failed", 90, "the kubelet to end it")
    wait_for(lambda: "processes" not in onnode.traces(pod), 30, "its processes to be gone")
    controller.start()

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


def test_a_pod_that_the_author_creates_is_refused(agents: Agents, kubectl: Kubectl):
    """By rights, and by admission for those who have rights; the controller's own passes."""
    pod = cell_of(agents)

    with pytest.raises(RefusedError, match="forbidden"):
        agents.author.create(pod, "--dry-run=server")
    with pytest.raises(RefusedError, match="anchorhold-pod-floor"):
        kubectl.create(pod, "--dry-run=server")
    operator = kubectl.acting_as_account("anchorhold-system", "anchorhold-controller")
    operator.create(pod, "--dry-run=server")


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
