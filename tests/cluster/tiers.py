"""The isolation tiers: each hostile test runs in every one of them."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from bed.kube import Document
from tenants import unavailable, wide_policy

# Tier -> every place that one of its cells can write.
WRITABLE: dict[str, list[dict[str, str]]] = yaml.safe_load(
    (Path(__file__).parent / "writable.yaml").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Tier:
    """One way to keep a cell apart from its node, as an AgentPolicy says it.

    `ends` says which attacks end for another reason than elsewhere.
    """

    name: str
    isolation: Document
    ends: dict[str, str]

    def policy(self, name: str, image: str, *others: str) -> Document:
        """An AgentPolicy of this tier under which many hostile runs find room at once."""
        written = wide_policy(name, image)
        spec = written["spec"]
        spec |= self.isolation
        spec["limits"] |= {"activeRuns": 20, "memory": "512Mi"}
        spec["images"] += [{"reference": reference} for reference in others]
        spec["inputs"]["images"] += [{"reference": reference} for reference in unavailable(image)]
        return written

    @property
    def places(self) -> set[str]:
        """Every place that a cell can write."""
        return {row["path"] for row in WRITABLE[self.name]}

    @property
    def devices(self) -> set[str]:
        """Of these, whoever writes there writes to nobody."""
        return {row["path"] for row in WRITABLE[self.name] if row["keeps"] == "nothing"}

    def __str__(self) -> str:
        return self.name


TIERS = (
    Tier("user-namespace", {"isolation": "UserNamespace"}, {}),
    # Its kernel has its own processes, which cost memory; nothing but memory sizes its /dev/shm.
    Tier(
        "gvisor",
        {"isolation": "RuntimeClass", "runtimeClassName": "gvisor"},
        {"a fork bomb": "OutOfMemory", "filling /dev/shm with more memory": "OutOfMemory"},
    ),
)
