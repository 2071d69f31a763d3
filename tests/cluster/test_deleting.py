"""Deleted means gone, with an agent at work and the controller there to interfere.

What is refused, to whom and in which words is in `tests/refused`; how the garbage collector does
without a controller, in `test_deleted.py` and `test_controller_down.py`.
"""

import pytest

from agents import Agents
from bed.kube import RefusedError


@pytest.mark.long
@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_a_deleted_run_takes_its_agent_along(agents: Agents, cascade: str):
    """Both usual ways; the one that would leave the agent behind is refused, and marks nothing."""
    name = agents.running()
    for who in (agents.author, agents.admin):
        with pytest.raises(RefusedError, match=r"anchorhold-run-integrity.*`propagationPolicy`"):
            who.delete("agentrun", name, agents.namespace, "--cascade=orphan")
    (cell,) = agents.pods(name)
    for kept in (agents.get(name), cell):
        assert "deletionTimestamp" not in kept["metadata"]

    agents.author.delete("agentrun", name, agents.namespace, f"--cascade={cascade}")

    agents.until_gone(name)
    assert agents.admin.get("agentrun", name, agents.namespace) is None
