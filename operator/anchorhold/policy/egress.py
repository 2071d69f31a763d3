"""What of the gateway a run gets: the rules that it asks for, and what it may use of them."""

from collections.abc import Sequence
from typing import Any

from anchorhold.api.egress import INTERCEPT, EgressRule
from anchorhold.api.policy import AgentPolicySpec
from anchorhold.api.run import AgentRunSpec
from anchorhold.api.status import Reason
from anchorhold.policy import budgets, digest
from anchorhold.policy.grant import BoundPolicy, Refusal, Site

NO_GATEWAY = (
    "`egress` needs a gateway, and none is installed: a platform admin must set the value "
    "`gateway.envoyImage` of the chart anchorhold"
)
NO_AUTHORITY = (
    "`egress.rules['{}']` needs a gateway that reads what is in tunnels: a platform admin must set "
    "the value `gateway.intercept` of the chart anchorhold"
)


def not_installed(asked: AgentRunSpec, policy: AgentPolicySpec, site: Site) -> str | None:
    """What the run asks for and the platform does not have."""
    if asked.egress is not None and site.gateways == 0:
        return NO_GATEWAY
    read = (rule for rule in granted_rules(asked, policy) if rule.mode == INTERCEPT)
    rule = next(read, None)
    return NO_AUTHORITY.format(rule.name) if rule is not None and not site.authority else None


def differing_rule(policies: Sequence[BoundPolicy]) -> Refusal | None:
    """A rule of the gateway that two policies have under one name, with different content."""
    known: dict[str, EgressRule] = {}
    for policy in policies:
        for rule in policy.spec.egress.rules:
            if known.setdefault(rule.name, rule) != rule:
                sentence = f"`egress.rules['{rule.name}']` must be the same in every AgentPolicy"
                return Refusal(Reason.POLICY_CONFLICT, sentence)
    return None


def granted_rules(asked: AgentRunSpec, policy: AgentPolicySpec) -> tuple[EgressRule, ...]:
    """The rules that a run asks for: every policy has them, and each has the same."""
    listed = {rule.name: rule for rule in policy.egress.rules}
    return tuple(listed[rule.name] for rule in asked.egress.rules) if asked.egress else ()


def budget(asked: AgentRunSpec, policies: Sequence[BoundPolicy]) -> dict[str, Any]:
    """How much of the gateway the run may use, if it may use it and there is a limit."""
    if asked.egress is None:
        return {}
    all_given = (asked.egress.budget, *(policy.spec.egress.budget for policy in policies))
    found = budgets.tightest(all_given).model_dump(exclude_none=True)
    return {"budget": found} if found else {}


def of_rule(rule: EgressRule) -> str:
    """The digest of a rule: the gateway lets a run use it only as it was granted."""
    return digest.of_value(rule.model_dump(mode="json"))
