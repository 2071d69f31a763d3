"""`evaluate`: all policies must allow a run, and the tightest figure wins."""

import pytest

from anchorhold.api.status import Reason
from anchorhold.policy.evaluate import ConfigMapFacts, evaluate
from anchorhold.policy.grant import Grant, GrantedInput, Refusal, Source
from factories import (
    DATA_IMAGE,
    IMAGE,
    OTHER_IMAGE,
    make_grant,
    make_policy,
    make_request,
    read_policies,
)

DIGEST = "sha256:" + "d" * 64
SETTINGS = {"inputs": [{"name": "conf", "configMap": {"name": "settings"}}]}
ANY_CONFIG_MAP = make_policy(inputs={"configMaps": [{"name": "*"}]})


def test_a_run_without_a_policy_is_refused():
    verdict = evaluate(make_request(), (), {})

    assert verdict == Refusal(Reason.NOT_ONBOARDED, "no AgentPolicy is bound to the namespace")


def test_what_a_run_leaves_out_is_the_limit():
    effective = make_grant().effective

    assert effective.model_dump(exclude={"digest"}) == {
        "image": IMAGE,
        "activeDeadlineSeconds": 600,
        "cpu": "2",
        "memory": "1Gi",
        "workspace": "1Gi",
        "isolation": "UserNamespace",
        "seccomp": "RuntimeDefault",
        "inputs": (),
    }


def test_what_a_run_leaves_out_is_the_default_where_there_is_one():
    defaults = {"activeDeadlineSeconds": 60, "cpu": "1", "memory": "256Mi", "workspace": "128Mi"}
    policy = make_policy(defaults=defaults)

    effective = make_grant(policies=read_policies(policy)).effective

    assert (effective.active_deadline_seconds, effective.cpu) == (60, "1")
    assert (effective.memory, effective.workspace) == ("256Mi", "128Mi")


def test_what_a_run_asks_for_it_gets():
    request = make_request(
        activeDeadlineSeconds=599,
        resources={"cpu": "1999m", "memory": "1023Mi"},
        workspace={"sizeLimit": "1022Mi"},
    )
    policies = read_policies(make_policy(defaults={"activeDeadlineSeconds": 60, "cpu": "1"}))

    effective = make_grant(request, policies).effective

    assert (effective.active_deadline_seconds, effective.cpu) == (599, "1999m")
    assert (effective.memory, effective.workspace) == ("1023Mi", "1022Mi")


def test_the_tightest_of_two_policies_wins_figure_by_figure():
    policies = read_policies(
        make_policy(limits={"activeDeadlineSeconds": 300, "cpu": "2", "memory": "2Gi"}),
        make_policy(
            {"name": "strict"},
            limits={"activeDeadlineSeconds": 900, "cpu": "1500m", "workspace": "1000Mi"},
            defaults={"memory": "512Mi"},
        ),
    )

    effective = make_grant(policies=policies).effective

    assert (effective.active_deadline_seconds, effective.cpu) == (300, "1500m")
    assert (effective.memory, effective.workspace) == ("512Mi", "1000Mi")


def test_a_default_does_not_open_what_the_same_policys_limit_closes():
    """The CRD refuses such a policy; should it get by, the limit still holds."""
    policies = read_policies(make_policy(defaults={"activeDeadlineSeconds": 601, "cpu": "3"}))

    effective = make_grant(policies=policies).effective

    assert (effective.active_deadline_seconds, effective.cpu) == (600, "2")


@pytest.mark.parametrize("order", [1, -1])
def test_each_of_two_policies_must_allow_a_run(order: int):
    wide = make_policy(images=[{"reference": IMAGE}, {"reference": OTHER_IMAGE}])
    narrow = make_policy({"name": "narrow"})
    policies = read_policies(wide, narrow)[::order]

    verdict = evaluate(make_request(image=OTHER_IMAGE), policies, {})

    assert verdict == Refusal(
        Reason.POLICY_REFUSED,
        f"`image` '{OTHER_IMAGE}' must be an image that the policy lists (AgentPolicy 'narrow')",
    )


