"""What the API server itself refuses, and what it takes: no controller has a part in it.

The documents lie in `tests/accepted/` and `tests/refused/`; `tests/accepted/README.md` says how to
read them. Nothing is created but what an update needs: a server-side dry run passes admission too.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from anchorhold import names
from bed.kube import Document, Kubectl
from examples import Example, load, twin
from largest import SOURCE_FIELD, largest_placement, largest_pod, largest_run, unlisted
from places import ALL, AUTHOR, CELL, PULL_SECRET, Places, binding, standing

KINDS = ("configMap", "persistentVolumeClaim", "image")


@pytest.fixture(scope="module")
def places(kubectl: Kubectl) -> Iterator[Places]:
    """Every place, in force, and no controller."""
    with standing(kubectl) as made:
        yield made


@pytest.mark.parametrize("what", load("accepted"))
def test_accepted(places: Places, what: str):
    """What a refused example is without its offence is taken."""
    assert places.dry_run(load("accepted")[what]) == ""


@pytest.mark.parametrize("what", load("refused"))
def test_refused(places: Places, what: str):
    """The sentence names the field, what was given and the bound."""
    example = load("refused")[what]

    refusal = places.dry_run(example)

    assert example.expected(places.namespace(example.where)) in refusal


def test_no_rule_has_a_type_warning(kubectl: Kubectl, places: Places):
    """A rule that the API server can't type may fail on an object that nobody thought of."""
    found = {
        policy["metadata"]["name"]: policy["status"]["typeChecking"]
        for policy in kubectl.items("validatingadmissionpolicies")
        if policy["metadata"]["name"].startswith("anchorhold-")
    }

    assert {"anchorhold-onboarding", "anchorhold-skill-review", *ALL} <= set(found)
    assert found == {name: {} for name in found}


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_run_and_policy_stay_within_the_cost_of_rules(places: Places, kind: str):
    """The last entries of each list are found, and what is on no list is refused in words."""
    run, sources = largest_run(places.namespace("largest"), kind)
    author = places.posters["author"]

    assert places.dry_create(run, author) == ""

    sources[-1][SOURCE_FIELD[kind]] = unlisted(kind)
    refusal = places.dry_create(run, author)

    assert f"' must be {'an image' if kind == 'image' else 'one'} that the policy lists" in refusal


def test_the_largest_run_of_someone_who_may_read_nothing_is_refused_in_words(places: Places):
    """All sixteen inputs are asked about, and none of it costs more than rules may."""
    run, _ = largest_run(places.namespace("largest"), "configMap")

    refusal = places.dry_create(run, places.posters["newcomer"])

    assert "may read: the right to `get` the configmaps 'n063xxx" in refusal


def test_the_largest_run_keeps_as_much_about_itself_as_it_may(places: Places):
    """Labels and annotations of the greatest number and size, when it is made and later."""
    namespace = places.namespace("cell")
    run, _ = largest_run(namespace, "configMap")
    run["metadata"] |= {"name": "most", **most_metadata(namespace)}
    admin, path = places.posters["admin"], f"/apis/{names.API_VERSION}/namespaces/{namespace}"

    assert places.dry_create(run, admin) == ""
    places.admin.create(run)
    later: Document = {"metadata": {"labels": {"l00": "changed", "l01": None}}}
    assert admin.request("PATCH", f"{path}/agentruns/most", later).refusal == ""

    later["metadata"]["labels"]["kopf.dev/last"] = "x"
    refusal = admin.request("PATCH", f"{path}/agentruns/most", later).refusal
    assert "`metadata.labels['kopf.dev/last']` must not be set" in refusal


def most_metadata(namespace: str) -> Document:
    """With the requester's annotation, 64 of each; 256 KiB is what annotations may come to."""
    return {
        "labels": {f"l{number:02}": "x" * 63 for number in range(64)},
        "annotations": {
            f"{namespace}.{number:02}.example.com/{'n' * 63}": "x" * 3_900 for number in range(63)
        },
    }


