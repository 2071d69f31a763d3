"""Every attack at once, beside an honest neighbour: what became of all of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    runs: dict[str, Document] = field(default_factory=dict)
    pods: dict[str, Document] = field(default_factory=dict)
    beside: str = ""
    rounds: list[tuple[float, float]] = field(default_factory=list)
    began: float = 0.0
    # What the node had of the neighbour while it ran: the looks at the node see something.
    traces: dict[str, list[str]] = field(default_factory=dict)

    def blow(self, attacks: Sequence[Attack]) -> None:
        """Let all of them loose, and return when they are over and the neighbour is done."""
        agents = self.agents
        self.beside = agents.running(
            "import neighbour; neighbour.work(80)", resources={"cpu": "100m", "memory": "64Mi"}
        )
        wait_for(lambda: len(self.log()) > QUIET_ROUNDS, 60, "the neighbour's first rounds")
        self.traces = onnode.traces(agents.pods(self.beside)[0])
        self.began = self.log()[-1][0]
        names = {a.name: agents.submit(a.code, **a.wishes) for a in attacks}
        for attack, name in names.items():
            self.runs[attack] = agents.end(name)
            (self.pods[attack],) = agents.pods(name)
        self.rounds = self.log()
        self.runs["the neighbour"] = agents.end(self.beside)
        (self.pods["the neighbour"],) = agents.pods(self.beside)

    def log(self) -> list[tuple[float, float]]:
        """When the neighbour's rounds began, and how long each took."""
        lines = [line.split() for line in self.agents.said(self.beside).splitlines()]
        return [(float(line[0]), float(line[1])) for line in lines if len(line) == 2]

    def medians(self) -> tuple[float, float]:
        """How long the neighbour's round took before the attacks, and while they went on."""
        quiet = [took for when, took in self.rounds if when <= self.began]
        loud = [took for when, took in self.rounds if when > self.began]
        return statistics.median(quiet), statistics.median(loud)

    def seen(self, attack: Attack) -> dict[str, Any]:
        """What the hostile program told."""
        text = self.runs[attack.name]["status"].get("result", {}).get("message", "")
        return dict(json.loads(text)) if text.startswith("{") else {}
