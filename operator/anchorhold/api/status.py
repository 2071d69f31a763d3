"""The status of an AgentRun: what Anchorhold has seen of it, and every reason there is."""

from enum import StrEnum

from pydantic import Field

from anchorhold.api.base import (
    Cpu,
    DeadlineSeconds,
    ImageReference,
    Label,
    Memory,
    ObjectName,
    PinnedSkill,
    Type,
    list_map,
)
from anchorhold.api.egress import Budget
from anchorhold.api.usage import Usage


class ConditionType(StrEnum):
    """What a run's conditions are about."""

    ACCEPTED = "Accepted"
    """The verdict of the policies."""
    SUCCEEDED = "Succeeded"
    """Unknown while the run goes on; its reason is the STATUS column."""
    READY = "Ready"
    """True once the run completed: what kstatus, Flux and Argo CD wait for."""
    STALLED = "Stalled"
    """True once the run failed: it will not go on by itself."""


class Reason(StrEnum):
    """Why `Succeeded` is what it is: Unknown in the first three, then True once, else False."""

    PENDING = "Pending"
    """The run has no running cell yet; the message says what it waits for."""
    QUEUED = "Queued"
    """As many runs as the policy allows are active."""
    RUNNING = "Running"
    """The agent has started."""
    COMPLETED = "Completed"
    """The agent ended with exit code 0."""
    AGENT_FAILED = "AgentFailed"
    """The agent ended with another exit code."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The agent ran longer than `activeDeadlineSeconds`, or did not start in that time."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The agent used more memory than its limit."""
    DISK_EXCEEDED = "DiskExceeded"
    """The agent wrote more than its workspace or its ephemeral storage may hold."""
    BOUNDARY_OPEN = "BoundaryOpen"
    """The cell could reach what no cell may reach, or is not isolated: the agent did not start."""
    GATEWAY_UNAVAILABLE = "GatewayUnavailable"
    """The gateway did not answer the cell, or did not know it: the agent did not start."""
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """The node could not get an image."""
    INPUT_MISSING = "InputMissing"
    """An input does not exist or cannot be mounted."""
    PROFILE_MISSING = "ProfileMissing"
    """The node lacks the seccomp profile."""
    UNSCHEDULABLE = "Unschedulable"
    """No node could take the cell in time."""
    POLICY_REFUSED = "PolicyRefused"
    """A policy does not allow what the run asks for; the message names the field."""
    POLICY_CONFLICT = "PolicyConflict"
    """Two bound policies contradict each other."""
    NOT_ONBOARDED = "NotOnboarded"
    """The namespace is not bound to a policy, or a part of its fence is missing."""
    POLICY_REVOKED = "PolicyRevoked"
    """A policy was tightened, suspended or removed, or the namespace's fence was damaged."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """The run, or all runs of a policy on this day, used what a budget allows."""
    CANCELLED = "Cancelled"
    """Somebody set `cancel`."""
    NAME_TAKEN = "NameTaken"
    """Another object has the name of something that the run needs."""
    LOST = "Lost"
    """The cell is gone, and nobody knows how the agent ended."""


class Condition(Type):
    """One aspect of a run's state (Kubernetes API conventions)."""

    type: str = Field(min_length=1, max_length=316)
    """'Accepted', 'Succeeded', 'Ready' or 'Stalled'."""
    status: str = Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})
    """'True', 'False' or 'Unknown'."""
    reason: str = Field(min_length=1, max_length=64)
    """One word, part of the API."""
    message: str = Field(max_length=2_048)
    """A sentence for people."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When `status` changed last."""
    observed_generation: int = Field(default=0, ge=0)
    """The generation that this is about."""


class AppliedPolicy(Type):
    """A policy that a run was judged by, at the moment its cell was made."""

    name: ObjectName
    """Its name, in the namespace `anchorhold-policies`."""
    uid: str = Field(max_length=64)
    """Its uid."""
    generation: int = Field(ge=0)
    """Its generation."""