def test_the_last_skill_of_the_largest_run_and_of_its_cell_is_looked_at_too(places: Places):
    """Sixteen skills of 32 files each, with the longest paths, under a policy of 64."""
    namespace = places.namespace("largest")
    run, _ = largest_run(namespace, "image")
    pod, _ = largest_pod(namespace, "image")
    pod["spec"] |= largest_placement()
    run["spec"]["skills"][-1]["name"] = "unlisted"
    pod["spec"]["volumes"][-1]["configMap"]["items"][-1]["path"] = "unlisted/SKILL.md"

    asked = places.dry_create(run, places.posters["author"])
    made = places.dry_create(pod, places.posters["controller"])

    assert "`skills['unlisted']` must be a skill that the policy lists" in asked
    assert "`spec.volumes['skills'].configMap.items` with 'unlisted' must be" in made


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_cell_and_policy_stay_within_the_cost_of_rules(places: Places, kind: str):
    """The same for the Pod, which two admission policies judge."""
    pod, sources = largest_pod(places.namespace("largest"), kind)
    controller = places.posters["controller"]
    pod["spec"] |= largest_placement()

    assert places.dry_create(pod, controller) == ""

    sources[-1][SOURCE_FIELD[kind]] = unlisted(kind)
    refusal = places.dry_create(pod, controller)

    assert f"' must be {'an image' if kind == 'image' else 'one'} that the policy lists" in refusal


def test_the_deadline_of_the_largest_cell_can_be_shortened(places: Places):
    """Comparing all of a Pod with what it was stays within the cost too."""
    pod, _ = largest_pod(places.namespace("cell"), "configMap")
    places.make_cell("largest", pod)
    shorter = '{"spec": {"activeDeadlineSeconds": 1}}'
    where = ("--namespace", places.namespace("cell"))

    done = places.admin("patch", "pod", "largest", *where, "--patch", shorter, "--dry-run=server")

    assert "patched" in done


def test_who_asked_is_stamped_by_the_api_server(places: Places):
    """With the name that it knows the requester by, whatever the request says."""
    forged = next(e for what, e in load("accepted").items() if "which is not believed" in what)

    stored = places.ask(forged).body

    assert stored["metadata"]["annotations"] == {
        names.REQUESTED_BY_ANNOTATION: AUTHOR,
        "note": "mine",
    }


def test_a_cell_gets_the_pull_secret_of_its_account(places: Places):
    """The API server copies its name into the Pod, and the floor takes it."""
    stored = places.ask(twin("pod")).body

    assert stored["spec"]["imagePullSecrets"] == [{"name": PULL_SECRET}]


# What the API server drops while its feature is off. The closed set refuses it all the same.
OFF = {"evictionResponders", "schedulingGroup"}


@pytest.mark.parametrize(
    ("schema", "variable", "path"),
    [("PodSpec", "foreignSpec", "/spec/"), ("Container", "foreignAgent", "/spec/containers/0/")],
)
def test_every_field_of_a_pod_is_a_cell_s_or_has_a_refused_example(
    kubectl: Kubectl, schema: str, variable: str, path: str
):
    """The fields that this API server knows: a new one needs an example, or a place in a cell."""
    schemas = json.loads(kubectl("get", "--raw", "/openapi/v3/api/v1"))["components"]["schemas"]
    floor = kubectl.get("validatingadmissionpolicy", "anchorhold-pod-floor")
    assert floor is not None
    rules = {item["name"]: item["expression"] for item in floor["spec"]["variables"]}
    tried = {
        step["path"].removeprefix(path)
        for example in load("refused").values()
        for step in example.patch
    }

    known = set(schemas[f"io.k8s.api.core.v1.{schema}"]["properties"])

    assert known - set(re.findall(r"'(\w+)'", rules[variable])) - tried - OFF == set()


