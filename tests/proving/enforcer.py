"""`python3 -m proving.enforcer off|on`: stops and starts what enforces NetworkPolicies."""

import sys

from bed.kube import wait_for
from onenode import network, node, settings, shell
from onenode.paths import here

NAME = "kube-router"
CHAINS = tuple(f"KUBE-ROUTER-{name}" for name in ("INPUT", "FORWARD", "OUTPUT"))


def iptables(*words: str) -> str:
    """Run iptables on the node."""
    return shell.run(*network.inside(settings.NODE_NETWORK), "iptables", "-w", *words)


def is_enforced() -> bool:
    """Whether the rules are in force."""
    return all(iptables("-S", chain).count("\n-A ") for chain in CHAINS[:2])


def off() -> None:
    """No enforcer, and none of its rules."""
    node.stop(here(), NAME)
    for chain in CHAINS:
        iptables("-F", chain)


def on() -> None:
    """Both are back."""
    node.start(here(), NAME)
    wait_for(is_enforced, 60, "the enforcer's rules")


if __name__ == "__main__":
    {"off": off, "on": on}[sys.argv[1]]()
