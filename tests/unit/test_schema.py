"""The CRDs: generated, committed, structural, and bounded in every part."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from pydantic import BaseModel

from anchorhold.api import egress, policy, run, schema
from anchorhold.api.status import ConditionType
from anchorhold.controller import status

CRDS = Path(__file__).parents[2] / "crds"
RENDERED = schema.render()
DOCUMENTS = {name: yaml.safe_load(text) for name, text in RENDERED.items()}
VERSIONS = {name: crd["spec"]["versions"][0] for name, crd in DOCUMENTS.items()}
Node: TypeAlias = dict[str, Any]

# What a structural schema of OpenAPI v3.0 may not hold, beside what bounds it.
FORBIDDEN = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "prefixItems"}
# Integers without an upper bound, because only the API server or we ourselves write them.
UNBOUNDED_INTEGERS = {
    "status.observedGeneration": "the API server counts generations",
    "status.conditions.items.observedGeneration": "the API server counts generations",
    "status.policies.items.generation": "the API server counts generations",
}


def nodes(part: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every schema node, with its path."""
    yield path, part
    for name, child in part.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    for key in ("items", "additionalProperties"):
        if key in part:
            yield from nodes(part[key], f"{path}.{key}")


NODES = [
    pytest.param(path, node, id=f"{name.removesuffix('.yaml')}:{path or 'whole'}")
    for name, version in VERSIONS.items()
    for path, node in nodes(version["schema"]["openAPIV3Schema"])
]


def test_the_files_on_disk_are_the_generated_ones():
    """`python -m anchorhold.api.schema crds` writes them."""
    stored = {path.name: path.read_text(encoding="utf-8") for path in CRDS.iterdir()}

    assert stored == RENDERED


def test_the_generator_writes_what_it_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["schema", str(tmp_path)])

    schema.main()

    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == RENDERED


@pytest.mark.parametrize(("path", "node"), NODES)
def test_the_node_is_structural(path: str, node: Node):
    assert not FORBIDDEN & set(node)
    assert node["type"] in {"object", "array", "string", "integer", "boolean"}
    assert node.get("additionalProperties") is not False
    assert not ("additionalProperties" in node and "properties" in node)
    assert not node.get("nullable")
    assert "default" not in node or node["default"] is not None
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        assert isinstance(node.get(bound, False), bool)


@pytest.mark.parametrize(("path", "node"), NODES)
def test_the_node_is_bounded(path: str, node: Node):
    match node["type"]:
        case "string":
            assert {"maxLength", "enum", "format"} & set(node)
        case "array":
            assert "maxItems" in node
            assert "items" in node
        case "integer":
            assert "minimum" in node
            assert ("maximum" in node) != (path in UNBOUNDED_INTEGERS)
        case "object":
            reserved = node.get("x-kubernetes-preserve-unknown-fields") is True
            is_map = "additionalProperties" in node and "maxProperties" in node
            assert reserved or is_map or node["properties"]
        case kind:
            assert kind == "boolean"


@pytest.mark.parametrize(("path", "node"), NODES)
def test_the_node_is_described(path: str, node: Node):
    """What `kubectl explain` prints. Elements of a plain list or map are described by it."""
    assert node.get("description") or path.endswith((".items", ".additionalProperties"))


def test_the_list_of_exceptions_holds_only_real_ones():
    paths = {parameter.values[0] for parameter in NODES}

    assert set(UNBOUNDED_INTEGERS) <= paths


@pytest.mark.parametrize(("path", "node"), NODES)
def test_a_list_of_named_things_is_a_map(path: str, node: Node):
    keys = node.get("x-kubernetes-list-map-keys", [])

    for key in keys:
        assert node["x-kubernetes-list-type"] == "map"
        assert key in node["items"]["required"]
    named = node.get("items", {}).get("properties", {})
    assert bool(keys) == bool({"name", "reference", "type", "path"} & set(named))


def test_the_columns_of_a_run():
    columns = VERSIONS["agentruns.yaml"]["additionalPrinterColumns"]

    assert [column["name"] for column in columns] == ["STATUS", "POLICY", "AGE", "DEADLINE"]
    assert [column["jsonPath"] for column in columns] == [
        '.status.conditions[?(@.type=="Succeeded")].reason',
        ".status.policies[*].name",
        ".metadata.creationTimestamp",
        ".status.effective.activeDeadlineSeconds",
    ]


@pytest.mark.parametrize(
    ("name", "plural", "short"),
    [
        pytest.param("agentruns.yaml", "agentruns", "arun", id="AgentRun"),
        pytest.param("agentpolicies.yaml", "agentpolicies", "apol", id="AgentPolicy"),
    ],
)
def test_the_names_of(name: str, plural: str, short: str):
    spec = DOCUMENTS[name]["spec"]

    assert DOCUMENTS[name]["metadata"]["name"] == f"{plural}.anchorhold.dev"
    assert (spec["group"], spec["scope"]) == ("anchorhold.dev", "Namespaced")
    assert spec["names"]["plural"] == plural
    assert spec["names"]["shortNames"] == [short]
    assert spec["names"]["categories"] == ["anchorhold"]


