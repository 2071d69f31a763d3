"""What the kubelet says of a cell's containers: the netgate and the agent. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
# The reason of a netgate that gave none.
SPEECHLESS = "Lost"
# What a time that was never set looks like: containerd's zero, and our schema's default.
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Termination:
    """How the agent's container ended, in the kubelet's words."""

    exit_code: int
    reason: str
    message: str
    started: str | None
    finished: str | None


@dataclass(frozen=True, slots=True)
class Gate:
    """The netgate's last word: why the agent may not start, empty if it may.

    `open_milliseconds` is when something that must not answer the cell answered last; `filtered`
    is whether the cell's kernel filters its system calls.
    """

    reason: str
    message: str
    open_milliseconds: int
    filtered: bool


def container_state(statuses: Sequence[Document] | None, name: str) -> Document:
    """The state of one container: waiting, running or terminated."""
    return next((status["state"] for status in statuses or () if status["name"] == name), {})


def read_gate(terminated: Document | None) -> Gate | None:
    """What the netgate said. One that was ended before it could speak has let nobody in."""
    if terminated is None:
        return None
    try:
        said = json.loads(terminated.get("message", ""))
        filtered = said.get("filtered") is True
        milliseconds = int(said["openMilliseconds"])
        return Gate(str(said["reason"]), str(said["message"]), milliseconds, filtered)
    except (AttributeError, KeyError, TypeError, ValueError):
        words = f"{terminated.get('reason', '')}, exit code {terminated['exitCode']}"
        return Gate(SPEECHLESS, f"the netgate ended without a word: {words}", 0, filtered=False)


def read_termination(terminated: Document | None) -> Termination | None:
    """How the container ended. A time that nobody knows is absent, or the epoch's."""
    if terminated is None:
        return None
    started, finished = terminated.get("startedAt"), terminated.get("finishedAt")
    return Termination(
        exit_code=terminated["exitCode"],
        reason=terminated.get("reason", ""),
        message=terminated.get("message", ""),
        started=None if started == EPOCH else started,
        finished=None if finished == EPOCH else finished,
    )
