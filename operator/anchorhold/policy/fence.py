"""Reads which policies are bound to a namespace, from the admission bindings themselves.

The bindings are what the API server enforces, so they are the one source of truth. Only those of
the exact shape that the tenant chart makes count: a binding that only warns, selects other
objects or lets a missing policy pass is a hole in the fence, and counts as none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from anchorhold import names
from anchorhold.api.run import Reason
from anchorhold.policy.grant import Refusal

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding of the exact shape: this admission policy holds in this namespace.

    `parameter` is the AgentPolicy's name, or empty for a floor that takes none.
    """

    admission_policy: str
    namespace: str
    parameter: str


def read_binding(document: Mapping[str, Any]) -> Binding | None:
    """The binding, or None if it is not exactly of the chart's shape."""
    spec = document["spec"]
    name, reference = spec["policyName"], spec.get("paramRef")
    resources = dict(spec.get("matchResources") or {})
    labels = resources.get("namespaceSelector", {}).get("matchLabels", {})
    namespace, parameter = labels.get(NAMESPACE_LABEL, ""), (reference or {}).get("name", "")
    exact = {
        "policyName": name,
        "matchResources": {
            "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: namespace}},
            "objectSelector": {},
            "matchPolicy": "Equivalent",
        },
        "validationActions": ["Deny"],
    }
    if name in names.LIMITS_POLICIES:
        exact["paramRef"] = {
            "name": parameter,
            "namespace": names.POLICY_NAMESPACE,
            "parameterNotFoundAction": "Deny",
        }
    known = name in names.LIMITS_POLICIES or name in names.FLOOR_POLICIES
    return Binding(name, namespace, parameter) if known and namespace and spec == exact else None


def bound_policies(namespace: str, bindings: Iterable[Binding]) -> tuple[str, ...] | Refusal:
    """The names of the AgentPolicies that every limit of this namespace takes, in order.

    A namespace whose fence lacks a part has no policy at all.
    """
    here = [binding for binding in bindings if binding.namespace == namespace]
    parameters = {
        name: {binding.parameter for binding in here if binding.admission_policy == name}
        for name in names.LIMITS_POLICIES + names.FLOOR_POLICIES
    }
    missing = sorted(name for name, found in parameters.items() if not found)
    if missing:
        return Refusal(Reason.NOT_ONBOARDED, not_onboarded(namespace, missing))
    bound = [parameters[name] for name in names.LIMITS_POLICIES]
    if any(found != bound[0] for found in bound):
        return Refusal(
            Reason.NOT_ONBOARDED,
            f"the admission bindings of namespace '{namespace}' name different AgentPolicies: "
            "install the chart anchorhold-tenant for it again",
        )
    return tuple(sorted(bound[0]))


def not_onboarded(namespace: str, missing: list[str]) -> str:
    """What a platform admin has to do."""
    return (
        f"namespace '{namespace}' has no binding of {', '.join(missing)}: "
        "a platform admin must install the chart anchorhold-tenant for it"
    )
