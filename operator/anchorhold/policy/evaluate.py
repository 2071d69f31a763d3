"""`evaluate`: may this run start, and with what? The last word before a cell is built.

Admission asks the same questions first. They are asked again here because a run may be older
than its policy, and because a fence that is checked in one place is one mistake away from none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from anchorhold.api.policy import AgentPolicySpec, Seccomp
from anchorhold.api.run import AgentRunSpec, Input
from anchorhold.api.status import AppliedPolicy, Effective, Reason
from anchorhold.policy import checks, digest, egress, library, quantity, window
from anchorhold.policy.grant import BoundPolicy, Grant, GrantedInput, Refusal, Request, Site, Source


@dataclass(frozen=True, slots=True)
class ConfigMapFacts:
    """What matters of a ConfigMap that exists."""

    immutable: bool
    digest: str


def evaluate(
    request: Request,
    policies: Sequence[BoundPolicy],
    config_maps: Mapping[str, ConfigMapFacts],
    skills: library.Known,
    site: Site,
) -> Grant | Refusal:
    """Judge a run by every policy that is bound to its namespace: all of them must allow it.

    `config_maps` and `skills` hold those that the run names and that exist. A run without a policy
    is refused, and so is whatever no check allows.
    """
    if not policies:
        return Refusal(Reason.NOT_ONBOARDED, "no AgentPolicy is bound to the namespace")
    if (refusal := conflict(policies)) is not None:
        return refusal
    if (sentence := first_objection(request, policies, checks.CHECKS)) is not None:
        return Refusal(Reason.POLICY_REFUSED, sentence)
    if (sentence := egress.not_installed(request.spec, policies[0].spec, site)) is not None:
        return Refusal(Reason.POLICY_REFUSED, sentence)
    inputs = tuple(granted_input(item, config_maps) for item in request.spec.inputs)
    unfit_ones = (unfit(item, config_maps) for item in inputs)
    if (unfit_one := next(filter(None, unfit_ones), None)) is not None:
        return unfit_one
    given = library.given(request.spec, policies, skills)
    return given if isinstance(given, Refusal) else grant(request, policies, inputs, given, site)


def revoked(
    request: Request, policies: Sequence[BoundPolicy], seccomp: str, skills: Mapping[str, str]
) -> str | None:
    """Why a run that was granted may not go on, or None if it may.

    `seccomp` is the type of its Pod's profile: loosening it reaches no running run. `skills` are
    the digests of those that it was granted, by name.
    """
    refusal = conflict(policies)
    if refusal is not None:
        return refusal.message
    if policies[0].spec.seccomp is Seccomp.AGENT and seccomp != "Localhost":
        return f"`seccomp` must be 'Agent', not '{seccomp}' (AgentPolicy '{policies[0].name}')"
    objection = first_objection(request, policies, checks.CHECKS_WHILE_RUNNING)
    return objection or library.changed(skills, policies)


def exchanged_wall(granted: Mapping[str, Any], policies: Sequence[BoundPolicy]) -> str | None:
    """Why a cell that was granted this is not kept apart as it would be today, or None if it is."""
    for field, value in wall(policies[0].spec).items():
        if (given := granted.get(field, "")) != value:
            return f"`{field}` is '{value}' now, and the cell was made with '{given}'"
    return None


def conflict(policies: Sequence[BoundPolicy]) -> Refusal | None:
    """Policies that cannot hold together: no cell can be built as both of them say."""
    for field in ("isolation", "runtime_class_name", "seccomp", "placement"):
        if any(getattr(p.spec, field) != getattr(policies[0].spec, field) for p in policies):
            names = ", ".join(f"'{policy.name}'" for policy in policies)
            sentence = f"the AgentPolicies {names} must not differ in `{to_camel(field)}`"
            return Refusal(Reason.POLICY_CONFLICT, sentence)
    return egress.differing_rule(policies)


def longest_deadline(policies: Sequence[BoundPolicy]) -> int:
    """The longest that any run may last under all of the policies, in seconds."""
    return min(policy.spec.limits.active_deadline_seconds for policy in policies)


def shortest_retention(policies: Sequence[BoundPolicy]) -> int:
    """How long a record is kept at least under all of the policies, in seconds."""
    return max(policy.spec.min_retention_seconds for policy in policies)


def first_objection(
    request: Request, policies: Sequence[BoundPolicy], questions: Sequence[checks.Check]
) -> str | None:
    """The sentence of the first check that fails, with the policy that it fails under."""
    for policy in policies:
        for check in questions:
            if (sentence := check(request.spec, policy.spec)) is not None:
                return f"{sentence} (AgentPolicy '{policy.name}')"
    return None


def granted_input(item: Input, config_maps: Mapping[str, ConfigMapFacts]) -> GrantedInput:
    """An input in the form that the cell is built from. Its kind was checked before."""
    if item.config_map is not None:
        facts = config_maps.get(item.config_map.name)
        known = facts.digest if facts is not None else ""
        return GrantedInput(item.name, Source.CONFIG_MAP, item.config_map.name, known)
    if item.persistent_volume_claim is not None:
        return GrantedInput(item.name, Source.CLAIM, item.persistent_volume_claim.claim_name, "")
    assert item.image is not None  # noqa: S101  # input_is_listed refused what has none of them
    return GrantedInput(item.name, Source.IMAGE, item.image.reference, "")


def unfit(item: GrantedInput, config_maps: Mapping[str, ConfigMapFacts]) -> Refusal | None:
    """A ConfigMap must exist, and nobody may be able to change it once it was judged."""
    if item.source is not Source.CONFIG_MAP:
        return None
    facts, field = config_maps.get(item.reference), f"`inputs['{item.name}'].configMap.name`"
    if facts is None:
        return Refusal(
            Reason.INPUT_MISSING, f"{field} '{item.reference}' does not exist in the namespace"
        )
    if facts.immutable:
        return None
    return Refusal(
        Reason.POLICY_REFUSED,
        f"{field} '{item.reference}' must have `immutable: true`: add it to the ConfigMap and "
        "create the run again",
    )


def grant(
    request: Request,
    policies: Sequence[BoundPolicy],
    inputs: tuple[GrantedInput, ...],
    skills: library.Given,
    site: Site,
) -> Grant:
    """Every limit resolved, and the digest over all that is granted, the task included."""
    rules = egress.granted_rules(request.spec, policies[0].spec)
    effective = resolve(request.spec, [policy.spec for policy in policies], inputs)
    agent = policies[0].spec.seccomp is Seccomp.AGENT
    effective["seccomp"] = site.profile if agent else Seccomp.RUNTIME_DEFAULT.value
    effective["skills"] = [{"name": skill.name, "digest": skill.digest} for skill in skills]
    effective["rules"] = [{"name": rule.name, "digest": egress.of_rule(rule)} for rule in rules]
    effective |= egress.budget(request.spec, policies)
    placement = policies[0].spec.placement
    parts = (request.spec.model_dump(mode="json"), placement.model_dump(mode="json"))
    whole = [effective, *parts, request.uid, site.image]
    return Grant(
        request=request,
        policies=tuple(AppliedPolicy.parse(policy) for policy in applied(policies)),
        inputs=inputs,
        skills=skills,
        rules=rules,
        gateway=window.gateway_of(request.uid, site.gateways) if rules else "",
        placement=placement,
        site=site,
        effective=Effective.parse({**effective, "digest": digest.of_value(whole)}),
    )


def applied(policies: Sequence[BoundPolicy]) -> list[dict[str, Any]]:
    """Which policies these are, as a cell and a status say it."""
    return [{"name": p.name, "uid": p.uid, "generation": p.generation} for p in policies]


def resolve(
    asked: AgentRunSpec, policies: Sequence[AgentPolicySpec], inputs: Sequence[GrantedInput]
) -> dict[str, Any]:
    """What the run asks for, else the tightest default, else the limit: nothing stays open."""
    workspace = asked.workspace.size_limit if asked.workspace is not None else None
    return {
        "image": asked.image,
        "activeDeadlineSeconds": asked.active_deadline_seconds
        or tightest("active_deadline_seconds", policies, int),
        "cpu": asked.resources.cpu or tightest("cpu", policies, quantity.millicores),
        "memory": asked.resources.memory or tightest("memory", policies, quantity.number_of_bytes),
        "workspace": workspace or tightest("workspace", policies, quantity.number_of_bytes),
        **wall(policies[0]),
        "inputs": [
            {"name": i.name, "source": f"{i.source}/{i.reference}", "digest": i.digest}
            for i in inputs
        ],
    }


def wall(policy: AgentPolicySpec) -> dict[str, str]:
    """What keeps a cell apart from the node's kernel; no two policies of a run differ in it."""
    name = policy.runtime_class_name or ""
    return {"isolation": policy.isolation.value, "runtimeClassName": name}


def tightest(
    field: str, policies: Sequence[AgentPolicySpec], measure: Callable[[Any], int]
) -> object:
    """The smallest of all defaults and limits: a default never opens what a limit closes."""
    values = (getattr(part, field) for p in policies for part in (p.defaults, p.limits))
    return min((value for value in values if value is not None), key=measure)
