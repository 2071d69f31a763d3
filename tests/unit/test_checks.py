"""Each check: the exact sentence at one more than the limit, and nothing at the limit."""

from typing import Any

import pytest

from anchorhold.api import egress as egress_api
from anchorhold.api import policy as policy_api
from anchorhold.api import run as run_api
from anchorhold.api.policy import CLASS_RULE
from anchorhold.api.status import Reason
from anchorhold.policy import checks
from anchorhold.policy.evaluate import ConfigMapFacts, evaluate
from anchorhold.policy.grant import Grant, Refusal
from factories import (
    DATA_IMAGE,
    IMAGE,
    OTHER_IMAGE,
    RULE,
    SITE,
    make_policy,
    make_request,
    read_policies,
)

# Whatever a test's inputs name exists, and is immutable.
FACTS = {"settings": ConfigMapFacts(immutable=True, digest="sha256:" + "d" * 64)}
TAG = "registry.example/agent:latest"


def judge(spec: dict[str, Any], policy: dict[str, Any]) -> str | None:
    """The sentence of the refusal, or None for a grant."""
    match evaluate(make_request(**spec), read_policies(policy), FACTS, {}, SITE):
        case Refusal(Reason.POLICY_REFUSED, message):
            return message.removesuffix(" (AgentPolicy 'default')")
        case Grant():
            return None
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(
    ("at_the_limit", "beyond", "sentence"),
    [
        pytest.param(
            {"activeDeadlineSeconds": 600},
            {"activeDeadlineSeconds": 601},
            "`activeDeadlineSeconds` '601' must be less than or equal to '600'",
            id="deadline",
        ),
        pytest.param(
            {"resources": {"cpu": "2"}},
            {"resources": {"cpu": "3"}},
            "`resources.cpu` '3' must be less than or equal to '2'",
            id="cores",
        ),
        pytest.param(
            {"resources": {"cpu": "2000m"}},
            {"resources": {"cpu": "2001m"}},
            "`resources.cpu` '2001m' must be less than or equal to '2'",
            id="millicores",
        ),
        pytest.param(
            {"resources": {"memory": "1024Mi"}},
            {"resources": {"memory": "1025Mi"}},
            "`resources.memory` '1025Mi' must be less than or equal to '1Gi'",
            id="memory",
        ),
        pytest.param(
            {"workspace": {"sizeLimit": "1024Mi"}},
            {"workspace": {"sizeLimit": "1025Mi"}},
            "`workspace.sizeLimit` '1025Mi' must be less than or equal to '1Gi'",
            id="workspace",
        ),
    ],
)
def test_a_run_may_have_the_limit_and_not_one_more(
    at_the_limit: dict[str, Any], beyond: dict[str, Any], sentence: str
):
    assert judge(at_the_limit, make_policy()) is None
    assert judge(beyond, make_policy()) == sentence


def test_a_record_may_live_as_short_as_the_policy_says_and_not_shorter():
    policy = make_policy(minRetentionSeconds=60)

    assert judge({"ttlSecondsAfterFinished": 60}, policy) is None
    assert judge({"ttlSecondsAfterFinished": 59}, policy) == (
        "`ttlSecondsAfterFinished` '59' must be greater than or equal to '60'"
    )


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        pytest.param({}, {"minRetentionSeconds": 60}, id="a record that is kept for ever"),
        pytest.param({"ttlSecondsAfterFinished": 0}, {}, id="none, where the policy asks for none"),
    ],
)
def test_a_policys_retention_has_nothing_against(spec: dict[str, Any], policy: dict[str, Any]):
    assert judge(spec, make_policy(**policy)) is None


def test_a_run_that_asks_for_nothing_special_is_granted():
    assert judge({}, make_policy()) is None


