"""Which policies are bound to a namespace: only a whole fence of the exact shape counts."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.status import AgentRunStatus, Reason
from anchorhold.policy import fence, window
from anchorhold.policy.fence import Binding, Fence, Wall
from anchorhold.policy.grant import BoundPolicy, Refusal
from factories import make_policy, read_policies

RUN_LIMITS, POD_LIMITS = names.LIMITS_POLICIES
POD_FLOOR = names.FLOOR_POLICIES[0]
INSTALL = "a platform admin must install the chart anchorhold-tenant for it"


def limits_binding(policy_name: str = RUN_LIMITS) -> dict[str, Any]:
    """What the tenant chart makes, with the API server's defaults."""
    binding = floor_binding(policy_name)
    binding["spec"]["paramRef"] = {
        "name": "default",
        "namespace": "anchorhold-policies",
        "parameterNotFoundAction": "Deny",
    }
    return binding


def floor_binding(policy_name: str = POD_FLOOR) -> dict[str, Any]:
    return {
        "metadata": {"name": "any"},
        "spec": {
            "policyName": policy_name,
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}},
                "objectSelector": {},
                "matchPolicy": "Equivalent",
            },
            "validationActions": ["Deny"],
        },
    }


@pytest.mark.parametrize("name", names.LIMITS_POLICIES)
def test_a_binding_of_limits_names_its_policy(name: str):
    assert fence.read_binding(limits_binding(name)) == Binding(name, "team-a", "default")


@pytest.mark.parametrize("name", names.FLOOR_POLICIES)
def test_a_binding_of_the_floor_takes_none(name: str):
    assert fence.read_binding(floor_binding(name)) == Binding(name, "team-a", "")


EXPRESSION = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a"]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("validationActions", ["Warn"], id="only warns"),
        pytest.param("validationActions", ["Audit"], id="only audits"),
        pytest.param("validationActions", ["Deny", "Audit"], id="does more than deny"),
        pytest.param("policyName", "somebody-elses", id="binds another admission policy"),
        pytest.param("matchResources", None, id="selects nothing in particular"),
        pytest.param(
            "matchResources.namespaceSelector.matchLabels",
            {"kubernetes.io/metadata.name": ""},
            id="selects the namespace without a name",
        ),
        pytest.param(
            "matchResources.namespaceSelector",
            {"matchExpressions": [EXPRESSION]},
            id="selects by an expression",
        ),
        pytest.param(
            "matchResources.namespaceSelector.matchExpressions",
            [EXPRESSION],
            id="selects by an expression as well",
        ),
        pytest.param("matchResources.namespaceSelector", {}, id="selects every namespace"),
        pytest.param(
            "matchResources.namespaceSelector.matchLabels.team", "a", id="asks for another label"
        ),
        pytest.param(
            "matchResources.namespaceSelector.matchLabels",
            {"team": "a"},
            id="selects by a label that authors could set",
        ),
        pytest.param(
            "matchResources.objectSelector", {"matchLabels": {"a": "b"}}, id="selects objects"
        ),
        pytest.param("matchResources.matchPolicy", "Exact", id="matches exactly"),
        pytest.param("matchResources.excludeResourceRules", [{}], id="excludes something"),
        pytest.param("matchResources.resourceRules", [{}], id="holds for some resources only"),
        pytest.param("paramRef", None, id="names no policy"),
        pytest.param("paramRef.parameterNotFoundAction", "Allow", id="lets a missing policy pass"),
        pytest.param("paramRef.namespace", "team-a", id="reads the policy from elsewhere"),
        pytest.param("paramRef.selector", {}, id="selects its policy"),
        pytest.param("paramRef.name", None, id="has a policy without a name"),
        pytest.param("unknown", True, id="has a field that this version does not know"),
    ],
)
def test_a_binding_is_a_hole_in_the_fence_that(path: str, value: object):
    binding = changed(limits_binding(), path, value)

    assert fence.read_binding(binding) is None


def test_somebody_elses_admission_policy_is_no_part_of_the_fence():
    assert fence.read_binding(floor_binding("somebody-elses")) is None


