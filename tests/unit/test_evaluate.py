"""`evaluate`: all policies must allow a run, and the tightest figure wins."""

import dataclasses
from typing import Any

import pytest

from anchorhold.api.policy import CLASS_RULE
from anchorhold.api.status import Reason
from anchorhold.policy import checks
from anchorhold.policy.egress import NO_AUTHORITY, NO_GATEWAY, of_rule
from anchorhold.policy.evaluate import (
    ConfigMapFacts,
    conflict,
    evaluate,
    exchanged_wall,
    longest_deadline,
    revoked,
    shortest_retention,
)
from anchorhold.policy.grant import Grant, GrantedInput, Refusal, Site, Source
from factories import (
    DATA_IMAGE,
    IMAGE,
    OTHER_IMAGE,
    PROFILE,
    RULE,
    SITE,
    make_grant,
    make_policy,
    make_request,
    read_policies,
)

DIGEST = "sha256:" + "d" * 64
# The type of the profile of a cell that has our own.
OWN = "Localhost"
SETTINGS = {"inputs": [{"name": "conf", "configMap": {"name": "settings"}}]}
ANY_CONFIG_MAP = make_policy(inputs={"configMaps": [{"name": "*"}]})


def test_a_run_without_a_policy_is_refused():
    verdict = evaluate(make_request(), (), {}, {}, SITE)

    assert verdict == Refusal(Reason.NOT_ONBOARDED, "no AgentPolicy is bound to the namespace")


