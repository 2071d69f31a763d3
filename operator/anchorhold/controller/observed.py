"""What the controller sees: slim, frozen views of runs and Pods, read once at the edge."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.base import first_fault
from anchorhold.api.run import AgentRunSpec
from anchorhold.api.status import Effective
from anchorhold.controller.containers import (
    Gate,
    Termination,
    container_state,
    read_gate,
    read_termination,
)
from anchorhold.controller.sentinels import Lookout
from anchorhold.policy import library
from anchorhold.policy.evaluate import ConfigMapFacts
from anchorhold.policy.grant import BoundPolicy, Refusal, Request, Site

Document = Mapping[str, Any]
Key = tuple[str, str]


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
class Pod:
    """A cell's Pod. `obstacle` is what the scheduler or the kubelet waits for, if it says so.

    `awaited_class` is the RuntimeClass whose sandbox the node has not made, or empty; `seccomp` is
    the type of its profile; `skills` are the digests of what it was granted, by name.
    """

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
    seccomp: str
    record: Document
    skills: Mapping[str, str]
    obstacle: str
    obstacle_message: str
    awaited_class: str
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
    `lookout` is what the sentinels of all nodes say.
    """

    run: Run
    pod: Pod | None
    watched: bool
    sees_pods: bool
    vanished: bool
    policies: tuple[BoundPolicy, ...] | Refusal
    config_maps: Mapping[str, ConfigMapFacts]
    skills: library.Known
    place: int
    site: Site
    canary_answers: bool
    lookout: Lookout
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
    record = read_record(metadata.get("annotations") or {})
    security = document["spec"].get("securityContext") or {}
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
        seccomp=(security.get("seccompProfile") or {}).get("type", ""),
        record=record,
        skills=read_skills(record),
        obstacle=obstacle,
        obstacle_message=obstacle_message,
        awaited_class=read_awaited_class(document["spec"], status, gate),
        gate=read_gate(gate.get("terminated")),
        running_since=(state.get("running") or {}).get("startedAt"),
        termination=read_termination(state.get("terminated")),
    )


def read_obstacle(status: Document, waiting: Document | None) -> tuple[str, str]:
    """What keeps the Pod from starting: the scheduler's word, else the kubelet's."""
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return scheduled.get("reason", ""), scheduled.get("message", "")
    return (waiting or {}).get("reason", ""), (waiting or {}).get("message", "")


def read_awaited_class(spec: Document, status: Document, gate: Document) -> str:
    """The kubelet says that a sandbox is missing: it never came, or it is gone already."""
    missing = {"type": "PodReadyToStartContainers", "status": "False"}.items()
    is_missing = any(missing <= c.items() for c in status.get("conditions") or ())
    ran = status.get("podIP") or (gate.get("terminated") or {}).get("startedAt")
    return spec.get("runtimeClassName") or "" if is_missing and not ran else ""


def read_record(annotations: Document) -> Document:
    """What was granted, as the cell itself carries it; admission keeps it as we wrote it.

    A Pod from before its namespace was bound may carry anything: it counts as nothing.
    """
    try:
        record = json.loads(annotations.get(names.EFFECTIVE_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    known = {"policies": list, "effective": dict} if isinstance(record, dict) else {}
    return {f: record[f] for f, kind in known.items() if isinstance(record.get(f), kind)}


def read_skills(record: Document) -> Mapping[str, str]:
    """The skills of a record; none of one that is not ours."""
    try:
        effective = Effective.parse(record["effective"])
    except (KeyError, ValueError):
        return {}
    return {skill.name: skill.digest for skill in effective.skills}


def moment(text: str) -> datetime:
    """A Kubernetes time (RFC 3339)."""
    return datetime.fromisoformat(text)