def test_a_floor_with_a_parameter_is_a_hole_in_the_fence():
    assert fence.read_binding(limits_binding(POD_FLOOR)) is None


def changed(binding: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The binding with one field of its spec set, or removed by None."""
    document = copy.deepcopy(binding)
    *parents, last = path.split(".")
    part = document["spec"]
    for parent in parents:
        part = part[parent]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return document


def bindings(*policies: str, namespace: str = "team-a") -> list[Binding]:
    limits = [Binding(name, namespace, p) for name in names.LIMITS_POLICIES for p in policies]
    return [*limits, *(Binding(name, namespace, "") for name in names.FLOOR_POLICIES)]


ALL_POLICIES = frozenset(names.LIMITS_POLICIES + names.FLOOR_POLICIES)


def whole(*found: Binding) -> Fence:
    """These bindings, and everything else that a fence needs."""
    return Fence(bindings=found, admission_policies=ALL_POLICIES, closed=True, holes=())


def test_the_policies_of_a_namespace_are_those_that_all_its_limits_take():
    found = fence.bound_policies("team-a", whole(*bindings("strict", "default")))

    assert found == ("default", "strict")


def test_another_namespaces_bindings_do_not_count():
    found = fence.bound_policies("team-b", whole(*bindings("default")))

    assert found == Refusal(
        Reason.NOT_ONBOARDED,
        "namespace 'team-b' has no binding of anchorhold-network-floor, "
        "anchorhold-no-interactive, anchorhold-pod-floor, anchorhold-pod-limits, "
        f"anchorhold-run-integrity, anchorhold-run-limits: {INSTALL}",
    )


@pytest.mark.parametrize("lacking", sorted(ALL_POLICIES))
def test_a_fence_that_lacks_one_part_is_no_fence(lacking: str):
    rest = [binding for binding in bindings("default") if binding.admission_policy != lacking]

    found = fence.bound_policies("team-a", whole(*rest))

    assert found == Refusal(
        Reason.NOT_ONBOARDED, f"namespace 'team-a' has no binding of {lacking}: {INSTALL}"
    )


@pytest.mark.parametrize("lacking", sorted(ALL_POLICIES))
def test_a_binding_of_an_admission_policy_that_denies_nothing_is_no_fence(lacking: str):
    around = Fence(tuple(bindings("default")), ALL_POLICIES - {lacking}, closed=True, holes=())

    assert fence.bound_policies("team-a", around) == Refusal(
        Reason.NOT_ONBOARDED,
        f"the admission policies {lacking} are missing or deny nothing: a platform admin must "
        "install the chart anchorhold again",
    )


def test_all_admission_policies_that_deny_nothing_are_named():
    around = Fence(tuple(bindings("default")), frozenset({"x"}), closed=True, holes=())

    found = fence.bound_policies("team-a", around)

    assert isinstance(found, Refusal)
    assert f"the admission policies {', '.join(sorted(ALL_POLICIES))} are missing" in found.message


def test_a_namespace_that_no_network_policy_closes_has_no_fence():
    around = Fence(tuple(bindings("default")), ALL_POLICIES, closed=False, holes=())

    assert fence.bound_policies("team-a", around) == Refusal(
        Reason.NOT_ONBOARDED,
        "namespace 'team-a' has no NetworkPolicy 'anchorhold-default-deny' that closes it both "
        "ways: a platform admin must install the chart anchorhold-tenant for it again",
    )


def test_a_missing_wall_is_said_before_what_else_is_open():
    around = Fence(tuple(bindings("default")), ALL_POLICIES, closed=False, holes=("way-out",))

    found = fence.bound_policies("team-a", around)

    assert isinstance(found, Refusal)
    assert "has no NetworkPolicy 'anchorhold-default-deny'" in found.message


def test_a_wall_with_a_hole_in_it_is_no_fence():
    around = Fence(tuple(bindings("default")), ALL_POLICIES, closed=True, holes=("way-out",))

    assert fence.bound_policies("team-a", around) == Refusal(
        Reason.NOT_ONBOARDED,
        "namespace 'team-a' has the NetworkPolicy 'way-out', which opens its wall: "
        "a platform admin must delete it",
    )


VALIDATIONS = [{"expression": "false"}]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"failurePolicy": "Fail", "validations": VALIDATIONS}, True, id="refuses"),
        pytest.param(
            {"failurePolicy": "Ignore", "validations": VALIDATIONS}, False, id="lets errors pass"
        ),
        pytest.param({"validations": VALIDATIONS}, False, id="does not say what an error means"),
        pytest.param({"failurePolicy": "Fail", "validations": []}, False, id="has no validations"),
        pytest.param({"failurePolicy": "Fail"}, False, id="has no list of validations"),
    ],
)
def test_whether_an_admission_policy_denies_that(spec: dict[str, Any], expected: object):
    assert fence.denies({"spec": spec}) is expected


BOTH = ["Ingress", "Egress"]
OPENING = window.opening("1b4e28ba-2fa1-41d2-883f-0016d3cca427", "gateway-0")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"podSelector": {}, "policyTypes": BOTH}, Wall.CLOSES, id="selects all, both ways"
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": BOTH[::-1]}, Wall.CLOSES, id="in either order"
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": BOTH, "ingress": [], "egress": None},
            Wall.CLOSES,
            id="says that it opens nothing",
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": ["Ingress"]}, Wall.NEITHER, id="lets all out"
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": ["Egress"]}, Wall.NEITHER, id="lets all in"
        ),
        pytest.param({"podSelector": {}}, Wall.NEITHER, id="names no direction"),
        pytest.param(
            {"podSelector": {}, "policyTypes": BOTH, "ingress": [{}]},
            Wall.OPENS,
            id="opens the way in",
        ),
        pytest.param(
            {"podSelector": {}, "policyTypes": BOTH, "egress": [{}]},
            Wall.OPENS,
            id="opens the way out",
        ),
        pytest.param(
            {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": BOTH},
            Wall.NEITHER,
            id="selects some Pods",
        ),
        pytest.param(OPENING, Wall.NEITHER, id="lets one run reach its gateway"),
        pytest.param(
            {**OPENING, "policyTypes": BOTH, "ingress": [{}]}, Wall.OPENS, id="and the way in"
        ),
        pytest.param(
            {**OPENING, "podSelector": {}}, Wall.OPENS, id="lets every Pod reach a gateway"
        ),
        pytest.param({**OPENING, "egress": OPENING["egress"] * 2}, Wall.OPENS, id="opens it twice"),
        pytest.param(
            {**OPENING, "egress": [{"to": OPENING["egress"][0]["to"]}]},
            Wall.OPENS,
            id="opens every port of a gateway",
        ),
        pytest.param(
            {**OPENING, "egress": [{**OPENING["egress"][0], "to": []}]},
            Wall.OPENS,
            id="opens the gateway's port everywhere",
        ),
        pytest.param(
            {
                "podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                "policyTypes": BOTH,
            },
            Wall.NEITHER,
            id="selects some Pods by an expression",
        ),
    ],
)
def test_what_a_network_policy_does_to_its_namespace_that(spec: dict[str, Any], expected: Wall):
    assert fence.read_wall({"spec": spec}) is expected


def test_limits_that_take_different_policies_contradict_each_other():
    extra = Binding(RUN_LIMITS, "team-a", "strict")

    found = fence.bound_policies("team-a", whole(*bindings("default"), extra))

    assert found == Refusal(
        Reason.NOT_ONBOARDED,
        "the admission bindings of namespace 'team-a' name different AgentPolicies: install the "
        "chart anchorhold-tenant for it again",
    )


def limits(run: list[str], pod: list[str]) -> Fence:
    """A fence in which runs and Pods are limited by different policies."""
    taken = {RUN_LIMITS: run, POD_LIMITS: pod}
    found = [Binding(name, "team-a", p) for name, policies in taken.items() for p in policies]
    return whole(*found, *(Binding(name, "team-a", "") for name in names.FLOOR_POLICIES))


@pytest.mark.parametrize(
    ("run", "pod", "expected"),
    [
        pytest.param(["one"], ["one"], ("one",), id="before an upgrade"),
        pytest.param(["one"], ["one", "two"], ("one", "two"), id="one binding is new"),
        pytest.param(["two", "one"], ["one", "two"], ("one", "two"), id="both are new"),
        pytest.param(["two"], ["one", "two"], ("one", "two"), id="one of the old ones is gone"),
    ],
)
def test_while_bindings_are_replaced_every_policy_holds_what_runs(
    run: list[str], pod: list[str], expected: tuple[str, ...]
):
    assert fence.holding_policies("team-a", limits(run, pod)) == expected


def test_what_runs_is_not_held_by_limits_that_have_no_policy_in_common():
    around = limits(["one"], ["two"])

    assert fence.holding_policies("team-a", around) == fence.bound_policies("team-a", around)
    assert isinstance(fence.holding_policies("team-a", around), Refusal)


def test_what_runs_is_not_held_by_a_fence_that_lacks_a_part():
    around = whole(*bindings("default")[1:])

    assert fence.holding_policies("team-a", around) == fence.bound_policies("team-a", around)
    assert isinstance(fence.holding_policies("team-a", around), Refusal)


AS_MANY_AS_MAY_BE = [f"policy-{n}" for n in range(8)]


def test_a_namespace_may_have_as_many_policies_as_a_status_can_name():
    found = fence.bound_policies("team-a", whole(*bindings(*AS_MANY_AS_MAY_BE)))

    assert found == tuple(AS_MANY_AS_MAY_BE)
    applied = [{"name": name, "uid": "u", "generation": 1} for name in found]
    assert AgentRunStatus.parse({"policies": applied})
    with pytest.raises(ValidationError):
        AgentRunStatus.parse({"policies": [*applied, applied[0]]})


def test_one_policy_more_than_a_status_can_name_is_a_conflict():
    found = fence.bound_policies("team-a", whole(*bindings(*AS_MANY_AS_MAY_BE, "one-more")))

    assert found == Refusal(
        Reason.POLICY_CONFLICT, "namespace 'team-a' is bound to more than 8 AgentPolicies"
    )


def test_the_policies_behind_the_names_are_found_in_order():
    default, strict = read_policies(make_policy(), make_policy({"name": "strict"}))
    stored: dict[str, BoundPolicy | Refusal] = {"strict": strict, "x": default, "default": default}

    assert fence.resolve(("default", "strict"), stored) == (default, strict)


def test_one_missing_policy_makes_the_namespace_refuse():
    (default,) = read_policies()

    found = fence.resolve(("default", "strict"), {"default": default})

    assert found == Refusal(
        Reason.NOT_ONBOARDED, "AgentPolicy 'strict', which is bound, does not exist"
    )


def test_one_void_policy_makes_the_namespace_refuse():
    (default,) = read_policies()
    void = Refusal(Reason.POLICY_REFUSED, "cannot be applied")

    assert fence.resolve(("default", "void"), {"default": default, "void": void}) == void


def test_a_namespace_that_is_not_bound_stays_so():
    refusal = Refusal(Reason.NOT_ONBOARDED, "no binding")

    assert fence.resolve(refusal, {}) == refusal


def test_a_policy_is_read_with_its_identity():
    policy = fence.read_policy(make_policy({"uid": "u", "generation": 3}))

    assert isinstance(policy, BoundPolicy)
    assert (policy.name, policy.uid, policy.generation) == ("default", "u", 3)
    assert policy.spec.limits.active_deadline_seconds == 600


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        pytest.param(
            {"newRestriction": True},
            "`newRestriction`: Extra inputs are not permitted",
            id="a field of a newer version",
        ),
        pytest.param(
            {"limits": {"activeDeadlineSeconds": 86_401}},
            "`limits.activeDeadlineSeconds`: Input should be less than or equal to 86400",
            id="a figure out of bounds",
        ),
        pytest.param(
            {"isolation": "None"},
            "`isolation`: Input should be 'UserNamespace' or 'RuntimeClass'",
            id="an unknown isolation",
        ),
    ],
)
def test_a_policy_that_is_not_understood_is_void(spec: dict[str, Any], sentence: str):
    policy = fence.read_policy(make_policy(**spec))

    assert policy == Refusal(
        Reason.POLICY_REFUSED,
        f"AgentPolicy 'default' cannot be applied by this version: {sentence}",
    )
