"""What every API type shares: strict parsing, frozen values, bounded fields.

Bounds have names here, because the admission rules' cost is computed from them, and because one
object must stay well below what etcd takes (1.5 MiB) even when every field is at its maximum.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import to_json


class Type(BaseModel):
    """A part of the API: unknown fields are refused, and a value never changes.

    An operator that meets a field it does not know refuses the object: the field may be a
    restriction made for a newer version, and ignoring it would fail open.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        validate_by_name=False,
        serialize_by_alias=True,
    )

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read what the API server sent. Raises pydantic.ValidationError.

        It goes through JSON because strict parsing takes arrays as tuples from JSON only.
        """
        return cls.model_validate_json(to_json(document))


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The first thing that is wrong with a document: the field's path, and what is the matter."""
    fault = error.errors()[0]
    return ".".join(str(part) for part in fault["loc"]), fault["msg"]


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One CEL validation, as a CRD carries it (`x-kubernetes-validations`)."""
    return {"rule": expression, "message": message, **more}


def rules(*validations: dict[str, str]) -> dict[str, Any]:
    """CEL validations in the form that pydantic copies into the JSON schema."""
    return {"x-kubernetes-validations": list(validations)}


def list_map(key: str = "name") -> dict[str, Any]:
    """Marks a list as a map with the given key: the API server refuses duplicates."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


# The rule that each rejected digest reference is told; the value itself is in the message.
DIGEST_PATTERN = "^[a-z0-9][a-z0-9._:/-]{0,190}@sha256:[a-f0-9]{64}$"
DIGEST_RULE = rule(
    f"self.matches('{DIGEST_PATTERN}')",
    "must be 'repository@sha256:' and 64 hexadecimal digits",
    messageExpression="\"'\" + self + \"' must be 'repository@sha256:' and 64 hexadecimal "
    'digits, because a tag can be moved to other content"',
)

ImageReference = Annotated[
    str, Field(min_length=1, max_length=265, json_schema_extra=rules(DIGEST_RULE))
]
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern="^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
]
Label = Annotated[
    str, Field(min_length=1, max_length=40, pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
Digest = Annotated[str, Field(max_length=71, pattern="^sha256:[a-f0-9]{64}$")]
Cpu = Annotated[str, Field(max_length=6, pattern="^([1-9][0-9]{0,2}|[1-9][0-9]{0,4}m)$")]
Memory = Annotated[str, Field(max_length=8, pattern="^[1-9][0-9]{0,5}(Mi|Gi)$")]
DeadlineSeconds = Annotated[int, Field(ge=1, le=86_400)]
Retention = Annotated[int, Field(ge=0, le=31_536_000)]
RunCount = Annotated[int, Field(ge=1, le=1_000)]

Argument = Annotated[str, Field(max_length=1_024)]

# A field whose issue has not come yet: any shape is read, and then refused with a sentence.
Reserved = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]


class PinnedSkill(Type):
    """An AgentSkill, and what it holds."""

    name: Label
    """Its name, and that of its folder under `/skills`."""
    digest: Digest
    """'sha256:' over its files."""


def refused(reserved: Mapping[str, str]) -> list[dict[str, str]]:
    """The CEL validations that refuse fields which nothing enforces yet."""
    return [rule(f"!has(self.{field})", sentence) for field, sentence in reserved.items()]


def first_reserved(given: Type, reserved: Mapping[str, str]) -> str | None:
    """The sentence for the first reserved field that is given, whatever the API server let by."""
    present = given.model_dump(exclude_none=True)
    return next((sentence for field, sentence in reserved.items() if field in present), None)


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