def test_a_write_to_the_status_changes_nothing_else(places: Places):
    """The controller's only way to write to a run reaches neither its spec nor its metadata."""
    namespace = places.namespace("cell")
    path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/agentruns/{CELL}"
    before = places.posters["admin"].request("GET", path).body
    everything = {
        "metadata": {"finalizers": ["example.com/keep"], "labels": {"a": "b"}},
        "spec": {"cancel": True},
        "status": {"podName": "written"},
    }

    after = places.posters["controller"].request("PATCH", f"{path}/status", everything).body

    assert after["status"]["podName"] == "written"
    assert after["spec"] == before["spec"]
    for key in ("finalizers", "labels", "annotations"):
        assert after["metadata"].get(key) == before["metadata"].get(key)


OPEN_DOORS = [e for e in load("refused").values() if e.verb == "connect" and e.where == "cell"]


@pytest.mark.parametrize("example", OPEN_DOORS, ids=lambda example: example.what)
def test_without_the_rule_the_door_is_open(places: Places, example: Example):
    """The control: in a namespace without it, the same request is not refused by admission."""
    elsewhere = replace(example, where="limits", poster="admin")

    refusal = places.dry_run(elsewhere)

    assert "ValidatingAdmissionPolicy" not in refusal
    assert "not found" in refusal or "no endpoints available" in refusal


def test_the_controller_is_refused_at_least_forty_hostile_things_each_for_its_own_reason():
    """Pods, NetworkPolicies and AgentRuns, posted with the controller's own token."""
    hostile = [e for e in load("refused").values() if e.poster == "controller"]
    reasons = {(e.document["kind"], e.expect) for e in hostile}
    kinds = Counter(kind for kind, _ in reasons)

    assert kinds["Pod"] >= 40
    assert kinds["NetworkPolicy"] >= 10
    assert kinds["AgentRun"] >= 3


def test_pods_of_other_namespaces_are_left_alone(places: Places):
    """Nothing that is not a cell has to be one, outside run namespaces."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": "example.com/app"}]},
    }

    assert places.dry_create(pod, places.posters["admin"]) == ""


def test_the_tenant_chart_makes_the_bindings_of_the_contract(kubectl: Kubectl, tenant: str):
    """What the controller takes for a whole fence is what the chart makes."""
    found = [
        item["spec"]
        for item in kubectl.items("validatingadmissionpolicybindings")
        if f".{tenant}" in item["metadata"]["name"]
    ]
    expected = [binding(name, tenant)["spec"] for name in ALL]
    for spec in expected:
        spec["matchResources"] |= {"objectSelector": {}, "matchPolicy": "Equivalent"}

    assert len(found) == len(expected)
    assert all(spec in expected for spec in found)


BODIES: dict[str, Document] = {
    "Secret": {"stringData": {"key": "value"}},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "Pod": {
        "spec": {
            "hostNetwork": True,
            "serviceAccountName": names.CELL_SERVICE_ACCOUNT,
            "containers": [
                {
                    "name": "app",
                    "image": "example.com/app",
                    "resources": {
                        "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
                    },
                }
            ],
        }
    },
}


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [("Secret", "exceeded quota"), ("Service", "exceeded quota"), ("Pod", "violates PodSecurity")],
)
def test_a_tenant_holds_no_secrets_no_services_and_only_restricted_pods(
    kubectl: Kubectl, tenant: str, kind: str, refusal: str
):
    """Even an administrator must take the walls down first."""
    metadata = {"name": "offence", "namespace": tenant}
    document = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **BODIES[kind]}

    refused = kubectl.run("create", "-f", "-", "--dry-run=server", stdin=json.dumps(document))

    assert refusal in refused.stderr


def test_nothing_runs_and_no_secret_lies_beside_the_policies(kubectl: Kubectl):
    """The namespace of the policies has a quota of nothing."""
    quota = kubectl.get("resourcequota", "anchorhold-nothing-runs", names.POLICY_NAMESPACE)

    assert quota is not None
    assert set(quota["status"]["hard"]) == {
        "pods", "services", "secrets", "persistentvolumeclaims",
    }  # fmt: skip
    assert set(quota["status"]["hard"].values()) == {"0"}
