"""The questions that a run must pass, each one function: None, or the sentence of a refusal."""

import re
from collections.abc import Callable, Sequence

from anchorhold.api import egress as egress_api
from anchorhold.api import policy as policy_api
from anchorhold.api import run as run_api
from anchorhold.api.base import DIGEST_PATTERN, first_reserved
from anchorhold.api.egress import Budget
from anchorhold.api.policy import (
    CLASS_RULE,
    AgentPolicySpec,
    AllowedImage,
    AllowedObject,
    Isolation,
)
from anchorhold.api.run import AgentRunSpec, Input
from anchorhold.policy import budgets, quantity

Check = Callable[[AgentRunSpec, AgentPolicySpec], str | None]


def nothing_reserved_is_asked(asked: AgentRunSpec, _: AgentPolicySpec) -> str | None:
    """Fields that nothing enforces yet."""
    sentences = (first_reserved(item, run_api.RESERVED_INPUT) for item in asked.inputs)
    return next(filter(None, sentences), None)


def nothing_reserved_is_set(_: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """A restriction that would be ignored makes the whole policy void."""
    sentences = (first_reserved(rule, egress_api.RESERVED_RULE) for rule in policy.egress.rules)
    return first_reserved(policy, policy_api.RESERVED) or next(filter(None, sentences), None)


def rules_are_listed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """Every rule of the gateway that it asks for, by name."""
    listed = {rule.name for rule in policy.egress.rules}
    wanted = (rule.name for rule in (asked.egress.rules if asked.egress is not None else ()))
    if (name := next((name for name in wanted if name not in listed), None)) is None:
        return None
    return f"`egress.rules['{name}'].name` must be a rule that the policy lists"


def budget_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How much of the gateway it may use."""
    given = asked.egress.budget if asked.egress is not None else Budget()
    for kind in budgets.KINDS:
        amount, bound = getattr(given, kind), getattr(policy.egress.budget, kind)
        if amount is not None and bound is not None and amount > bound:
            return f"`egress.budget.{kind}` '{amount}' must be less than or equal to '{bound}'"
    return None


def isolation_is_whole(_: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """A RuntimeClass, exactly where that is what keeps a cell apart."""
    named = policy.runtime_class_name is not None
    return None if named == (policy.isolation is Isolation.RUNTIME_CLASS) else CLASS_RULE["message"]


def policy_is_not_suspended(_: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """The kill switch."""
    return "the policy is suspended" if policy.suspend else None


def image_is_listed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """The agent's image."""
    return unlisted_image("image", asked.image, policy.images)


def inputs_are_listed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """Every input, by name or reference."""
    sentences = (input_is_listed(item, policy) for item in asked.inputs)
    return next(filter(None, sentences), None)


def input_is_listed(item: Input, policy: AgentPolicySpec) -> str | None:
    """One input; an input of no known kind is refused."""
    field, allowed = f"inputs['{item.name}']", policy.inputs
    if item.config_map is not None:
        return unlisted_name(f"{field}.configMap.name", item.config_map.name, allowed.config_maps)
    if item.persistent_volume_claim is not None:
        name = item.persistent_volume_claim.claim_name
        claims = allowed.persistent_volume_claims
        return unlisted_name(f"{field}.persistentVolumeClaim.claimName", name, claims)
    if item.image is not None:
        return unlisted_image(f"{field}.image.reference", item.image.reference, allowed.images)
    return f"`{field}` must have `configMap`, `persistentVolumeClaim` or `image`"


def skills_are_listed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """Every skill, by name; what they hold is compared where they are granted."""
    listed = {skill.name for skill in policy.skills}
    unlisted = next((skill.name for skill in asked.skills if skill.name not in listed), None)
    return unlisted and f"`skills['{unlisted}']` must be a skill that the policy lists"


def unlisted_image(field: str, asked: str, allowed: Sequence[AllowedImage]) -> str | None:
    """None if the policy lists the reference, and nobody can move it to other content."""
    if re.fullmatch(DIGEST_PATTERN, asked) is None:
        return f"`{field}` '{asked}' must be 'repository@sha256:' and 64 hexadecimal digits"
    if any(asked == image.reference for image in allowed):
        return None
    return f"`{field}` '{asked}' must be an image that the policy lists"


def unlisted_name(field: str, asked: str, allowed: Sequence[AllowedObject]) -> str | None:
    """None if the policy lists the name, or any name."""
    if any(item.name in (asked, "*") for item in allowed):
        return None
    return f"`{field}` '{asked}' must be one that the policy lists"


def deadline_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How long it may run."""
    given, bound = asked.active_deadline_seconds, policy.limits.active_deadline_seconds
    if given is None or given <= bound:
        return None
    return f"`activeDeadlineSeconds` '{given}' must be less than or equal to '{bound}'"


def cpu_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How much CPU."""
    given, bound = asked.resources.cpu, policy.limits.cpu
    return exceeds("resources.cpu", given, bound, quantity.millicores)


def memory_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How much memory."""
    given, bound = asked.resources.memory, policy.limits.memory
    return exceeds("resources.memory", given, bound, quantity.number_of_bytes)


def workspace_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How much scratch space."""
    given = asked.workspace.size_limit if asked.workspace is not None else None
    bound = policy.limits.workspace
    return exceeds("workspace.sizeLimit", given, bound, quantity.number_of_bytes)


def exceeds(field: str, given: str | None, bound: str, measure: Callable[[str], int]) -> str | None:
    """None if nothing is given, or no more than the bound."""
    if given is None or measure(given) <= measure(bound):
        return None
    return f"`{field}` '{given}' must be less than or equal to '{bound}'"


def retention_is_allowed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """How soon it may delete itself."""
    given, bound = asked.ttl_seconds_after_finished, policy.min_retention_seconds
    if given is None or given >= bound:
        return None
    return f"`ttlSecondsAfterFinished` '{given}' must be greater than or equal to '{bound}'"


def image_inputs_are_listed(asked: AgentRunSpec, policy: AgentPolicySpec) -> str | None:
    """The inputs that are images."""
    sentences = (input_is_listed(item, policy) for item in asked.inputs if item.image is not None)
    return next(filter(None, sentences), None)


# What still has to hold while an agent runs: to take any of these away ends it. A tightened limit
# does not, but for the deadline, which is shortened.
CHECKS_WHILE_RUNNING: tuple[Check, ...] = (
    policy_is_not_suspended,
    nothing_reserved_is_set,
    isolation_is_whole,
    image_is_listed,
    image_inputs_are_listed,
    rules_are_listed,
    skills_are_listed,
)

CHECKS: tuple[Check, ...] = (
    policy_is_not_suspended,
    nothing_reserved_is_set,
    nothing_reserved_is_asked,
    isolation_is_whole,
    image_is_listed,
    deadline_is_allowed,
    cpu_is_allowed,
    memory_is_allowed,
    workspace_is_allowed,
    retention_is_allowed,
    inputs_are_listed,
    rules_are_listed,
    budget_is_allowed,
    skills_are_listed,
)
