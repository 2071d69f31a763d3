"""The policy holds while no controller runs: tried with its own token, and its very Pod."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agents import Agents, Controller, cell_of, changed_policy
from bed.installation import SYSTEM
from bed.kube import Document, Kubectl, RefusedError, wait_for


@dataclass(frozen=True)
class Posted:
    """The controller's Pod, posted with the controller's rights while there is no controller."""

    admin: Kubectl
    operator: Kubectl
    pod: Document
    policy: str

    def refusal(self) -> str | None:
        """What the API server says to the Pod, if it refuses it."""
        try:
            self.operator.create(self.pod, "--dry-run=server")
        except RefusedError as refusal:
            return str(refusal)
        return None


@pytest.fixture(scope="module")
def posted(author: Kubectl, kubectl: Kubectl, tenant: str, image: str) -> Iterator[Posted]:
    """The controller is stopped once for all of them, and started afterwards."""
    agents, controller = Agents(author, kubectl, tenant, image), Controller(kubectl, SYSTEM)
    pod = cell_of(agents)
    controller.stop()
    operator = kubectl.acting_as_account(SYSTEM, "anchorhold-controller")
    yield Posted(kubectl, operator, pod, tenant)
    controller.start()
    agents.remove_all()


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
            {"limits": {"activeDeadlineSeconds": 10}, "defaults": {"activeDeadlineSeconds": 10}},
            "Deadline",
            id="a shorter deadline",
        ),
        pytest.param({"limits": {"workspace": "32Mi"}}, "32Mi", id="a smaller workspace"),
    ],
)
def test_the_policy_holds_against_the_controllers_own_token_with_it_at_zero_replicas(
    posted: Posted, change: Document, says: str
):
    """Somebody who has the controller's token and posts its very Pod is bound all the same."""
    assert posted.refusal() is None, "the control: it passes before the policy changes"

    with changed_policy(posted.admin, posted.policy, change):
        refusal = wait_for(posted.refusal, 30, "the tightened policy to hold")

    assert "anchorhold-pod-limits" in refusal
    assert says in refusal