def test_what_a_run_leaves_out_is_the_limit():
    effective = make_grant().effective

    assert effective.model_dump(exclude={"digest"}, exclude_none=True) == {
        "image": IMAGE,
        "activeDeadlineSeconds": 600,
        "cpu": "2",
        "memory": "1Gi",
        "workspace": "1Gi",
        "isolation": "UserNamespace",
        "runtimeClassName": "",
        "seccomp": PROFILE,
        "inputs": (),
        "skills": (),
        "rules": (),
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

    verdict = evaluate(make_request(image=OTHER_IMAGE), policies, {}, {}, SITE)

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
    verdict = evaluate(make_request(**SETTINGS), read_policies(ANY_CONFIG_MAP), {}, {}, SITE)

    assert verdict == Refusal(
        Reason.INPUT_MISSING,
        "`inputs['conf'].configMap.name` 'settings' does not exist in the namespace",
    )


def test_a_config_map_that_somebody_could_change_is_refused():
    facts = {"settings": ConfigMapFacts(immutable=False, digest=DIGEST)}

    verdict = evaluate(make_request(**SETTINGS), read_policies(ANY_CONFIG_MAP), facts, {}, SITE)

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
    verdict = evaluate(make_request(**SETTINGS), read_policies(), {}, {}, SITE)

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


def test_the_digest_of_a_grant_covers_where_its_cell_runs():
    elsewhere = read_policies(make_policy(placement={"nodeSelector": {"pool": "agents"}}))

    assert make_grant(policies=elsewhere).effective.digest != make_grant().effective.digest


def test_a_cell_has_the_runtimes_profile_where_the_policies_say_so():
    policies = read_policies(make_policy(seccomp="RuntimeDefault"))

    assert make_grant(policies=policies).effective.seccomp == "RuntimeDefault"


def test_a_grant_is_placed_as_the_policies_say():
    placement = {"nodeSelector": {"pool": "agents"}}
    policies = read_policies(make_policy(placement=placement))

    assert make_grant(policies=policies).placement == policies[0].spec.placement


# --- What a run may reach -------------------------------------------------------------------------

ASKS: dict[str, Any] = {"egress": {"rules": [{"name": "model"}]}}
ALLOWS: dict[str, Any] = {"egress": {"rules": [{**RULE, "name": "other"}, RULE]}}


def test_a_run_is_granted_the_rules_that_it_asks_for_as_the_policy_has_them():
    policies = read_policies(make_policy(**ALLOWS))

    grant = make_grant(make_request(**ASKS), policies)

    (_, wanted) = policies[0].spec.egress.rules
    assert grant.rules == (wanted,)
    assert [(r.name, r.digest) for r in grant.effective.rules] == [("model", of_rule(wanted))]
    assert grant.gateway == "gateway-0"


def test_a_run_that_asks_for_nothing_has_no_gateway():
    grant = make_grant(policies=read_policies(make_policy(**ALLOWS)))

    assert (grant.rules, grant.effective.rules, grant.gateway) == ((), (), "")


def test_the_digest_of_a_grant_covers_what_its_rules_say():
    one, other = (
        make_grant(make_request(**ASKS), read_policies(make_policy(egress={"rules": [rule]})))
        for rule in (RULE, {**RULE, "paths": ["/v2/**"]})
    )

    assert one.effective.digest != other.effective.digest


def test_a_run_that_asks_for_a_rule_that_one_policy_lacks_is_refused():
    policies = read_policies(make_policy(**ALLOWS), make_policy({"name": "narrow"}))

    verdict = evaluate(make_request(**ASKS), policies, {}, {}, SITE)

    assert verdict == Refusal(
        Reason.POLICY_REFUSED,
        "`egress.rules['model'].name` must be a rule that the policy lists (AgentPolicy 'narrow')",
    )


@pytest.mark.parametrize(
    ("own", "policies", "granted"),
    [
        pytest.param({}, [{}], None, id="none"),
        pytest.param({"tokens": 5}, [{}], {"tokens": 5}, id="its own"),
        pytest.param({}, [{"tokens": 7}], {"tokens": 7}, id="the policy's"),
        pytest.param(
            {"tokens": 5},
            [{"tokens": 7, "bytes": 9}, {"tokens": 6, "requests": 1}],
            {"tokens": 5, "bytes": 9, "requests": 1},
            id="the tightest of all, in each kind",
        ),
    ],
)
def test_the_tightest_budget_is_granted_and_recorded(
    own: dict[str, int], policies: list[dict[str, int]], granted: dict[str, int] | None
):
    bound = read_policies(
        *(
            make_policy({"name": f"p{n}"}, egress={"rules": [RULE], "budget": budget})
            for n, budget in enumerate(policies)
        )
    )
    request = make_request(egress={**ASKS["egress"], "budget": own})

    effective = make_grant(request, bound).effective.model_dump(mode="json", exclude_none=True)

    assert effective.get("budget") == granted


def test_a_run_without_egress_has_no_budget():
    bound = read_policies(make_policy(egress={"rules": [RULE], "budget": {"tokens": 7}}))

    assert make_grant(policies=bound).effective.budget is None


def test_the_digest_of_a_grant_covers_its_budget():
    one, other = (
        make_grant(
            make_request(**ASKS),
            read_policies(make_policy(egress={"rules": [RULE], "budget": {"tokens": n}})),
        )
        for n in (1, 2)
    )

    assert one.effective.digest != other.effective.digest


def test_rules_of_one_name_must_be_the_same_in_every_policy():
    changed = {"egress": {"rules": [{**RULE, "paths": ["/v2/**"]}]}}
    policies = read_policies(make_policy(**ALLOWS), make_policy({"name": "b"}, **changed))

    assert conflict(policies) == Refusal(
        Reason.POLICY_CONFLICT, "`egress.rules['model']` must be the same in every AgentPolicy"
    )
    assert conflict(read_policies(make_policy(**ALLOWS), make_policy(**ALLOWS))) is None


def test_where_there_is_no_gateway_no_run_is_granted_one():
    nowhere = Site(SITE.image, SITE.canary, closed=(), profile=PROFILE, gateways=0)
    policies = read_policies(make_policy(**ALLOWS))

    refusal = evaluate(make_request(**ASKS), policies, {}, {}, nowhere)

    assert refusal == Refusal(Reason.POLICY_REFUSED, NO_GATEWAY)
    assert isinstance(evaluate(make_request(), policies, {}, {}, nowhere), Grant)


def test_where_nothing_reads_tunnels_no_run_is_granted_one_that_is_read():
    read = {**RULE, "name": "read", "mode": "Intercept"}
    policies = read_policies(make_policy(egress={"rules": [RULE, read]}))
    asked = make_request(egress={"rules": [{"name": "read"}]})

    refusal = evaluate(asked, policies, {}, {}, SITE)

    assert refusal == Refusal(Reason.POLICY_REFUSED, NO_AUTHORITY.format("read"))
    reading = dataclasses.replace(SITE, authority="PEM")
    assert isinstance(evaluate(asked, policies, {}, {}, reading), Grant)
    assert isinstance(evaluate(make_request(**ASKS), policies, {}, {}, SITE), Grant)


# --- Policies that cannot hold together -----------------------------------------------------------

PLACED = {"nodeSelector": {"pool": "agents"}}
DIFFERENT = pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("isolation", "RuntimeClass", id="isolation"),
        pytest.param("runtimeClassName", "gvisor", id="a RuntimeClass"),
        pytest.param("seccomp", "RuntimeDefault", id="seccomp"),
        pytest.param("placement", PLACED, id="placement"),
    ],
)


