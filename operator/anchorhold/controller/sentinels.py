"""What the sentinels say of their nodes: whether a cell's fence stands there. Pure.

A node is open while its sentinel got out and has not found it closed since. Only that ends runs:
a sentinel that is late, evicted or deleted proves nothing, and only keeps new ones from starting.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.status import Reason, Unenforced

Document = Mapping[str, Any]
# One less than a status holds: its netgate may find one more.
MAX_FINDINGS = 15
UNWATCHED = (
    f"no node has a sentinel that is ready: see the DaemonSet `{names.SENTINEL}` in the namespace "
    f"`{names.SENTINEL_NAMESPACE}`"
)
UNSEEN = [
    {
        "what": "unknown: nobody has looked on this node",
        "setting": f"the DaemonSet `{names.SENTINEL}`",
    }
]


@dataclass(frozen=True, slots=True)
class Sentinel:
    """A sentinel's Pod: whether it stands guard, and what it could reach, if anything."""

    node: str
    ready: bool
    breach: str
    unenforced: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Lookout:
    """All sentinels."""

    sentinels: tuple[Sentinel, ...]

    def breach(self, node: str) -> str | None:
        """What a cell could reach on this node, as far as its sentinel found out."""
        return next((s.breach for s in self.sentinels if s.node == node and s.breach), None)

    def obstacle(self) -> str | None:
        """Why no cell may start now, or None.

        A cell is not kept from a node: who could choose nodes could choose neighbours.
        """
        opened = next((s for s in self.sentinels if s.breach), None)
        if opened is not None:
            return (
                f"nothing starts while the fence of node '{opened.node}' is open: {opened.breach}"
            )
        return None if any(s.ready for s in self.sentinels) else UNWATCHED

    def unenforced(self, node: str) -> list[dict[str, Any]]:
        """What this node does not enforce."""
        return next((s.unenforced for s in self.sentinels if s.node == node), UNSEEN)


def read_sentinel(document: Document) -> Sentinel:
    """The view of a sentinel's Pod. One that gets ready again has found its node closed."""
    status = document.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    ready = conditions.get("Ready") == "True"
    findings = last_word(status.get("initContainerStatuses"), names.SURVEY_CONTAINER)
    return Sentinel(
        node=document["spec"].get("nodeName", ""),
        ready=ready and "deletionTimestamp" not in document["metadata"],
        breach="" if ready else read_breach(status),
        unenforced=read_findings(findings),
    )


def read_breach(status: Document) -> str:
    """What the sentinel could reach, if that is how it ended last."""
    match last_word(status.get("containerStatuses"), names.SENTINEL_CONTAINER):
        case {"reason": Reason.BOUNDARY_OPEN, "message": str(message)}:
            return message
        case _:
            return ""


def read_findings(rows: object) -> list[dict[str, Any]]:
    """What the survey found, unless it has said nothing, or nothing that can be understood."""
    try:
        found = [Unenforced.parse(row) for row in rows] if isinstance(rows, list) else None
    except ValidationError:
        found = None
    return UNSEEN if found is None else [f.model_dump(mode="json") for f in found[:MAX_FINDINGS]]


def last_word(statuses: Sequence[Document] | None, name: str) -> object:
    """What a container said when it ended last, in JSON; None if it did not, or said nothing."""
    status: Document = next((s for s in statuses or () if s["name"] == name), {})
    states = (status.get("state") or {}, status.get("lastState") or {})
    ended: Document = next((state["terminated"] for state in states if "terminated" in state), {})
    try:
        return json.loads(ended.get("message", ""))
    except ValueError:
        return None
