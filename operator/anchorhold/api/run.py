"""AgentRun: one run of one agent, in one sealed Pod."""

from typing import Annotated

from pydantic import ConfigDict, Field

from anchorhold.api.base import (
    Cpu,
    DeadlineSeconds,
    ImageReference,
    Label,
    Memory,
    ObjectName,
    Reserved,
    Type,
    list_map,
    refused,
    rule,
    rules,
)
from anchorhold.api.status import AgentRunStatus

Argument = Annotated[str, Field(max_length=1_024)]


class EnvironmentVariable(Type):
    """A literal environment variable of the agent; `$(NAME)` is not expanded."""

    name: str = Field(
        max_length=128,
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        json_schema_extra=rules(
            rule(
                "!self.startsWith('ANCHORHOLD_') && self != 'HOME'",
                "may not be 'HOME' or begin with 'ANCHORHOLD_': the cell sets those",
            )
        ),
    )
    """The variable's name."""
    value: Argument
    """The variable's value, as it is."""


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


RESERVED = {
    "skills": "`skills` are not supported yet: remove the field",
    "egress": "`egress` is not supported yet: remove the field, runs have no network",
    "ttlSecondsAfterFinished": "`ttlSecondsAfterFinished` is not supported yet: remove it, and "
    "delete the run when it is not needed any more",
    "cancel": "`cancel` is not supported yet: remove it, and delete the run to end it",
}


class AgentRunSpec(Type):
    """What to run. It can't be changed afterwards: make a new run instead."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "a run cannot be changed: create a new one"),
            *refused(RESERVED),
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
    skills: tuple[Reserved, ...] | None = Field(default=None, max_length=64)
    """Not supported yet, and refused."""
    egress: Reserved | None = None
    """Not supported yet, and refused."""
    ttl_seconds_after_finished: int | None = Field(default=None, ge=0, le=31_536_000)
    """Not supported yet, and refused."""
    cancel: bool | None = None
    """Not supported yet, and refused."""


class AgentRun(Type):
    """One run of one agent in one sealed, short-lived Pod, under the policy of its namespace."""

    spec: AgentRunSpec
    """What to run."""
    status: AgentRunStatus = AgentRunStatus()
    """What has become of it."""