class EffectiveInput(Type):
    """An input as it was granted."""

    name: Label
    """The folder's name under `/inputs`."""
    source: str = Field(max_length=300)
    """Its kind and name, for instance 'ConfigMap/settings'."""
    digest: str = Field(default="", max_length=71)
    """For a ConfigMap: 'sha256:' of its content, at the moment the cell was made."""


class EffectiveRule(Type):
    """An egress rule as it was granted."""

    name: Label
    """Its name in the policy."""
    digest: str = Field(max_length=71)
    """'sha256:' of the rule: with another content it does not reach this run."""


class Effective(Type):
    """What the run really got: every limit resolved."""

    image: ImageReference
    """The agent's image."""
    active_deadline_seconds: DeadlineSeconds
    """In seconds."""
    cpu: Cpu
    """Request and limit."""
    memory: Memory
    """Request and limit."""
    workspace: Memory
    """The size of `/workspace`."""
    isolation: str = Field(max_length=32)
    """How the cell is kept apart."""
    runtime_class_name: str = Field(default="", max_length=253)
    """The RuntimeClass, where that is what keeps it apart."""
    seccomp: str = Field(max_length=64)
    """Which profile it has: 'RuntimeDefault', or the name of a file with its digest."""
    inputs: tuple[EffectiveInput, ...] = Field(
        default=(), max_length=16, json_schema_extra=list_map()
    )
    """What it can read."""
    skills: tuple[PinnedSkill, ...] = Field(default=(), max_length=16, json_schema_extra=list_map())
    """What it can look up."""
    rules: tuple[EffectiveRule, ...] = Field(
        default=(), max_length=16, json_schema_extra=list_map()
    )
    """What it can reach through the gateway."""
    budget: Budget | None = None
    """How much it may use there: the tightest of all that are given."""
    digest: str = Field(default="", max_length=71)
    """'sha256:' over all that was granted, the task included."""


class Result(Type):
    """What the agent wrote to `$ANCHORHOLD_RESULT`: untrusted text, never more than data."""

    message: str = Field(max_length=16_384)
    """The last 4096 bytes at most; control characters are escaped as `\\x1b`."""
    truncated: bool
    """True when the agent may have written more than was kept."""
    digest: str = Field(max_length=71)
    """'sha256:' of `message`."""


class Boundary(Type):
    """What the netgate saw from inside the cell, before the agent was let in."""

    verified: bool
    """Whether nothing answered in the end: the API server, the node's kubelet, the canary."""
    open_milliseconds: int = Field(ge=0, le=86_400_000)
    """When something answered last, in milliseconds after the netgate began; 0: never."""


class Unenforced(Type):
    """Something that the run's node does not enforce on a cell."""

    what: str = Field(min_length=1, max_length=256)
    """What is open, for instance 'processes: a cell can start 1024 and more'."""
    setting: str = Field(max_length=256)
    """What would close it."""


class AgentRunStatus(Type):
    """What Anchorhold has seen of the run. Only Anchorhold writes it."""

    observed_generation: int = Field(default=0, ge=0)
    """The generation of the spec that this is about."""
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=8, json_schema_extra=list_map("type")
    )
    """'Accepted', 'Succeeded', 'Ready' and 'Stalled'."""
    policies: tuple[AppliedPolicy, ...] = Field(
        default=(), max_length=8, json_schema_extra=list_map()
    )
    """The policies that the cell was made under."""
    effective: Effective | None = None
    """What the run really got."""
    requested_by: str = Field(default="", max_length=1_024)
    """Who created the run, as the API server knew them."""
    pod_name: str = Field(default="", max_length=253)
    """The cell's Pod."""
    node_name: str = Field(default="", max_length=253)
    """The node it ran on."""
    boundary: Boundary | None = None
    """What the netgate saw."""
    unenforced: tuple[Unenforced, ...] = Field(default=(), max_length=16)
    """What the node does not enforce, as a look from inside a Pod like a cell found; empty: nothing
    was found."""
    start_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When the agent started."""
    completion_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When the run ended."""
    usage: Usage | None = None
    """What passed the gateway."""
    exit_code: int | None = Field(default=None, ge=-1, le=255)
    """The agent's exit code, if it ended by itself."""
    result: Result | None = None
    """What the agent returned."""
