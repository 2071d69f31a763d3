"""What no layer can refuse at once ends the run, with a reason, and never hangs.

The runs are submitted at the beginning of the session (`submitted`), because the patience of the
controller has to run out; they are looked at here, near its end.
"""

from typing import Any

import pytest

from agents import Agents, condition
from bad_input import SHOWN_LATER
from bed.kube import Kubectl, wait_for


@pytest.mark.parametrize("row", SHOWN_LATER, ids=lambda row: row["kind"])
def test_what_only_shows_later_ends_the_run_with_its_reason(
    kubectl: Kubectl, submitted: dict[str, tuple[str, str]], row: dict[str, Any]
):
    """No run hangs: each ends, says why, and leaves no cell that could still start."""
    namespace, name = submitted[row["kind"]]

    def ended() -> dict[str, Any] | None:
        run = kubectl.get("agentrun", name, namespace)
        assert run is not None
        return run if condition(run)["status"] != "Unknown" else None

    run = wait_for(ended, 300, f"{name} to end")

    assert condition(run)["reason"] == row["reason"]
    for words in row["says"]:
        assert words in condition(run)["message"]
    agents = Agents(kubectl, kubectl, namespace, "")
    wait_for(lambda: not live(agents.pods(name)), 30, "no cell to be left")


def live(pods: list[dict[str, Any]]) -> list[str]:
    """The Pods that may still do something."""
    ended = ("Succeeded", "Failed")
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") not in ended]


def test_a_failed_run_says_so_in_an_event(kubectl: Kubectl, submitted: dict[str, tuple[str, str]]):
    """`kubectl describe` shows why, without anybody knowing where to look."""
    namespace, name = submitted["a ConfigMap that could still be changed"]

    def event() -> dict[str, Any] | None:
        events = kubectl.items("events", namespace)
        return next((e for e in events if e["involvedObject"]["name"] == name), None)

    found = wait_for(event, 60, "an Event")

    assert found["reason"] == "PolicyRefused"
    assert "must have `immutable: true`" in found["message"]