@DIFFERENT
@pytest.mark.parametrize("order", [1, -1])
def test_policies_that_differ_in_what_a_cell_is_are_a_conflict(
    field: str, value: object, order: int
):
    """Before anything else is asked: no cell can be as both of them say."""
    policies = read_policies(make_policy(), make_policy({"name": "other"}, **{field: value}))
    listed = "'default', 'other'" if order == 1 else "'other', 'default'"

    refusal = Refusal(
        Reason.POLICY_CONFLICT, f"the AgentPolicies {listed} must not differ in `{field}`"
    )
    assert evaluate(make_request(), policies[::order], {}, {}, SITE) == refusal
    assert revoked(make_request(), policies[::order], OWN, {}) == refusal.message


@DIFFERENT
def test_the_last_of_three_policies_can_be_in_conflict(field: str, value: object):
    policies = read_policies(
        make_policy(), make_policy({"name": "b"}), make_policy({"name": "c"}, **{field: value})
    )

    assert conflict(policies) == Refusal(
        Reason.POLICY_CONFLICT,
        f"the AgentPolicies 'default', 'b', 'c' must not differ in `{field}`",
    )


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="in nothing"),
        pytest.param({"limits": {"cpu": "1"}}, id="in a limit"),
        pytest.param({"defaults": {"cpu": "1"}}, id="in a default"),
        pytest.param({"images": [{"reference": OTHER_IMAGE}]}, id="in their images"),
        pytest.param({"minRetentionSeconds": 60}, id="in their retention"),
        pytest.param({"suspend": True}, id="in being suspended"),
    ],
)
def test_policies_hold_together_that_differ(spec: dict[str, Any]):
    assert conflict(read_policies(make_policy(), make_policy({"name": "b"}, **spec))) is None


def test_two_policies_may_name_the_same_place():
    policies = read_policies(
        make_policy(placement=PLACED), make_policy({"name": "b"}, placement=PLACED)
    )

    assert make_grant(policies=policies).placement == policies[1].spec.placement


def test_the_tightest_of_all_policies_bounds_deadline_and_retention():
    policies = read_policies(
        make_policy(limits={"activeDeadlineSeconds": 300}, minRetentionSeconds=60),
        make_policy({"name": "b"}, limits={"activeDeadlineSeconds": 900}, minRetentionSeconds=90),
        make_policy({"name": "c"}, limits={"activeDeadlineSeconds": 301}),
    )

    assert longest_deadline(policies) == 300
    assert shortest_retention(policies) == 90


