"""Bad input gets one sentence, from the layer that the table names, and nothing hangs."""

from typing import Any

import pytest
import yaml

from agents import Agents, Controller
from anchorhold.api import egress
from anchorhold.api.policy import RESERVED as RESERVED_POLICY
from bad_input import REFUSED, asked
from bed.kube import Document, Kubectl, RefusedError


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["kind"])
def test_bad_input_is_refused_at_once(agents: Agents, kubectl: Kubectl, row: dict[str, Any]):
    """The one who submits it gets the sentence."""
    submitter = kubectl if "namespace" in row else agents.author

    with pytest.raises(RefusedError) as refusal:
        submitter.create(asked(row, agents.namespace, agents.image))

    for words in row["says"]:
        assert words in str(refusal.value)


RULE = {"name": "model", "host": "model.test", "methods": ["GET"], "paths": ["/"]}
TUNNEL = {"name": "code", "host": "code.test", "mode": "Connect"}
KEY = {"secretName": "model", "key": "key"}


def without(mode: str, field: str) -> Document:
    """A rule of this mode that lacks a field."""
    return {name: value for name, value in {**RULE, "mode": mode}.items() if name != field}


# What is given, and what is said to it.
NOT_OF_A_POLICY: list[tuple[Document, str]] = [
    *(({field: {}}, says) for field, says in RESERVED_POLICY.items()),
    (
        {"egress": {"budget": {"tokens": 0}}},
        "spec.egress.budget.tokens in body should be greater than or equal to 1",
    ),
    *(
        ({"egress": {"rules": [{**RULE, field: {}}]}}, says)
        for field, says in egress.RESERVED_RULE.items()
    ),
    (
        {"egress": {"rules": [{**RULE, "host": "*.model.test", "credential": KEY}]}},
        "`host` must have no '*' where there is a `credential`",
    ),
    (
        {"egress": {"rules": [{**RULE, "credential": {**KEY, "header": "host"}}]}},
        "must not be a header that HTTP or the gateway is controlled by",
    ),
    *(
        ({"egress": {"rules": [{**TUNNEL, **given}]}}, egress.NOT_IN_A_TUNNEL[field])
        for field, given in (
            ("methods", {"methods": ["GET"]}),
            ("paths", {"paths": ["/"]}),
            ("credential", {"credential": KEY}),
        )
    ),
    *(
        ({"egress": {"rules": [without(mode, field)]}}, says)
        for mode in ("Reverse", "Intercept")
        for field, says in egress.NEEDED_OUTSIDE.items()
    ),
    (
        {"egress": {"rules": [{**RULE, "mode": "Intercept", "host": "*.model.test"}]}},
        "`host` must have no '*' where `mode` is 'Intercept'",
    ),
]


def test_an_input_from_another_run_is_refused(agents: Agents):
    """`run` is reserved."""
    with pytest.raises(RefusedError, match="`run` is not supported yet"):
        agents.submit(inputs=[{"name": "a", "run": {"name": "other"}}])


@pytest.mark.parametrize(("given", "says"), NOT_OF_A_POLICY, ids=str)
def test_a_field_of_a_policy_that_nothing_enforces_is_refused(
    kubectl: Kubectl, tenant: str, given: Document, says: str
):
    """A restriction that would be ignored is worse than none."""
    policy = kubectl.get("agentpolicy", tenant, "anchorhold-policies")
    assert policy is not None
    policy["spec"] |= given

    with pytest.raises(RefusedError) as refusal:
        kubectl("replace", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(policy))

    assert says in str(refusal.value)


def test_a_policy_with_a_rule_of_the_gateway_is_taken(kubectl: Kubectl, tenant: str):
    """The control: what is refused above is refused for the field that was added."""
    policy = kubectl.get("agentpolicy", tenant, "anchorhold-policies")
    assert policy is not None
    read = {**RULE, "name": "read", "mode": "Intercept", "credential": KEY}
    wide = {**TUNNEL, "name": "wide", "host": "*.code.test"}
    policy["spec"]["egress"] = {"rules": [{**RULE, "credential": KEY}, read, TUNNEL, wide]}

    kubectl("replace", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(policy))


def test_bad_input_is_refused_with_the_controller_at_zero_replicas(
    agents: Agents, kubectl: Kubectl, controller: Controller
):
    """The schema and the admission policies need nobody of ours to be up."""
    controller.stop()

    passed = [row["kind"] for row in REFUSED if not refusal_of(row, agents, kubectl)]

    assert passed == []
    agents.submit()  # The control: the same author, and nothing wrong with it.


def refusal_of(row: dict[str, Any], agents: Agents, kubectl: Kubectl) -> str:
    """What the submitter of a row is told, if it is what the table says."""
    submitter = kubectl if "namespace" in row else agents.author
    try:
        submitter.create(asked(row, agents.namespace, agents.image), "--dry-run=server")
    except RefusedError as refusal:
        told = str(refusal)
        return told if all(words in told for words in row["says"]) else ""
    return ""
