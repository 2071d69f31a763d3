"""Writes a run's status: conditions that move only when they change, and text that is only text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from anchorhold.api.status import ConditionType, Reason
from anchorhold.controller.containers import EPOCH
from anchorhold.policy import digest

Document = dict[str, Any]

UNDER_WAY = (Reason.PENDING, Reason.QUEUED, Reason.RUNNING)
MAX_MESSAGE = 2_048
# The kubelet keeps so many bytes of a termination message, and no more.
RESULT_BYTES = 4_096


def conditions(
    reason: Reason, message: str, *, accepted: str, generation: int
) -> dict[ConditionType, Document]:
    """The four conditions of a run in this state, less their times.

    `accepted` is 'True', 'False' or 'Unknown'. Ready and Stalled follow kstatus: a completed run
    is Current, a failed one Failed, and any other InProgress.
    """
    done, failed = reason is Reason.COMPLETED, reason not in (*UNDER_WAY, Reason.COMPLETED)
    succeeded = "True" if done else "False" if failed else "Unknown"
    verdict = "Granted" if accepted == "True" else reason.value
    values = {
        ConditionType.ACCEPTED: (accepted, verdict),
        ConditionType.SUCCEEDED: (succeeded, reason.value),
        ConditionType.READY: (str(done), reason.value),
        ConditionType.STALLED: (str(failed), reason.value),
    }
    return {
        kind: {
            "type": kind.value,
            "status": status,
            "reason": word,
            "message": "" if word == "Granted" else message,
            "observedGeneration": generation,
        }
        for kind, (status, word) in values.items()
    }


def dated(
    wanted: Mapping[ConditionType, Document], before: Sequence[Document], now: datetime
) -> list[Document]:
    """The conditions with their times: a time moves only when the status does."""
    known = {condition["type"]: condition for condition in before}
    return [
        {**condition, "lastTransitionTime": since(condition, known.get(kind.value), now)}
        for kind, condition in wanted.items()
    ]


def since(condition: Document, before: Document | None, now: datetime) -> str:
    """When the condition got its status; the schema's default is no moment at all."""
    if before is None or before["status"] != condition["status"]:
        return instant(now)
    known = str(before["lastTransitionTime"])
    return instant(now) if known == EPOCH else known


def changed(before: Mapping[str, Any], wanted: Document) -> bool:
    """Whether a status says anything new."""
    return any(before.get(field) != value for field, value in wanted.items())


def result(message: str) -> Document:
    """What the agent returned, made harmless to whoever prints it."""
    text = printable(message)
    return {
        "message": text,
        "truncated": len(message.encode("utf-8", "replace")) >= RESULT_BYTES,
        "digest": digest.of_text(text),
    }


def printable(text: str) -> str:
    r"""The text with every control character but line feed and tab escaped, as `\x1b`.

    A terminal obeys escape sequences, also those that a hostile agent wrote. C1 controls and the
    marks that turn the direction of text can hide as well as ESC can.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text
    )


def sentence(text: str) -> str:
    """Text from elsewhere, fit for a condition's message: one line, bounded."""
    return printable(" ".join(text.split()))[:MAX_MESSAGE]


def instant(moment: datetime) -> str:
    """A time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
