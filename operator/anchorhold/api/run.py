"""AgentRun: one run of one agent, in one sealed Pod."""

from pydantic import ConfigDict, Field

from anchorhold.api.base import (
    Argument,
    Cpu,
    DeadlineSeconds,
    EnvironmentVariable,
    ImageReference,
    Label,
    Memory,
    ObjectName,
    Reserved,
    Retention,
    Type,
    list_map,
    refused,
    rule,
    rules,
)
from anchorhold.api.egress import AskedEgress
from anchorhold.api.status import AgentRunStatus


class ConfigMapInput(Type):
    """A ConfigMap of the run's namespace. It must be `immutable`, so that nobody can swap it."""

    name: ObjectName
    """The ConfigMap's name."""


class ClaimInput(Type):
    """A PersistentVolumeClaim of the run's namespace."""

    claim_name: ObjectName
    """The claim's name."""


class ImageInput(Type):
    """The content of an OCI image or artifact."""

    reference: ImageReference
    """The image, by digest: 'repository@sha256:…'."""


RESERVED_INPUT = {"run": "`run` is not supported yet: a run cannot read another one's outputs"}


class Input(Type):
    """Something that the agent can read at `/inputs/<name>`, and nobody can write there."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *refused(RESERVED_INPUT),
            rule(
                "has(self.run) || [has(self.configMap), has(self.persistentVolumeClaim), "
                "has(self.image)].filter(given, given).size() == 1",
                "must have exactly one of `configMap`, `persistentVolumeClaim` and `image`",
            ),
        )
    )

    name: Label
    """The folder's name under `/inputs`."""
    config_map: ConfigMapInput | None = None
    """A ConfigMap, each key a file."""
    persistent_volume_claim: ClaimInput | None = None
    """A volume that was filled before."""
    image: ImageInput | None = None
    """An image, mounted as files."""
    run: Reserved | None = None
    """Not supported yet, and refused."""


class Skill(Type):
    """An AgentSkill of the namespace `anchorhold-policies`, which the policy must list."""

    name: Label
    """Its name, and that of its folder under `/skills`."""


class Workspace(Type):
    """The agent's scratch space at `/workspace`, which is gone with the cell."""

    size_limit: Memory
    """Its size, for instance '512Mi'."""


class Resources(Type):
    """What the agent may use: each figure is its request and its limit."""

    cpu: Cpu | None = None
    """For instance '500m'."""
    memory: Memory | None = None
    """For instance '512Mi'."""


# All but `cancel`; a field that is added to the spec without being added here fails a test.
IMMUTABLE = (
    "task",
    "image",
    "command",
    "args",
    "env",
    "inputs",
    "workspace",
    "resources",
    "activeDeadlineSeconds",
    "skills",
    "egress",
    "ttlSecondsAfterFinished",
)


def unchanged(field: str) -> dict[str, str]:
    """The rule that a field keeps its value, or its absence."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && "
        f"(!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"`{field}` cannot be changed: create a new run",
    )


class AgentRunSpec(Type):
    """What to run. Nothing but `cancel` can be changed afterwards: make a new run instead."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(unchanged(field) for field in IMMUTABLE),
            rule(
                "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
                "`cancel` cannot be taken back: create a new run",
            ),
        )
    )

    task: str = Field(
        min_length=1,
        max_length=65_536,
        json_schema_extra=rules(
            rule("size(bytes(self)) <= 65536", "must have at most 65536 bytes of UTF-8")
        ),
    )
    """What the agent is to do: text, up to 64 KiB, at `/run/anchorhold/task`."""
    image: ImageReference
    """The agent's image, by digest. The policy must list it."""
    command: tuple[Argument, ...] = Field(default=(), max_length=8)
    """Replaces the image's entrypoint; literal, `$(NAME)` is not expanded."""
    args: tuple[Argument, ...] = Field(default=(), max_length=32)
    """Replaces the image's arguments; literal, `$(NAME)` is not expanded."""
    env: tuple[EnvironmentVariable, ...] = Field(
        default=(), max_length=32, json_schema_extra=list_map()
    )
    """Environment variables. Never put a secret here: anyone who may read the run reads it."""
    inputs: tuple[Input, ...] = Field(default=(), max_length=16, json_schema_extra=list_map())
    """What the agent may read, at `/inputs/<name>`."""
    workspace: Workspace | None = None
    """Scratch space; the policy's default or limit if absent."""
    resources: Resources = Resources()
    """CPU and memory; the policy's defaults or limits if absent."""
    active_deadline_seconds: DeadlineSeconds | None = None
    """When the run is ended, in seconds after the node accepted it; the policy's if absent."""
    skills: tuple[Skill, ...] = Field(default=(), max_length=16, json_schema_extra=list_map())
    """What the agent may look up, at `/skills/<name>`; `/skills/INDEX.md` describes each."""
    egress: AskedEgress | None = None
    """What it may reach, through the gateway alone. Absent: no network at all."""
    ttl_seconds_after_finished: Retention | None = None
    """The run deletes itself so many seconds after its end, and its record with it. Unset: never.

    Not below the policy's `minRetentionSeconds`. A GitOps tool would create the run again.
    """
    cancel: bool | None = None
    """Set it to true to end the run and keep its record; it cannot be taken back."""


class AgentRun(Type):
    """One run of one agent in one sealed, short-lived Pod, under the policy of its namespace."""

    spec: AgentRunSpec
    """What to run."""
    status: AgentRunStatus = AgentRunStatus()
    """What has become of it."""
