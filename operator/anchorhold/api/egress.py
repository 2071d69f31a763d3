"""What a run may reach through the gateway: the rules of a policy, and which a run asks for."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from anchorhold.api.base import (
    EnvironmentVariable,
    Label,
    ObjectName,
    Reserved,
    Type,
    list_map,
    refused,
    rule,
    rules,
)

_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# The last label begins with a letter: no host is an address, in whatever notation.
HOST_PATTERN = rf"^((\*|{_LABEL})\.)*{_LABEL}\.[a-z]([a-z0-9-]*[a-z0-9])?$"
_SEGMENT = "[A-Za-z0-9._~!$&'()+,=:@-]+"
PATH_PATTERN = rf"^/(({_SEGMENT}|\*)/)*({_SEGMENT}|\*|\*\*)?$"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REVERSE, CONNECT, INTERCEPT = "Reverse", "Connect", "Intercept"

Method = Annotated[str, Field(max_length=7, json_schema_extra={"enum": list(METHODS)})]
Path = Annotated[str, Field(max_length=128, pattern=PATH_PATTERN)]
Amount = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
_SET: JsonDict = {"x-kubernetes-list-type": "set"}

RESERVED_RULE = {"approval": "`approval` is not supported yet: remove the field"}
# Nobody sees inside of a tunnel: what could not be enforced there is refused, and not ignored.
NOT_IN_A_TUNNEL = {
    field: f"`{field}` must be absent where `mode` is '{CONNECT}', because nobody sees inside"
    for field in ("methods", "paths", "credential")
}
NEEDED_OUTSIDE = {
    field: f"`{field}` is required where `mode` is not '{CONNECT}'"
    for field in ("methods", "paths")
}


# What HTTP itself, or the gateway, is controlled by.
_NOT_FOR_SECRETS = (
    *("host", "connection", "content-length", "expect", "te", "trailer", "transfer-encoding"),
    *("upgrade", "x-anchorhold-route"),
)


class Credential(Type):
    """What the gateway adds to each request of a rule. No cell ever holds it.

    The Secret lies in `anchorhold-gateway`. Its own annotations must name the rule's host
    (`anchorhold.dev/hosts`) and every policy that the run is under (`anchorhold.dev/policies`).
    """

    secret_name: ObjectName
    """The Secret's name."""
    key: str = Field(min_length=1, max_length=253, pattern="^[-._a-zA-Z0-9]+$")
    """Which of its values."""
    header: str = Field(
        default="authorization",
        max_length=64,
        pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        json_schema_extra=rules(
            rule(
                f"!(self in {list(_NOT_FOR_SECRETS)})",
                "must not be a header that HTTP or the gateway is controlled by",
            )
        ),
    )
    """The header, in lower case."""
    format: str = Field(
        default="Bearer {value}",
        max_length=128,
        pattern=r"^[ -~]*\{value\}[ -~]*$",
    )
    """What the header says; '{value}' stands for the Secret's value."""


class EgressRule(Type):
    """One thing that runs may reach. What no rule names is refused."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *refused(RESERVED_RULE),
            rule(
                "!has(self.credential) || !self.host.contains('*')",
                "`host` must have no '*' where there is a `credential`: each of its hosts is named",
            ),
            *(
                rule(f"self.mode != '{CONNECT}' || !has(self.{field})", sentence)
                for field, sentence in NOT_IN_A_TUNNEL.items()
            ),
            *(
                rule(f"self.mode == '{CONNECT}' || has(self.{field})", sentence)
                for field, sentence in NEEDED_OUTSIDE.items()
            ),
            rule(
                f"self.mode != '{INTERCEPT}' || !self.host.contains('*')",
                f"`host` must have no '*' where `mode` is '{INTERCEPT}': each has a certificate",
            ),
        )
    )

    name: Label
    """What runs call it."""
    host: str = Field(max_length=253, pattern=HOST_PATTERN)
    """The host's name; '*' stands for one whole label, as in '*.example.com'."""
    ports: tuple[Port, ...] = Field(
        default=(443,), min_length=1, max_length=8, json_schema_extra=_SET
    )
    """The TCP ports, on which the host must speak TLS."""
    methods: tuple[Method, ...] = Field(
        default=(), min_length=1, max_length=7, json_schema_extra=_SET
    )
    """The HTTP methods. Required, but not where the mode is 'Connect'."""
    paths: tuple[Path, ...] = Field(default=(), min_length=1, max_length=16, json_schema_extra=_SET)
    """The paths: '*' stands for one whole segment, '**' at the end for all that may follow.
    Required, but not where the mode is 'Connect'."""
    mode: str = Field(default=REVERSE, json_schema_extra={"enum": [REVERSE, CONNECT, INTERCEPT]})
    """'Reverse': the agent asks the gateway for 'http://<gateway>/<host>/<path>'. 'Connect': the
    gateway is the agent's HTTPS proxy, and sees the host's name and no more. 'Intercept': the same,
    but the gateway reads what is in the tunnel, with a certificate that the agent has to trust."""
    env: tuple[EnvironmentVariable, ...] = Field(
        default=(), max_length=8, json_schema_extra=list_map()
    )
    """Variables of the agent: '{gateway}' becomes the gateway's 'address:port', '{token}' what
    the run shows there."""
    credential: Credential | None = None
    """What the gateway adds, so that no cell holds it."""
    approval: Reserved | None = None
    """Not supported yet, and refused."""

    @model_validator(mode="after")
    def _is_enforceable(self) -> Self:
        """Refuse what the API server refuses as well: no limit is read and then ignored."""
        given = (field for field in NOT_IN_A_TUNNEL if getattr(self, field))
        if self.mode == CONNECT and (field := next(given, None)) is not None:
            raise ValueError(NOT_IN_A_TUNNEL[field])
        return self


class Budget(Type):
    """How much may pass the gateway. What is absent has no limit."""

    requests: Amount | None = None
    """Requests that were allowed."""
    bytes: Amount | None = None
    """Bytes in both directions. An open stream is counted every second, so that what is in
    flight when they are spent still passes."""
    tokens: Amount | None = None
    """Tokens of models, as these report them (OpenAI's and Anthropic's protocols). A reply that
    could report them and does not counts by its size, and at least as 4096."""


class AllowedEgress(Type):
    """What runs may reach through the gateway."""

    rules: tuple[EgressRule, ...] = Field(default=(), max_length=32, json_schema_extra=list_map())
    """The rules that runs may ask for. Absent: none, and no network at all."""
    budget: Budget = Budget()
    """How much each run may use. To tighten it reaches running runs at once."""
    daily_budget: Budget = Budget()
    """How much all runs of the policy may use together, from midnight to midnight UTC. Each of
    the gateway's replicas gives out its own equal part of it."""


class AskedRule(Type):
    """A rule that a run asks for."""

    name: Label
    """Its name in the policy."""


class AskedEgress(Type):
    """What a run wants to reach."""

    rules: tuple[AskedRule, ...] = Field(min_length=1, max_length=16, json_schema_extra=list_map())
    """Rules of the policy, by name. The run reaches what these allow, and nothing else."""
    budget: Budget = Budget()
    """Its own budget, no wider than the policy's."""