@pytest.mark.parametrize(
    ("spec", "policy", "sentence"),
    [
        pytest.param(
            {}, {"suspend": True}, "the policy is suspended", id="nothing starts while suspended"
        ),
        pytest.param(
            {"image": OTHER_IMAGE},
            {},
            f"`image` '{OTHER_IMAGE}' must be an image that the policy lists",
            id="an image that the policy does not list",
        ),
        pytest.param(
            {"image": IMAGE.replace("a" * 64, "a" * 63 + "b")},
            {},
            f"`image` '{IMAGE[:-1]}b' must be an image that the policy lists",
            id="the same repository with another digest",
        ),
        pytest.param(
            {},
            {"images": []},
            f"`image` '{IMAGE}' must be an image that the policy lists",
            id="a policy without images allows none",
        ),
        pytest.param(
            {"image": TAG},
            {"images": [{"reference": TAG}]},
            f"`image` '{TAG}' must be 'repository@sha256:' and 64 hexadecimal digits",
            id="a tag, even one that the policy lists",
        ),
        pytest.param(
            {"image": IMAGE + "\n"},
            {"images": [{"reference": IMAGE + "\n"}]},
            f"`image` '{IMAGE}\n' must be 'repository@sha256:' and 64 hexadecimal digits",
            id="a digest with a line feed behind it",
        ),
        pytest.param(
            {},
            {"isolation": "RuntimeClass"},
            CLASS_RULE["message"],
            id="a RuntimeClass without a name",
        ),
        pytest.param(
            {},
            {"runtimeClassName": "gvisor"},
            CLASS_RULE["message"],
            id="the name of a RuntimeClass beside user namespaces",
        ),
    ],
)
def test_what_a_policy_does_not_allow_is_refused(
    spec: dict[str, Any], policy: dict[str, Any], sentence: str
):
    assert judge(spec, make_policy(**policy)) == sentence


CONFIG_MAP = {"name": "settings", "configMap": {"name": "settings"}}
CLAIM = {"name": "repo", "persistentVolumeClaim": {"claimName": "checkout"}}
DATA = {"name": "data", "image": {"reference": DATA_IMAGE}}
UNLISTED_CONFIG_MAP = (
    "`inputs['settings'].configMap.name` 'settings' must be one that the policy lists"
)
UNLISTED_CLAIM = (
    "`inputs['repo'].persistentVolumeClaim.claimName` 'checkout' must be one that the policy lists"
)
UNLISTED_DATA = (
    f"`inputs['data'].image.reference` '{DATA_IMAGE}' must be an image that the policy lists"
)


@pytest.mark.parametrize(
    ("item", "allowed"),
    [
        pytest.param(CONFIG_MAP, {"configMaps": [{"name": "settings"}]}, id="a ConfigMap by name"),
        pytest.param(CONFIG_MAP, {"configMaps": [{"name": "*"}]}, id="any ConfigMap"),
        pytest.param(CLAIM, {"persistentVolumeClaims": [{"name": "checkout"}]}, id="a claim"),
        pytest.param(CLAIM, {"persistentVolumeClaims": [{"name": "*"}]}, id="any claim"),
        pytest.param(DATA, {"images": [{"reference": DATA_IMAGE}]}, id="an image"),
    ],
)
def test_an_input_that_the_policy_lists_is_granted(item: dict[str, Any], allowed: dict[str, Any]):
    assert judge({"inputs": [item]}, make_policy(inputs=allowed)) is None


@pytest.mark.parametrize(
    ("item", "allowed", "sentence"),
    [
        pytest.param(CONFIG_MAP, {}, UNLISTED_CONFIG_MAP, id="no list of ConfigMaps allows none"),
        pytest.param(
            CONFIG_MAP,
            {"configMaps": [{"name": "setting"}, {"name": "settings-2"}]},
            UNLISTED_CONFIG_MAP,
            id="a name that only resembles one on the list",
        ),
        pytest.param(
            CONFIG_MAP,
            {"persistentVolumeClaims": [{"name": "*"}]},
            UNLISTED_CONFIG_MAP,
            id="claims allow no ConfigMap",
        ),
        pytest.param(CLAIM, {}, UNLISTED_CLAIM, id="no list of claims allows none"),
        pytest.param(
            CLAIM, {"configMaps": [{"name": "*"}]}, UNLISTED_CLAIM, id="ConfigMaps allow no claim"
        ),
        pytest.param(DATA, {}, UNLISTED_DATA, id="no list of images allows none"),
        pytest.param(
            {"name": "data", "image": {"reference": IMAGE}},
            {},
            f"`inputs['data'].image.reference` '{IMAGE}' must be an image that the policy lists",
            id="an image for agents is not one for inputs",
        ),
        pytest.param(
            {"name": "data", "image": {"reference": TAG}},
            {"images": [{"reference": TAG}]},
            f"`inputs['data'].image.reference` '{TAG}' must be 'repository@sha256:' and 64 "
            "hexadecimal digits",
            id="a tag, even one that the policy lists",
        ),
        pytest.param(
            {"name": "nothing"},
            {},
            "`inputs['nothing']` must have `configMap`, `persistentVolumeClaim` or `image`",
            id="an input of no known kind",
        ),
    ],
)
def test_an_input_that_the_policy_does_not_list_is_refused(
    item: dict[str, Any], allowed: dict[str, Any], sentence: str
):
    assert judge({"inputs": [item]}, make_policy(inputs=allowed)) == sentence