# --- What ends a running run ----------------------------------------------------------------------

DATA = {
    "inputs": [{"name": "data", "image": {"reference": DATA_IMAGE}}],
    "egress": {"rules": [{"name": "model"}]},
    "skills": [{"name": "read-pdf"}],
}
SKILL = {"skills": [{"name": "read-pdf", "digest": DIGEST}]}
LISTED = {
    "inputs": {"images": [{"reference": DATA_IMAGE}]},
    "egress": {"rules": [RULE]},
    **SKILL,
}
# A check -> the policy under which it fails for a run with an image, a skill and a rule of the
# gateway, and its sentence.
REVOCATIONS: dict[checks.Check, tuple[dict[str, Any], str]] = {
    checks.policy_is_not_suspended: ({**LISTED, "suspend": True}, "the policy is suspended"),
    checks.nothing_reserved_is_set: (
        {**LISTED, "egress": {"rules": [{**RULE, "approval": {}}]}},
        "`approval` is not supported yet: remove the field",
    ),
    checks.isolation_is_whole: (
        {**LISTED, "isolation": "RuntimeClass"},
        CLASS_RULE["message"],
    ),
    checks.image_is_listed: (
        {**LISTED, "images": [{"reference": OTHER_IMAGE}]},
        f"`image` '{IMAGE}' must be an image that the policy lists",
    ),
    checks.image_inputs_are_listed: (
        {**LISTED, "inputs": {"images": [{"reference": OTHER_IMAGE}]}},
        f"`inputs['data'].image.reference` '{DATA_IMAGE}' must be an image that the policy lists",
    ),
    checks.rules_are_listed: (
        {**LISTED, "egress": {"rules": [{**RULE, "name": "other"}]}},
        "`egress.rules['model'].name` must be a rule that the policy lists",
    ),
    checks.skills_are_listed: (
        {**LISTED, "skills": []},
        "`skills['read-pdf']` must be a skill that the policy lists",
    ),
}


def test_every_check_while_a_run_goes_on_has_its_row():
    assert list(checks.CHECKS_WHILE_RUNNING) == list(REVOCATIONS)


@pytest.mark.parametrize("check", REVOCATIONS, ids=lambda check: check.__name__)
def test_a_running_run_is_revoked_when_this_fails(check: checks.Check):
    spec, sentence = REVOCATIONS[check]

    found = revoked(make_request(**DATA), read_policies(make_policy(**spec)), OWN, {})

    assert found == f"{sentence} (AgentPolicy 'default')"


@pytest.mark.parametrize("check", REVOCATIONS, ids=lambda check: check.__name__)
def test_the_check_alone_lets_a_running_run_go_on(check: checks.Check):
    """What one row takes away, no other check misses."""
    spec, _ = REVOCATIONS[check]
    (policy,) = read_policies(make_policy(**spec))
    asked = make_request(**DATA).spec

    failing = [c for c in checks.CHECKS_WHILE_RUNNING if c(asked, policy.spec) is not None]

    assert failing == [check]


GVISOR = {"isolation": "RuntimeClass", "runtimeClassName": "gvisor"}
MAPPED = {"isolation": "UserNamespace", "runtimeClassName": ""}


@pytest.mark.parametrize(
    ("granted", "policy", "sentence"),
    [
        pytest.param(MAPPED, {}, None, id="still a user namespace"),
        pytest.param(GVISOR, GVISOR, None, id="still the same runtime class"),
        pytest.param(
            {"isolation": "UserNamespace"}, {}, None, id="made before there were runtime classes"
        ),
        pytest.param(
            MAPPED,
            GVISOR,
            "`isolation` is 'RuntimeClass' now, and the cell was made with 'UserNamespace'",
            id="a runtime class since",
        ),
        pytest.param(
            GVISOR,
            {},
            "`isolation` is 'UserNamespace' now, and the cell was made with 'RuntimeClass'",
            id="a user namespace since",
        ),
        pytest.param(
            GVISOR,
            {**GVISOR, "runtimeClassName": "kata"},
            "`runtimeClassName` is 'kata' now, and the cell was made with 'gvisor'",
            id="another runtime class since",
        ),
        pytest.param(
            {},
            {},
            "`isolation` is 'UserNamespace' now, and the cell was made with ''",
            id="nobody knows how it was made",
        ),
    ],
)
def test_a_cell_is_kept_apart_as_its_policies_say_today(
    granted: dict[str, Any], policy: dict[str, Any], sentence: str | None
):
    assert exchanged_wall(granted, read_policies(make_policy(**policy))) == sentence


