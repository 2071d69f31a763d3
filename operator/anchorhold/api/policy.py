"""AgentPolicy: what the runs of a namespace may do. It lives where no author may write."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from anchorhold.api.base import (
    Cpu,
    DeadlineSeconds,
    ImageReference,
    Memory,
    ObjectName,
    PinnedSkill,
    Reserved,
    Retention,
    RunCount,
    Type,
    list_map,
    refused,
    rule,
    rules,
)
from anchorhold.api.egress import AllowedEgress


class Isolation(StrEnum):
    """How a cell is kept apart from the node's kernel."""

    USER_NAMESPACE = "UserNamespace"
    RUNTIME_CLASS = "RuntimeClass"


class Seccomp(StrEnum):
    """Which system calls a cell may make."""

    AGENT = "Agent"
    RUNTIME_DEFAULT = "RuntimeDefault"


class AllowedImage(Type):
    """An image that a run may name."""

    reference: ImageReference
    """The image, by digest: 'repository@sha256:…'."""


class AllowedObject(Type):
    """An object of the run's own namespace that a run may name."""

    name: str = Field(max_length=253, pattern=r"^(\*|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)$")
    """The object's name; '*' means every one in the run's namespace."""


class AllowedInputs(Type):
    """What runs may mount read-only. An absent list allows nothing."""

    config_maps: tuple[AllowedObject, ...] = Field(
        default=(), max_length=64, json_schema_extra=list_map()
    )
    """ConfigMaps of the run's namespace."""
    persistent_volume_claims: tuple[AllowedObject, ...] = Field(
        default=(), max_length=64, json_schema_extra=list_map()
    )
    """PersistentVolumeClaims of the run's namespace."""
    images: tuple[AllowedImage, ...] = Field(
        default=(), max_length=64, json_schema_extra=list_map("reference")
    )
    """Images whose content may be mounted."""


LabelValue = Annotated[
    str, Field(max_length=63, pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]


class Limits(Type):
    """The upper bounds of one run, and of all runs of one namespace together."""

    active_deadline_seconds: DeadlineSeconds
    """The longest a run may last, in seconds, from the moment that the node accepts it."""
    cpu: Cpu
    """The most CPU of one run, for instance '500m' or '2'."""
    memory: Memory
    """The most memory of one run, for instance '512Mi'."""
    workspace: Memory
    """The largest scratch space of one run, for instance '1Gi'."""
    active_runs: RunCount
    """How many runs of one namespace may have a cell at the same time."""
    queued_runs: RunCount
    """How many more may wait; a run beyond that is refused."""


class Defaults(Type):
    """What a run gets that does not say. Absent: the limit itself."""

    active_deadline_seconds: DeadlineSeconds | None = None
    """In seconds."""
    cpu: Cpu | None = None
    """For instance '500m'."""
    memory: Memory | None = None
    """For instance '256Mi'."""
    workspace: Memory | None = None
    """For instance '256Mi'."""


class Toleration(Type):
    """A taint that cells tolerate, as in a Pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.operator == 'Exists' || (has(self.key) && self.key != '')",
                "`key` must be set where `operator` is 'Equal'",
            ),
            rule(
                "self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "`value` must not be set where `operator` is 'Exists'",
            ),
        )
    )

    key: str = Field(default="", max_length=317)
    """The taint's key; absent with the operator 'Exists': every taint."""
    operator: str = Field(default="Equal", json_schema_extra={"enum": ["Equal", "Exists"]})
    """'Equal' or 'Exists'."""
    value: str = Field(default="", max_length=63)
    """The taint's value."""
    effect: str = Field(json_schema_extra={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]})
    """The taint's effect."""


class Placement(Type):
    """Where cells run. Two policies of one namespace must not differ in it."""

    node_selector: dict[str, LabelValue] = Field(
        default={},
        max_length=8,
        json_schema_extra=rules(
            rule(
                "self.all(key, size(key) <= 317)", "a label's key must have at most 317 characters"
            )
        ),
    )
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Taints that cells tolerate."""
    priority_class_name: str = Field(default="", max_length=253)
    """The PriorityClass of cells; absent: the cluster's default."""


RESERVED = {
    "outputs": "`outputs` are not supported yet: remove the field, a run returns up to 4096 bytes "
    "as its result",
}
CLASS_RULE = rule(
    "has(self.runtimeClassName) == (has(self.isolation) && self.isolation == 'RuntimeClass')",
    "`runtimeClassName` must be set where `isolation` is 'RuntimeClass', and nowhere else",
)


def within(field: str) -> dict[str, str]:
    """The rule that a default may not exceed its own limit (CEL quantities)."""
    given, bound = f"self.defaults.{field}", f"self.limits.{field}"
    return rule(
        f"!has(self.defaults) || !has({given}) || "
        f"quantity({given}).compareTo(quantity({bound})) <= 0",
        f"`defaults.{field}` must be less than or equal to `limits.{field}`",
    )


class AgentPolicySpec(Type):
    """What the runs of every namespace that is bound to this policy may do."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *refused(RESERVED),
            CLASS_RULE,
            rule(
                "!has(self.defaults) || !has(self.defaults.activeDeadlineSeconds) || "
                "self.defaults.activeDeadlineSeconds <= self.limits.activeDeadlineSeconds",
                "`defaults.activeDeadlineSeconds` must be less than or equal to "
                "`limits.activeDeadlineSeconds`",
            ),
            within("cpu"),
            within("memory"),
            within("workspace"),
        )
    )

    suspend: bool = False
    """The kill switch: while true, no run of a bound namespace starts."""
    images: tuple[AllowedImage, ...] = Field(
        default=(), max_length=64, json_schema_extra=list_map("reference")
    )
    """The agent images that runs may use. Absent: none."""
    limits: Limits
    """The upper bounds of runs."""
    defaults: Defaults = Defaults()
    """What a run gets that does not say."""
    isolation: Isolation = Isolation.USER_NAMESPACE
    """'UserNamespace': root in the cell is nobody on the node. 'RuntimeClass': another kernel than
    the node's, for instance gVisor's. To change it ends running runs."""
    seccomp: Seccomp = Seccomp.AGENT
    """'Agent': the installation's own short list of system calls, which a node must have;
    'RuntimeDefault': the container runtime's."""
    inputs: AllowedInputs = AllowedInputs()
    """What runs may mount read-only. Absent: nothing."""
    runtime_class_name: ObjectName | None = None
    """The RuntimeClass of cells, required where `isolation` is 'RuntimeClass'. Where it has a
    `scheduling` of its own, `placement` must say the same. To change it ends running runs."""
    min_retention_seconds: Retention = 0
    """How long a finished run's record is kept at least, in seconds."""
    placement: Placement = Placement()
    """Where cells run."""
    skills: tuple[PinnedSkill, ...] = Field(default=(), max_length=64, json_schema_extra=list_map())
    """The AgentSkills that runs may name; one that was changed does not run. Absent: none."""
    outputs: Reserved | None = None
    """Not supported yet, and refused."""
    egress: AllowedEgress = AllowedEgress()
    """What runs may reach through the gateway. Absent: nothing, and no network at all."""


class AgentPolicy(Type):
    """What agents may do, and how much of it, in the namespaces that are bound to this policy."""

    spec: AgentPolicySpec
    """What the policy allows."""