def test_each_input_is_checked_and_not_only_the_first():
    allowed = {"configMaps": [{"name": "settings"}]}

    assert judge({"inputs": [CONFIG_MAP, CLAIM]}, make_policy(inputs=allowed)) == UNLISTED_CLAIM


@pytest.mark.parametrize("kind", ["requests", "bytes", "tokens"])
def test_a_budget_must_not_be_wider_than_the_policy_s(kind: str):
    policy = make_policy(egress={"rules": [RULE], "budget": {kind: 10}})

    def asks(budget: dict[str, int]) -> dict[str, Any]:
        return {"egress": {"rules": [{"name": "model"}], "budget": budget}}

    sentence = f"`egress.budget.{kind}` '11' must be less than or equal to '10'"
    assert judge(asks({kind: 11}), policy) == sentence
    assert judge(asks({kind: 10}), policy) is None
    assert judge(asks({}), policy) is None
    # Where the policy says nothing of a kind, a run may say what it likes.
    others = {k: 11 for k in ("requests", "bytes", "tokens") if k != kind}
    assert judge(asks(others), policy) is None


@pytest.mark.parametrize("field", egress_api.RESERVED_RULE)
def test_a_field_of_a_rule_that_nothing_enforces_yet_voids_a_policy(field: str):
    policy = make_policy(egress={"rules": [RULE, {**RULE, "name": "other", field: {}}]})

    assert judge({}, policy) == egress_api.RESERVED_RULE[field]


@pytest.mark.parametrize("field", run_api.RESERVED_INPUT)
def test_a_field_of_an_input_that_nothing_enforces_yet_is_refused(field: str):
    given = {"inputs": [CONFIG_MAP, {"name": "later", field: {}}]}
    policy = make_policy(inputs={"configMaps": [{"name": "*"}]})

    assert judge(given, policy) == run_api.RESERVED_INPUT[field]


@pytest.mark.parametrize("field", policy_api.RESERVED)
def test_a_field_of_a_policy_that_nothing_enforces_yet_voids_it(field: str):
    given: dict[str, Any] = {field: {}}

    assert judge({}, make_policy(**given)) == policy_api.RESERVED[field]


def test_every_check_of_the_module_is_asked():
    signature = checks.nothing_reserved_is_set.__annotations__
    asked_about = {
        value
        for value in vars(checks).values()
        if getattr(value, "__annotations__", None)
        and list(value.__annotations__.values()) == list(signature.values())
    }

    assert {*checks.CHECKS, *checks.CHECKS_WHILE_RUNNING} == asked_about


def test_what_is_asked_of_a_running_run_was_asked_before_it_started():
    """Of all its inputs then, and of those that the policy can take away now."""
    later_only = set(checks.CHECKS_WHILE_RUNNING) - set(checks.CHECKS)

    assert later_only == {checks.image_inputs_are_listed}


@pytest.mark.parametrize("field", egress_api.NOT_IN_A_TUNNEL)
def test_a_rule_for_tunnels_with_what_nobody_could_enforce_there_is_not_read(field: str):
    """The API server refuses it, in the same words; and it isn't ignored where that let it by."""
    tunnel = {"name": "code", "host": "code.example", "mode": "Connect"}
    limits = {"credential": {"secretName": "code", "key": "key"}, **RULE}

    assert egress_api.EgressRule.parse(tunnel).mode == "Connect"
    with pytest.raises(ValueError, match=egress_api.NOT_IN_A_TUNNEL[field]):
        egress_api.EgressRule.parse({**tunnel, field: limits[field]})
