"""The two tables that promise something about every field and every kind of bad input."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anchorhold.api import egress, policy, run
from anchorhold.api.status import Reason

ROOT = Path(__file__).parents[2]
FIELDS = yaml.safe_load((ROOT / "tests/fields.yaml").read_text(encoding="utf-8"))
BAD_INPUT = yaml.safe_load((ROOT / "tests/bad_input.yaml").read_text(encoding="utf-8"))
CRDS = {"AgentRun": "agentruns", "AgentPolicy": "agentpolicies", "AgentSkill": "agentskills"}
LAYERS = {"schema", "admission", "controller", "gateway", "pod"}
RESERVED = {
    "AgentRun": {f"inputs[].{field}" for field in run.RESERVED_INPUT},
    "AgentPolicy": {
        *policy.RESERVED,
        *(f"egress.rules[].{field}" for field in egress.RESERVED_RULE),
    },
    "AgentSkill": set(),
}


def leaves(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Every field below a schema that a person can write a value into."""
    if schema.get("items"):
        yield from leaves(schema["items"], f"{path}[]")
    elif schema.get("properties"):
        for name, part in schema["properties"].items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    else:
        yield path


@pytest.mark.parametrize("kind", CRDS)
def test_the_table_has_every_field_of_the_spec_and_no_other(kind: str):
    """A new field has to say who enforces it, or be refused."""
    crd = yaml.safe_load((ROOT / f"crds/{CRDS[kind]}.yaml").read_text(encoding="utf-8"))
    version = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    fields = set(leaves(version["properties"]["spec"], ""))

    assert fields == set(FIELDS[kind])


@pytest.mark.parametrize("kind", CRDS)
def test_what_the_table_calls_refused_is_what_the_code_refuses(kind: str):
    """And everything else names its layers."""
    refused = {field.removesuffix("[]") for field, row in FIELDS[kind].items() if "refused" in row}

    assert refused == RESERVED[kind]
    enforced = [row["enforced"] for row in FIELDS[kind].values() if "refused" not in row]
    assert all(layers and set(layers) <= LAYERS for layers in enforced)


@pytest.mark.parametrize("kind", CRDS)
def test_every_test_that_the_table_names_exists(kind: str):
    """A name that nobody defines would promise nothing."""
    named = {row.get("test") or row["refused"] for row in FIELDS[kind].values()}

    missing = [name for name in sorted(named) if not is_defined(name)]

    assert missing == []


def is_defined(name: str) -> bool:
    """Whether a test of this name is in this file."""
    file, function = name.split("::")
    text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).is_file() else ""
    return re.search(rf"^(async )?def {function}\(", text, re.MULTILINE) is not None


def test_each_kind_of_bad_input_has_one_layer_that_answers():
    """With a reason of the API where it is the status, and with words to look for."""
    for row in BAD_INPUT:
        assert row["layer"] in ("schema", "admission", "status"), row["kind"]
        assert row["says"], row["kind"]
        if row["layer"] == "status":
            assert row["reason"] in {reason.value for reason in Reason}
    assert len({row["kind"] for row in BAD_INPUT}) == len(BAD_INPUT)