def test_a_grant_names_the_policies_that_it_was_made_under():
    policies = read_policies(
        make_policy(), make_policy({"name": "second", "uid": "u2", "generation": 7})
    )

    grant = make_grant(policies=policies)

    assert [policy.model_dump() for policy in grant.policies] == [
        {"name": "default", "uid": "policy-uid", "generation": 1},
        {"name": "second", "uid": "u2", "generation": 7},
    ]


def test_a_config_map_that_does_not_exist_is_missing():
    verdict = evaluate(make_request(**SETTINGS), read_policies(ANY_CONFIG_MAP), {})

    assert verdict == Refusal(
        Reason.INPUT_MISSING,
        "`inputs['conf'].configMap.name` 'settings' does not exist in the namespace",
    )


def test_a_config_map_that_somebody_could_change_is_refused():
    facts = {"settings": ConfigMapFacts(immutable=False, digest=DIGEST)}

    verdict = evaluate(make_request(**SETTINGS), read_policies(ANY_CONFIG_MAP), facts)

    assert verdict == Refusal(
        Reason.POLICY_REFUSED,
        "`inputs['conf'].configMap.name` 'settings' must have `immutable: true`: add it to the "
        "ConfigMap and create the run again",
    )


def test_a_config_map_is_granted_with_its_digest():
    facts = {"settings": ConfigMapFacts(immutable=True, digest=DIGEST)}

    grant = make_grant(make_request(**SETTINGS), read_policies(ANY_CONFIG_MAP), facts)

    assert grant.inputs == (GrantedInput("conf", Source.CONFIG_MAP, "settings", DIGEST),)
    assert [item.model_dump() for item in grant.effective.inputs] == [
        {"name": "conf", "source": "ConfigMap/settings", "digest": DIGEST}
    ]


@pytest.mark.parametrize(
    ("source", "granted"),
    [
        pytest.param(
            {"persistentVolumeClaim": {"claimName": "checkout"}},
            GrantedInput("in", Source.CLAIM, "checkout", ""),
            id="a claim",
        ),
        pytest.param(
            {"image": {"reference": DATA_IMAGE}},
            GrantedInput("in", Source.IMAGE, DATA_IMAGE, ""),
            id="an image",
        ),
    ],
)
def test_any_other_input_is_granted_without_a_digest(
    source: dict[str, object], granted: GrantedInput
):
    """Nobody has read what it holds."""
    allowed = {
        "persistentVolumeClaims": [{"name": "checkout"}],
        "images": [{"reference": DATA_IMAGE}],
    }
    policies = read_policies(make_policy(inputs=allowed))

    grant = make_grant(make_request(inputs=[{"name": "in", **source}]), policies)

    assert grant.inputs == (granted,)


def test_an_unlisted_config_map_is_not_looked_up():
    """Whether it exists is none of the author's business then."""
    verdict = evaluate(make_request(**SETTINGS), read_policies(), {})

    assert isinstance(verdict, Refusal)
    assert verdict.reason is Reason.POLICY_REFUSED


def test_the_same_request_has_the_same_digest():
    assert make_grant().effective.digest == make_grant().effective.digest


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"task": "Another task."}, id="the task"),
        pytest.param({"args": ["--verbose"]}, id="the arguments"),
        pytest.param({"env": [{"name": "A", "value": "1"}]}, id="the environment"),
        pytest.param({"activeDeadlineSeconds": 599}, id="a limit"),
    ],
)
def test_the_digest_of_a_grant_covers(spec: dict[str, object]):
    other = make_grant(make_request(**spec))

    assert other.effective.digest != make_grant().effective.digest


def test_the_digest_of_a_grant_covers_what_a_config_map_holds():
    one, other = (
        make_grant(
            make_request(**SETTINGS),
            read_policies(ANY_CONFIG_MAP),
            {"settings": ConfigMapFacts(immutable=True, digest="sha256:" + letter * 64)},
        )
        for letter in "de"
    )

    assert one.effective.digest != other.effective.digest


def test_a_verdict_is_a_grant_or_a_refusal_and_nothing_else():
    assert isinstance(evaluate(make_request(), read_policies(), {}), Grant)
