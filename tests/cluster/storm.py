"""Every attack at once, beside an honest neighbour: what became of all of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import onnode
from agents import Agents
from attacks import Attack
from bed.kube import Document, wait_for

QUIET_ROUNDS = 30


@dataclass
class Storm:
    """Runs of many attacks, each under the attack's name."""

    agents: Agents
    names: dict[str, str] = field(default_factory=dict)
    runs: dict[str, Document] = field(default_factory=dict)
    pods: dict[str, Document] = field(default_factory=dict)
    beside: str = ""
    rounds: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    # What the node had of the neighbour while it ran: the looks at the node see something.
    traces: dict[str, list[str]] = field(default_factory=dict)

    def blow(self, *waves: Sequence[Attack]) -> None:
        """Let the attacks loose; return when they are over, and the neighbour is done.

        The first two waves come together, and each later one when all but the wave before it are
        over: the node has no room for all at once.
        """
        self.beside = self.agents.running(
            "import neighbour; neighbour.work(70)", resources={"cpu": "100m", "memory": "64Mi"}
        )
        wait_for(lambda: len(self.log()) > QUIET_ROUNDS, 60, "the neighbour's first rounds")
        self.traces = onnode.traces(self.agents.pods(self.beside)[0])
        self.began = self.log()[-1][0]
        self.submit(waves[0])
        for wave, later in pairwise((*waves, ())):
            self.submit(later)
            for attack in wave:
                self.over(attack.name)
        self.rounds = self.log()
        self.names["the neighbour"] = self.beside
        self.over("the neighbour")

    def submit(self, attacks: Sequence[Attack]) -> None:
        """Create their runs."""
        self.names |= {a.name: self.agents.submit(a.code, **a.wishes) for a in attacks}

    def over(self, name: str) -> None:
        """Wait until a run has ended, and keep what it became."""
        self.runs[name] = self.agents.end(self.names[name])
        (self.pods[name],) = self.agents.pods(self.names[name])

    def log(self) -> list[tuple[float, float]]:
        """When the neighbour's rounds began, and how long each took."""
        lines = [line.split() for line in self.agents.said(self.beside).splitlines()]
        return [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]

    def told(self) -> tuple[str, str]:
        """How long the neighbour's rounds took before the attacks, and while they went on."""
        quiet = [took for when, took in self.rounds if when <= self.began]
        loud = [took for when, took in self.rounds if when > self.began]
        return described(quiet), described(loud)

    def seen(self, attack: Attack) -> dict[str, Any]:
        """What the hostile program told."""
        text = self.runs[attack.name]["status"].get("result", {}).get("message", "")
        return dict(json.loads(text)) if text.startswith("{") else {}


def described(rounds: Sequence[float]) -> str:
    """The middle, what one round in twenty exceeds, and the worst."""
    late = statistics.quantiles(rounds, n=20)[-1]
    shown = [f"{1000 * took:.1f}" for took in (statistics.median(rounds), late, max(rounds))]
    return f"{shown[0]} ms (one in twenty over {shown[1]}, the worst {shown[2]})"