def test_only_a_run_has_a_status():
    assert VERSIONS["agentruns.yaml"]["subresources"] == {"status": {}}
    assert "subresources" not in VERSIONS["agentpolicies.yaml"]


def test_a_run_that_nobody_has_seen_reads_as_unfinished():
    root = VERSIONS["agentruns.yaml"]["schema"]["openAPIV3Schema"]

    conditions = root["properties"]["status"]["default"]["conditions"]

    assert [condition["type"] for condition in conditions] == list(ConditionType)
    assert {condition["status"] for condition in conditions} == {"Unknown"}
    assert {condition["reason"] for condition in conditions} == {"Pending"}
    # The moment that `status.since` takes for none.
    assert {condition["lastTransitionTime"] for condition in conditions} == {status.EPOCH}


def test_the_name_of_a_run_is_a_label_and_leaves_room_for_its_childrens():
    """What `test_cell_properties.is_admitted` says in Python."""
    assert rules_of("agentruns.yaml", "") == {
        "`metadata.name` must have at most 52 characters": "size(self.metadata.name) <= 52",
        "`metadata.name` must be a DNS label: lower-case letters, digits and dashes": (
            "!self.metadata.name.contains('.')"
        ),
    }


def rules_of(name: str, path: str) -> dict[str, str]:
    """Sentence -> CEL expression, at one node."""
    whole = dict(nodes(VERSIONS[name]["schema"]["openAPIV3Schema"]))
    return {
        rule["message"]: rule["rule"] for rule in whole[path].get("x-kubernetes-validations", ())
    }


RESERVED = [
    pytest.param(name, path, field, sentence, id=f"{name}:{path}.{field}")
    for name, path, table in (
        ("agentruns.yaml", "spec.inputs.items", run.RESERVED_INPUT),
        ("agentpolicies.yaml", "spec", policy.RESERVED),
        ("agentpolicies.yaml", "spec.egress.rules.items", egress.RESERVED_RULE),
    )
    for field, sentence in table.items()
]


@pytest.mark.parametrize(("name", "path", "field", "sentence"), RESERVED)
def test_a_reserved_field_is_refused_by_the_api_server_as_well(
    name: str, path: str, field: str, sentence: str
):
    """In the same words that `policy.checks` uses; and the field is there to be refused."""
    paths = dict(nodes(VERSIONS[name]["schema"]["openAPIV3Schema"]))

    assert rules_of(name, path)[sentence] == f"!has(self.{field})"
    assert f"{path}.{field}" in paths


def test_every_field_of_a_run_stays_as_it_is_but_for_cancel():
    """Who adds a field has to say so."""
    fields = [field.alias for field in run.AgentRunSpec.model_fields.values()]

    assert sorted([*run.IMMUTABLE, "cancel"]) == sorted(map(str, fields))


@pytest.mark.parametrize("field", run.IMMUTABLE)
def test_what_cannot_be_changed_is_neither_set_nor_removed_nor_altered(field: str):
    rules = rules_of("agentruns.yaml", "spec")

    assert rules[f"`{field}` cannot be changed: create a new run"] == (
        f"has(self.{field}) == has(oldSelf.{field}) && "
        f"(!has(self.{field}) || self.{field} == oldSelf.{field})"
    )


def test_a_run_is_cancelled_once_and_for_all():
    rules = rules_of("agentruns.yaml", "spec")

    assert rules["`cancel` cannot be taken back: create a new run"] == (
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)"
    )


def test_a_map_keeps_the_bounds_of_its_values():
    paths = dict(nodes(VERSIONS["agentpolicies.yaml"]["schema"]["openAPIV3Schema"]))

    selector = paths["spec.placement.nodeSelector"]

    assert (selector["type"], selector["maxProperties"]) == ("object", 8)
    assert selector["additionalProperties"] == {
        "type": "string",
        "maxLength": 63,
        "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    }


@pytest.mark.parametrize("field", ["activeDeadlineSeconds", "cpu", "memory", "workspace"])
def test_a_default_may_not_exceed_its_limit(field: str):
    sentence = f"`defaults.{field}` must be less than or equal to `limits.{field}`"

    assert sentence in rules_of("agentpolicies.yaml", "spec")


def test_the_values_of_a_map_are_made_structural_as_well():
    class Value(BaseModel):
        size: int | None = None

    class Whole(BaseModel):
        by_name: dict[str, Value]

    found = Whole.model_json_schema()

    assert schema.structural(found, found["$defs"])["properties"]["by_name"] == {
        "type": "object",
        "additionalProperties": {"type": "object", "properties": {"size": {"type": "integer"}}},
    }


def test_a_union_has_no_structural_schema():
    class Union(BaseModel):
        either: int | str

    with pytest.raises(ValueError, match="a union has no structural schema"):
        schema.structural(Union.model_json_schema(), {})
