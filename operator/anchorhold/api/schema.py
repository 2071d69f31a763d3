"""Writes the CustomResourceDefinitions from the API types: `python -m anchorhold.api.schema DIR`.

A developer's tool, off the run-time path. Pydantic speaks JSON Schema, the API server wants
structural schemas of OpenAPI v3.0 (Kubernetes documentation, "Specifying a structural schema"):
no references, no titles, no null, no `additionalProperties: false`.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from anchorhold import names
from anchorhold.api.base import Type, rule
from anchorhold.api.policy import AgentPolicy
from anchorhold.api.run import AgentRun
from anchorhold.api.skill import AgentSkill
from anchorhold.api.status import ConditionType, Reason

Schema = dict[str, Any]
DROPPED = ("title", "$defs")


def structural(schema: Schema, definitions: Schema) -> Schema:
    """The structural form of a pydantic schema. Raises ValueError for what has none."""
    kept = {k: v for k, v in whole(schema, definitions).items() if k not in DROPPED}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = structural(kept[key], definitions)
    if "properties" in kept:
        parts = kept["properties"].items()
        kept["properties"] = {name: structural(part, definitions) for name, part in parts}
    if isinstance(kept.get("additionalProperties"), bool):
        # False: the API server prunes, and kubectl refuses, what is not named. True: says nothing.
        del kept["additionalProperties"]
    if is_empty(kept.get("default", True)):
        del kept["default"]  # An absent list is an empty one; no object needs to say so.
    return kept


def whole(schema: Schema, definitions: Schema) -> Schema:
    """The schema without references, and without null: an absent field is absent."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        return whole({**target, **without(schema, "$ref")}, definitions)
    if "anyOf" in schema:
        return whole(
            {**the_one_alternative(schema["anyOf"]), **without(schema, "anyOf")}, definitions
        )
    return schema


def is_empty(default: object) -> bool:
    """Whether a default says nothing that absence does not say as well."""
    if isinstance(default, dict):
        return all(is_empty(value) for value in default.values())
    return default in (None, "", [], 0) and default is not False


def without(schema: Schema, key: str) -> Schema:
    """The schema less one key."""
    return {name: value for name, value in schema.items() if name != key}


def the_one_alternative(alternatives: list[Schema]) -> Schema:
    """X of `X | None`: an absent field is absent, never null."""
    others = [part for part in alternatives if part != {"type": "null"}]
    if len(others) != 1:
        raise ValueError(f"a union has no structural schema: {alternatives}")
    return others[0]


# Nothing may read as finished before the controller has seen it.
UNSEEN = {
    "conditions": [
        {
            "type": kind.value,
            "status": "Unknown",
            "reason": Reason.PENDING.value,
            "message": "Waiting for the controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
            "observedGeneration": 0,
        }
        for kind in ConditionType
    ]
}


def column(name: str, path: str, kind: str = "string") -> dict[str, str]:
    """One column of `kubectl get`."""
    return {"name": name, "type": kind, "jsonPath": path}


def agent_run() -> Schema:
    """The CRD of AgentRun."""
    crd = definition(AgentRun, "agentruns", "arun", status=True)
    version = crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["status"]["default"] = UNSEEN
    schema["x-kubernetes-validations"] = [
        rule(
            f"size(self.metadata.name) <= {names.MAX_RUN_NAME}",
            f"`metadata.name` must have at most {names.MAX_RUN_NAME} characters",
        ),
        rule(
            "!self.metadata.name.contains('.')",
            "`metadata.name` must be a DNS label: lower-case letters, digits and dashes",
        ),
    ]
    version["additionalPrinterColumns"] = [
        column("STATUS", '.status.conditions[?(@.type=="Succeeded")].reason'),
        column("POLICY", ".status.policies[*].name"),
        column("AGE", ".metadata.creationTimestamp", "date"),
        column("DEADLINE", ".status.effective.activeDeadlineSeconds", "integer"),
    ]
    return crd


def agent_policy() -> Schema:
    """The CRD of AgentPolicy."""
    crd = definition(AgentPolicy, "agentpolicies", "apol", status=False)
    crd["spec"]["versions"][0]["additionalPrinterColumns"] = [
        column("SUSPENDED", ".spec.suspend", "boolean"),
        column("ISOLATION", ".spec.isolation"),
        column("DEADLINE", ".spec.limits.activeDeadlineSeconds", "integer"),
        column("AGE", ".metadata.creationTimestamp", "date"),
    ]
    return crd


def agent_skill() -> Schema:
    """The CRD of AgentSkill."""
    crd = definition(AgentSkill, "agentskills", "askill", status=False)
    version = crd["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        rule(
            "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$')",
            "`metadata.name` must be at most 40 lower-case letters, digits and dashes: it names a "
            "folder",
        )
    ]
    version["additionalPrinterColumns"] = [
        column("REVIEWED-BY", r".metadata.annotations.anchorhold\.dev/reviewed-by"),
        column("DIGEST", ".spec.digest"),
        column("AGE", ".metadata.creationTimestamp", "date"),
        column("DESCRIPTION", ".spec.description"),
    ]
    return crd


def definition(kind: type[Type], plural: str, short: str, *, status: bool) -> Schema:
    """A CRD for one type, without columns."""
    schema = kind.model_json_schema()
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": structural(schema, schema.get("$defs", {}))},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": plural,
                "singular": kind.__name__.lower(),
                "shortNames": [short],
                "categories": ["anchorhold"],
            },
            "scope": "Namespaced",
            "versions": [{**version, "subresources": {"status": {}}} if status else version],
        },
    }


def render() -> dict[str, str]:
    """File name -> content of every CRD."""
    crds = (agent_policy(), agent_run(), agent_skill())
    return {
        f"{crd['spec']['names']['plural']}.yaml": yaml.safe_dump(crd, sort_keys=False, width=96)
        for crd in crds
    }


def main() -> None:
    """Write every CRD into the folder that the command line names."""
    for name, text in render().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
