"""Reads which policies are bound to a namespace, from the admission bindings themselves.

The bindings are what the API server enforces, so they are the one source of truth. Only those of
the exact shape that the tenant chart makes count: a binding that only warns, selects other
objects or lets a missing policy pass is a hole in the fence, and counts as none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.base import first_fault
from anchorhold.api.policy import AgentPolicySpec
from anchorhold.api.status import Reason
from anchorhold.policy import window
from anchorhold.policy.grant import BoundPolicy, Refusal

# As many as a run's status can name.
MAX_POLICIES = 8


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
    namespace, parameter = labels.get(names.NAMESPACE_LABEL, ""), (reference or {}).get("name", "")
    exact = {
        "policyName": name,
        "matchResources": {
            "namespaceSelector": {"matchLabels": {names.NAMESPACE_LABEL: namespace}},
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


@dataclass(frozen=True, slots=True)
class Fence:
    """What is there to hold a namespace: bindings, admission policies that deny, and its wall.

    `closed` says that its NetworkPolicy closes it both ways. `holes` are the names of others that
    open something: NetworkPolicies add up, so one of those undoes the wall.
    """

    bindings: tuple[Binding, ...]
    admission_policies: frozenset[str]
    closed: bool
    holes: tuple[str, ...]


class Wall(Enum):
    """What a NetworkPolicy does to its namespace."""

    CLOSES = auto()
    OPENS = auto()
    NEITHER = auto()


def denies(document: Mapping[str, Any]) -> bool:
    """Whether an admission policy is there and refuses what it cannot judge."""
    spec = document["spec"]
    return spec.get("failurePolicy") == "Fail" and bool(spec.get("validations"))


def read_wall(document: Mapping[str, Any]) -> Wall:
    """Whether a NetworkPolicy closes all of its namespace, both ways, or opens anything.

    What lets one run reach its gateway, and that alone, is no hole.
    """
    spec = document["spec"]
    if window.is_opening(spec):
        return Wall.NEITHER
    directions = sorted(spec.get("policyTypes") or ())
    if spec.get("ingress") or spec.get("egress"):
        return Wall.OPENS
    whole = not spec.get("podSelector") and directions == ["Egress", "Ingress"]
    return Wall.CLOSES if whole else Wall.NEITHER


def bound_policies(namespace: str, fence: Fence) -> tuple[str, ...] | Refusal:
    """The names of the AgentPolicies that every limit of this namespace takes, in order.

    A namespace whose fence lacks a part has no policy at all. This is what a cell is made under.
    """
    taken = taken_policies(namespace, fence)
    if isinstance(taken, Refusal):
        return taken
    if any(found != taken[0] for found in taken):
        return differing(namespace)
    return in_order(namespace, taken[0])


def holding_policies(namespace: str, fence: Fence) -> tuple[str, ...] | Refusal:
    """The same for a cell that exists: every policy that any of the limits takes holds it.

    An upgrade of the tenant's release replaces bindings one by one. What runs need not end for
    that, as long as some policy is taken by all of the limits at every moment.
    """
    taken = taken_policies(namespace, fence)
    if isinstance(taken, Refusal):
        return taken
    if not set.intersection(*taken):
        return differing(namespace)
    return in_order(namespace, set.union(*taken))


def taken_policies(namespace: str, fence: Fence) -> list[set[str]] | Refusal:
    """For each limit, the AgentPolicies that its bindings name; or what the fence lacks."""
    here = [binding for binding in fence.bindings if binding.namespace == namespace]
    parameters = {
        name: {binding.parameter for binding in here if binding.admission_policy == name}
        for name in names.LIMITS_POLICIES + names.FLOOR_POLICIES
    }
    missing = sorted(name for name, found in parameters.items() if not found)
    if missing:
        return Refusal(Reason.NOT_ONBOARDED, not_onboarded(namespace, missing))
    if (damage := damaged(namespace, fence)) is not None:
        return Refusal(Reason.NOT_ONBOARDED, damage)
    return [parameters[name] for name in names.LIMITS_POLICIES]


def differing(namespace: str) -> Refusal:
    """The refusal where not every limit takes the same policies."""
    return Refusal(
        Reason.NOT_ONBOARDED,
        f"the admission bindings of namespace '{namespace}' name different AgentPolicies: "
        "install the chart anchorhold-tenant for it again",
    )


def in_order(namespace: str, bound: set[str]) -> tuple[str, ...] | Refusal:
    """The names in order, unless there are more than a status can hold."""
    if len(bound) > MAX_POLICIES:
        sentence = f"namespace '{namespace}' is bound to more than {MAX_POLICIES} AgentPolicies"
        return Refusal(Reason.POLICY_CONFLICT, sentence)
    return tuple(sorted(bound))


def damaged(namespace: str, fence: Fence) -> str | None:
    """What is wrong with the fence around a namespace that has all its bindings."""
    required = {*names.LIMITS_POLICIES, *names.FLOOR_POLICIES}
    toothless = sorted(required - fence.admission_policies)
    if toothless:
        return (
            f"the admission policies {', '.join(toothless)} are missing or deny nothing: "
            "a platform admin must install the chart anchorhold again"
        )
    if fence.closed and fence.holes:
        return (
            f"namespace '{namespace}' has the NetworkPolicy '{fence.holes[0]}', which opens its "
            "wall: a platform admin must delete it"
        )
    if fence.closed:
        return None
    return (
        f"namespace '{namespace}' has no NetworkPolicy '{names.DEFAULT_DENY}' that closes it both "
        "ways: a platform admin must install the chart anchorhold-tenant for it again"
    )


def not_onboarded(namespace: str, missing: list[str]) -> str:
    """What a platform admin has to do."""
    return (
        f"namespace '{namespace}' has no binding of {', '.join(missing)}: "
        "a platform admin must install the chart anchorhold-tenant for it"
    )


def resolve(
    bound: tuple[str, ...] | Refusal, stored: Mapping[str, BoundPolicy | Refusal]
) -> tuple[BoundPolicy, ...] | Refusal:
    """The policies behind the names that are bound, or why they cannot be applied.

    One policy that is missing or not understood makes the whole namespace refuse.
    """
    if isinstance(bound, Refusal):
        return bound
    found: list[BoundPolicy] = []
    for name in bound:
        policy = stored.get(name)
        if policy is None:
            return Refusal(
                Reason.NOT_ONBOARDED, f"AgentPolicy '{name}', which is bound, does not exist"
            )
        if isinstance(policy, Refusal):
            return policy
        found.append(policy)
    return tuple(found)


def read_policy(document: Mapping[str, Any]) -> BoundPolicy | Refusal:
    """A policy as it was read; one with a field that this version does not know is void."""
    metadata = document["metadata"]
    try:
        spec = AgentPolicySpec.parse(document["spec"])
    except ValidationError as error:
        field, fault = first_fault(error)
        return Refusal(
            Reason.POLICY_REFUSED,
            f"AgentPolicy '{metadata['name']}' cannot be applied by this version: "
            f"`{field}`: {fault}",
        )
    return BoundPolicy(metadata["name"], metadata["uid"], metadata["generation"], spec)
