"""The verdicts: a Grant, from which a cell is built, or a Refusal, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from anchorhold.api.egress import EgressRule
from anchorhold.api.policy import AgentPolicySpec, Placement
from anchorhold.api.run import AgentRunSpec
from anchorhold.api.status import AppliedPolicy, Effective, Reason


@dataclass(frozen=True, slots=True)
class Request:
    """A run that asks to be started: who it is, and what it asks for."""

    namespace: str
    name: str
    uid: str
    spec: AgentRunSpec


@dataclass(frozen=True, slots=True)
class BoundPolicy:
    """A policy that is bound to the run's namespace, as it was read."""

    name: str
    uid: str
    generation: int
    spec: AgentPolicySpec


class Source(StrEnum):
    """The kinds of input."""

    CONFIG_MAP = "ConfigMap"
    CLAIM = "PersistentVolumeClaim"
    IMAGE = "Image"


@dataclass(frozen=True, slots=True)
class GrantedInput:
    """An input that may be mounted; `digest` is that of a ConfigMap's content, else empty."""

    name: str
    source: Source
    reference: str
    digest: str


@dataclass(frozen=True, slots=True)
class GrantedSkill:
    """A reviewed skill: its text by path, and the digest over it that the policies list."""

    name: str
    digest: str
    description: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Site:
    """What this installation puts into every cell, whatever its policy: set by the chart.

    `image` is our own image, by digest. No cell may reach `canary`, 'host:port', which is ours, or
    any of `closed`, which are the admin's. `profile` is the seccomp profile, as a node knows it.
    Of `gateways` there are so many; 0: no run has egress. `authority` is the certificate (PEM) by
    which an agent knows a gateway that reads what is in its tunnels; empty: none does.
    """

    image: str
    canary: str
    closed: tuple[str, ...]
    profile: str
    gateways: int
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """Everything that a cell may be and have. Only `policy.evaluate` makes one.

    `effective` holds every resolved limit and the digest over all that was granted. `rules` are
    what it may reach through `gateway`, whose name is empty if that is nothing.
    """

    request: Request
    policies: tuple[AppliedPolicy, ...]
    inputs: tuple[GrantedInput, ...]
    skills: tuple[GrantedSkill, ...]
    rules: tuple[EgressRule, ...]
    gateway: str
    placement: Placement
    site: Site
    effective: Effective


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run does not start: a reason of the API, and one sentence for its author."""

    reason: Reason
    message: str
