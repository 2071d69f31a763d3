"""What the controller sees: slim, frozen views of runs and Pods, read once at the edge."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.base import first_fault
from anchorhold.api.run import AgentRunSpec
from anchorhold.policy.evaluate import ConfigMapFacts
from anchorhold.policy.grant import BoundPolicy, Refusal, Request, Site

Document = Mapping[str, Any]
Key = tuple[str, str]
# The reason of a netgate that gave none.
SPEECHLESS = "Lost"
# What a time that was never set looks like: containerd's zero, and our schema's default.
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Run:
    """An AgentRun. `request` is a sentence instead where this version can't read the spec."""

    key: Key
    uid: str
    version: int
    generation: int
    created: datetime
    deleting: bool
    requested_by: str
    request: Request | str
    status: Document

    @property
    def finished(self) -> bool:
        """Whether the record says how it ended; it never changes after that."""
        return any(
            condition["type"] == "Succeeded" and condition["status"] != "Unknown"
            for condition in self.status.get("conditions", ())
        )


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

    `open_milliseconds` is when something that must not answer the cell answered last.
    """

    reason: str
    message: str
    open_milliseconds: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A cell's Pod. `obstacle` is what the scheduler or the kubelet waits for, if it says so."""

    name: str
    uid: str
    owner_name: str
    owner_uid: str
    created: datetime
    deleting: bool
    phase: str
    reason: str
    message: str
    node: str
    deadline_seconds: int | None
    record: Document
    obstacle: str
    obstacle_message: str
    gate: Gate | None
    running_since: str | None
    termination: Termination | None


def has_ended(pod: Pod) -> bool:
    """Whether nothing of the Pod runs any more; one that is being deleted still may."""
    return pod.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a decision may depend on.

    `watched` says that the namespace is bound and its Pods are watched, `sees_pods` that they have
    been listed, `vanished` that the controller made the cell and the cell is gone. `place` counts
    what goes before this run: unfinished runs, and cells of others that still live.
    `canary_answers` is whether the canary can be reached from outside.
    """

    run: Run
    pod: Pod | None
    watched: bool
    sees_pods: bool
    vanished: bool
    policies: tuple[BoundPolicy, ...] | Refusal
    config_maps: Mapping[str, ConfigMapFacts]
    place: int
    site: Site
    canary_answers: bool
    now: datetime


def read_run(document: Document) -> Run:
    """The view of an AgentRun as the API server sent it."""
    metadata = document["metadata"]
    return Run(
        key=(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata["generation"],
        created=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        requested_by=(metadata.get("annotations") or {}).get(names.REQUESTED_BY_ANNOTATION, ""),
        request=read_request(document),
        status=document.get("status") or {},
    )


def read_request(document: Document) -> Request | str:
    """What the run asks for, or why this version does not understand it."""
    metadata = document["metadata"]
    try:
        spec = AgentRunSpec.parse(document["spec"])
    except ValidationError as error:
        field, fault = first_fault(error)
        return f"`{field}` cannot be read by this version: {fault}"
    return Request(metadata["namespace"], metadata["name"], metadata["uid"], spec)


def read_pod(document: Document) -> Pod:
    """The view of a cell's Pod. One that lost its owner has an empty owner."""
    metadata, status = document["metadata"], document.get("status") or {}
    owner: Document = next(iter(metadata.get("ownerReferences") or ()), {})
    gate = container_state(status.get("initContainerStatuses"), names.NETGATE_CONTAINER)
    state = container_state(status.get("containerStatuses"), names.AGENT_CONTAINER)
    waiting = gate.get("waiting") or state.get("waiting")
    obstacle, obstacle_message = read_obstacle(status, waiting)
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_name=owner.get("name", ""),
        owner_uid=owner.get("uid", ""),
        created=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        node=document["spec"].get("nodeName", ""),
        deadline_seconds=document["spec"].get("activeDeadlineSeconds"),
        record=read_record(metadata.get("annotations") or {}),
        obstacle=obstacle,
        obstacle_message=obstacle_message,
        gate=read_gate(gate.get("terminated")),
        running_since=(state.get("running") or {}).get("startedAt"),
        termination=read_termination(state.get("terminated")),
    )


def container_state(statuses: Sequence[Document] | None, name: str) -> Document:
    """The state of one container: waiting, running or terminated."""
    return next((status["state"] for status in statuses or () if status["name"] == name), {})


def read_gate(terminated: Document | None) -> Gate | None:
    """What the netgate said. One that was ended before it could speak has let nobody in."""
    if terminated is None:
        return None
    try:
        said = json.loads(terminated.get("message", ""))
        return Gate(str(said["reason"]), str(said["message"]), int(said["openMilliseconds"]))
    except (KeyError, TypeError, ValueError):
        words = f"{terminated.get('reason', '')}, exit code {terminated['exitCode']}"
        return Gate(SPEECHLESS, f"the netgate ended without a word: {words}", 0)


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


def read_obstacle(status: Document, waiting: Document | None) -> tuple[str, str]:
    """What keeps the Pod from starting: the scheduler's word, else the kubelet's."""
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return scheduled.get("reason", ""), scheduled.get("message", "")
    return (waiting or {}).get("reason", ""), (waiting or {}).get("message", "")


def read_record(annotations: Document) -> Document:
    """What was granted, as the cell itself carries it; admission keeps it as we wrote it.

    A Pod from before its namespace was bound may carry anything: it counts as nothing.
    """
    try:
        record = json.loads(annotations.get(names.EFFECTIVE_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    known = ("policies", "effective") if isinstance(record, dict) else ()
    return {field: record[field] for field in known if field in record}


def moment(text: str) -> datetime:
    """A Kubernetes time (RFC 3339)."""
    return datetime.fromisoformat(text)
