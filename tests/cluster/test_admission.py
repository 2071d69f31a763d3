"""What the API server itself refuses, and what it takes: no controller has a part in it.

The documents lie in `tests/accepted/` and `tests/refused/`; `tests/accepted/README.md` says how to
read them. Nothing is created but what an update needs: a server-side dry run passes admission too.
"""

from collections.abc import Iterator

import pytest

from anchorhold import names
from bed.kube import Document, Kubectl, wait_for
from examples import load, twin
from largest import SOURCE_FIELD, largest_pod, largest_run, unlisted
from places import ALL, Places, binding

KINDS = ("configMap", "persistentVolumeClaim", "image")


@pytest.fixture(scope="module")
def places(kubectl: Kubectl) -> Iterator[Places]:
    """Every place, once its bindings and policies have come into force."""
    made = Places(kubectl)
    try:
        made.make()
        yield made
    finally:
        made.remove()


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

    assert {"anchorhold-onboarding", *ALL} <= set(found)
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_cell_and_policy_stay_within_the_cost_of_rules(places: Places, kind: str):
    """The same for the Pod, which two admission policies judge."""
    pod, sources = largest_pod(places.namespace("largest"), kind)
    controller = places.posters["controller"]

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


def test_a_deleted_run_can_not_leave_its_cell_behind(places: Places):
    """`--cascade=orphan` waits for as long as the cell exists, and the cell keeps its owner."""
    namespace, kubectl = places.namespace("cell"), places.admin
    cell = places.make_cell("orphan", twin("pod").posted(namespace))

    kubectl.delete("agentrun", "orphan", namespace, "--cascade=orphan", "--wait=false")

    run, kept = (kubectl.get(kind, "orphan", namespace) for kind in ("agentrun", "pod"))
    assert run is not None
    assert run["metadata"]["finalizers"] == ["orphan"]
    assert kept is not None
    assert kept["metadata"]["ownerReferences"] == cell["metadata"]["ownerReferences"]

    kubectl.delete("pod", "orphan", namespace)

    wait_for(lambda: kubectl.get("agentrun", "orphan", namespace) is None, 90, "the run to go")


def test_a_run_that_is_deleted_in_the_foreground_takes_its_cell_along(places: Places):
    """The garbage collector's own updates of the cell pass the floor."""
    namespace, kubectl = places.namespace("cell"), places.admin
    places.make_cell("foreground", twin("pod").posted(namespace))

    for kind in ("pod", "agentrun"):
        kubectl.delete(kind, "foreground", namespace, "--cascade=foreground", "--wait=false")

    for kind in ("pod", "agentrun"):
        gone = f"the {kind} to go"
        wait_for(lambda k=kind: kubectl.get(k, "foreground", namespace) is None, 90, gone)


def test_pods_of_other_namespaces_are_left_alone(places: Places):
    """Nothing that is not a cell has to be one, outside run namespaces."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": "example.com/app"}]},
    }

    assert places.dry_create(pod, places.admin) == ""


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

    assert refusal in Places(kubectl).dry_create(document, kubectl)


def test_nothing_runs_and_no_secret_lies_beside_the_policies(kubectl: Kubectl):
    """The namespace of the policies has a quota of nothing."""
    quota = kubectl.get("resourcequota", "anchorhold-nothing-runs", names.POLICY_NAMESPACE)

    assert quota is not None
    assert set(quota["status"]["hard"]) == {
        "pods", "services", "secrets", "persistentvolumeclaims",
    }  # fmt: skip
    assert set(quota["status"]["hard"].values()) == {"0"}