def test_a_grant_says_which_wall_its_cell_has():
    effective = make_grant(policies=read_policies(make_policy(**GVISOR))).effective

    assert (effective.isolation, effective.runtime_class_name) == ("RuntimeClass", "gvisor")


def test_a_running_run_goes_on_under_the_policy_that_granted_it():
    assert revoked(make_request(**DATA), read_policies(make_policy(**LISTED)), OWN, {}) is None


def test_the_second_of_two_policies_can_revoke_a_running_run():
    policies = read_policies(make_policy(), make_policy({"name": "second"}, suspend=True))

    assert (
        revoked(make_request(), policies, OWN, {})
        == "the policy is suspended (AgentPolicy 'second')"
    )


@pytest.mark.parametrize(
    ("asked", "policy"),
    [
        pytest.param({"activeDeadlineSeconds": 600}, {"limits": {"activeDeadlineSeconds": 1}}),
        pytest.param({"resources": {"cpu": "2"}}, {"limits": {"cpu": "1"}}),
        pytest.param({"resources": {"memory": "1Gi"}}, {"limits": {"memory": "1Mi"}}),
        pytest.param({"workspace": {"sizeLimit": "1Gi"}}, {"limits": {"workspace": "1Mi"}}),
        pytest.param({"ttlSecondsAfterFinished": 0}, {"minRetentionSeconds": 60}),
        pytest.param(SETTINGS, {"inputs": {}}),
        pytest.param(
            {"egress": {**ASKS["egress"], "budget": {"tokens": 2}}},
            {"egress": {**ALLOWS["egress"], "budget": {"tokens": 1}}},
        ),
        pytest.param({"inputs": [{"name": "a", "run": {}}]}, {}),
    ],
    ids=[
        *("deadline", "cpu", "memory", "workspace", "retention", "a ConfigMap", "a budget"),
        "a reserved field",
    ],
)
def test_what_a_running_run_has_already_is_not_taken_from_it(
    asked: dict[str, Any], policy: dict[str, Any]
):
    """It would not be granted again; a tightened deadline shortens it, which ends nothing."""
    request, policies = make_request(**asked), read_policies(make_policy(**policy))

    assert isinstance(evaluate(request, policies, {}, {}, SITE), Refusal)
    assert revoked(request, policies, OWN, {}) is None


@pytest.mark.parametrize("seccomp", ["RuntimeDefault", "Unconfined", ""])
def test_a_run_without_the_profile_that_a_policy_asks_for_is_revoked(seccomp: str):
    found = revoked(make_request(), read_policies(make_policy()), seccomp, {})

    assert found == f"`seccomp` must be 'Agent', not '{seccomp}' (AgentPolicy 'default')"


@pytest.mark.parametrize("seccomp", ["RuntimeDefault", OWN])
def test_a_run_keeps_the_profile_that_it_has_under_a_looser_policy(seccomp: str):
    policies = read_policies(make_policy(seccomp="RuntimeDefault"))

    assert revoked(make_request(), policies, seccomp, {}) is None


def test_a_verdict_is_a_grant_or_a_refusal_and_nothing_else():
    assert isinstance(evaluate(make_request(), read_policies(), {}, {}, SITE), Grant)
