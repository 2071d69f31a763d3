"""Nothing persists: what a run leaves in every place it can write, no other run finds."""

import json
from typing import Any

import pytest

import onnode
from agents import Agents
from attempts import Attempts
from bed.kube import wait_for
from tiers import Tier

# The marker is told backwards: what tells of it must not count as a trace of it.
LEAVE = """
import json, os, persistence, telling
marker = os.urandom(16).hex()
left = persistence.leave(marker)
seen = {'left': left, 'found': persistence.find(marker), 'backwards': marker[::-1]}
print(json.dumps(seen), flush=True)
telling.sleep_on()
"""
FIND = """
import json, persistence
print(json.dumps(persistence.find({!r}[::-1])))
"""
# To look at everything takes a while.
QUICK = {"cpu": "500m", "memory": "128Mi"}


@pytest.mark.long
def test_nothing_that_a_run_leaves_is_found_by_another(
    hostile: Agents, tier: Tier, attempts: Attempts
):
    """By none beside it, and by none after it; it finds all of it itself, until it ends."""
    first = hostile.running(LEAVE, resources=QUICK)
    left = wait_for(lambda: told(hostile, first), 60, "the marker to be left and found")
    backwards = left["backwards"]
    marker = backwards[::-1]
    (pod,) = hostile.pods(first)

    beside = hostile.shown(FIND.format(backwards), resources=QUICK)
    on_disk = onnode.holding(marker)
    hostile.author.delete("agentrun", first, hostile.namespace)
    wait_for(lambda: not onnode.traces(pod), 60, "nothing of the cell to be left")
    after = hostile.shown(FIND.format(backwards), resources=QUICK)

    kept = {place for place, seen in left["left"].items() if seen == "ok"} - tier.devices
    assert tier.places - tier.devices <= kept, "the control: it was left wherever one can write"
    assert set(left["found"]) == kept
    assert on_disk, "the control: the node had it while the run was there"
    assert beside == []
    assert after == []
    assert onnode.holding(marker) == []
    for place in sorted(kept):
        attempts.record(
            "nothing persists",
            f"a marker in {place}",
            f"a cell ({tier})",
            "found by no run beside it or after it, and not on the node",
            "the same run finds it",
        )


def told(agents: Agents, name: str) -> Any:  # noqa: ANN401
    text = agents.said(name)
    return json.loads(text) if text.endswith("\n") else None
