"""The charts as Helm renders them, and what is copied or made from them."""

import itertools
from pathlib import Path

import charts
import pytest
import yaml

from anchorhold import names
from anchorhold.api.policy import AgentPolicySpec
from bed import profile


def test_the_chart_carries_the_crds_as_they_are():
    """Helm reads no file outside a chart, so the chart has copies."""
    originals = {path.name: path.read_text() for path in (charts.ROOT / "crds").glob("*.yaml")}
    copies = (charts.ROOT / "charts/anchorhold/files/crds").glob("*.yaml")

    assert {path.name: path.read_text() for path in copies} == originals, "run charts/generate.sh"


def test_install_yaml_is_what_the_chart_makes(tmp_path: Path):
    """Who installs with kubectl gets what who installs with Helm gets."""
    made = charts.run("charts/generate.sh", tmp_path)

    assert made.returncode == 0, made.stderr
    expected = (tmp_path / "install.yaml").read_text()
    assert (charts.ROOT / "manifests/install.yaml").read_text() == expected, (
        "run charts/generate.sh"
    )


def test_crds_are_upgraded_with_the_chart_and_outlive_it():
    """Templates are upgraded; what carries the annotation is kept."""
    crds = charts.of_kind(charts.platform(), "CustomResourceDefinition")

    assert set(crds) == {
        f"{kind}.anchorhold.dev" for kind in ("agentruns", "agentpolicies", "agentskills")
    }
    for crd in crds.values():
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        original = charts.ROOT / "crds" / f"{crd['spec']['names']['plural']}.yaml"
        assert crd["spec"] == yaml.safe_load(original.read_text())["spec"]


@pytest.mark.parametrize("chart", ["anchorhold", "anchorhold-tenant"])
def test_helm_has_nothing_to_complain_about(chart: str):
    done = charts.helm("lint", "--strict", f"charts/{chart}")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", ["anchorhold", "anchorhold-tenant"])
def test_every_value_has_a_comment(chart: str):
    """The values are the charts' manual."""
    lines = (charts.ROOT / "charts" / chart / "values.yaml").read_text().splitlines()
    values = [
        (before.strip(), line)
        for before, line in itertools.pairwise(lines)
        if line.strip() and not line.strip().startswith("#")
    ]

    assert values
    assert [line for before, line in values if not before.startswith("#")] == []


@pytest.mark.parametrize(
    ("chart", "value", "complaint"),
    [
        ("anchorhold", "replicas=2", "additional properties 'replicas' not allowed"),
        ("anchorhold", "image.tag=latest", "additional properties 'tag' not allowed"),
        ("anchorhold", "apiServer.host=x", "additional properties 'host' not allowed"),
        ("anchorhold", "seccomp.profile=x", "additional properties 'profile' not allowed"),
        ("anchorhold", "seccomp.kubeletRoot=kubelet", "does not match pattern"),
        ("anchorhold", "resources.gpu=1", "additional properties 'gpu' not allowed"),
        ("anchorhold", "image.reference=example.com/anchorhold:1.0", "does not match pattern"),
        ("anchorhold", "policyAdmins[0].kind=Robot", "value must be one of"),
        ("anchorhold", "skillReviewers[0].kind=ServiceAccount", "missing propert"),
        ("anchorhold-tenant", "policy=x", "additional properties 'policy' not allowed"),
        ("anchorhold-tenant", "namespace.labels=x", "additional properties 'labels' not allowed"),
        ("anchorhold-tenant", "quota.secrets=1", "additional properties 'secrets' not allowed"),
        ("anchorhold-tenant", "limitRange.gpu=1", "additional properties 'gpu' not allowed"),
        ("anchorhold-tenant", "authors[0].kind=ServiceAccount", "missing propert"),
        ("anchorhold-tenant", "namespace.name=kube-system", "'not' failed"),
        ("anchorhold-tenant", "policies=null", "missing property 'policies'"),
        ("anchorhold-tenant", "imagePullSecret=Registry", "does not match pattern"),
        ("anchorhold-tenant", "quota.storage=lots", "does not match pattern"),
    ],
)
def test_a_wrong_value_is_refused(chart: str, value: str, complaint: str):
    """A misspelt restriction must not be one that is left out."""
    values = charts.IMAGE if chart == "anchorhold" else "policies={small}"
    command = (
        "template",
        "team-a",
        f"charts/{chart}",
        *charts.SYSTEM,
        "--set",
        values,
        "--set",
        value,
    )

    done = charts.helm(*command)

    assert done.returncode != 0
    assert complaint in done.stderr


HERE = names.SYSTEM_NAMESPACE
WRONG_PLACE = "must be installed into the namespace 'anchorhold-system'"


@pytest.mark.parametrize(
    ("chart", "release", "where", "values", "complaint"),
    [
        ("anchorhold", "x", "elsewhere", charts.IMAGE, WRONG_PLACE),
        ("anchorhold-tenant", "x", "x", "policies={small}", WRONG_PLACE),
        ("anchorhold-tenant", "kube-x", HERE, "policies={small}", "must not"),
        ("anchorhold-tenant", "x", HERE, "namespace.create=true", "`policies` must"),
        ("anchorhold", "x", HERE, "createNamespace=true", "`image.reference` must"),
    ],
)  # fmt: skip
def test_a_release_that_can_not_work_is_refused(
    chart: str, release: str, where: str, values: str, complaint: str
):
    """Each with a sentence that says what to do."""
    done = charts.helm(
        "template", release, f"charts/{chart}", "--namespace", where, "--set", values
    )

    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_tenant_is_bound_to_every_admission_policy():
    """Each limit once an AgentPolicy, each floor once; their names say which."""
    bindings = charts.of_kind(charts.tenant(), "ValidatingAdmissionPolicyBinding")
    limits = {f"{name}.team-a.{policy}" for name in names.LIMITS_POLICIES
              for policy in ("small", "large")}  # fmt: skip
    floors = {f"{name}.team-a" for name in names.FLOOR_POLICIES}

    assert set(bindings) == limits | floors
    policies = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy")
    assert set(policies) == {
        "anchorhold-onboarding", "anchorhold-skill-review", *names.LIMITS_POLICIES,
        *names.FLOOR_POLICIES,
    }  # fmt: skip
    for binding in bindings.values():
        takes_a_parameter = "paramKind" in policies[binding["spec"]["policyName"]]["spec"]
        assert ("paramRef" in binding["spec"]) == takes_a_parameter


def test_the_walls_outlive_the_release():
    """What still runs after `helm uninstall` keeps its walls."""
    kept = {
        (document["kind"], document["metadata"]["name"])
        for document in charts.tenant()
        if "helm.sh/resource-policy" in document["metadata"].get("annotations", {})
    }

    assert kept == {
        ("Namespace", "team-a"),
        ("NetworkPolicy", names.DEFAULT_DENY),
        ("RoleBinding", f"{names.CONTROLLER}-ending"),
        *(("ValidatingAdmissionPolicyBinding", f"{name}.team-a") for name in names.FLOOR_POLICIES),
    }


def test_admission_fails_closed_and_explains_itself():
    """No answer is a refusal, and every refusal has a sentence; there is no webhook to be down."""
    kinds = {document["kind"] for document in [*charts.platform(), *charts.tenant()]}
    assert not {kind for kind in kinds if "Webhook" in kind}
    for stamp in charts.of_kind(charts.platform(), "MutatingAdmissionPolicy").values():
        assert stamp["spec"]["failurePolicy"] == "Fail"
    for policy in charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy").values():
        assert policy["spec"]["failurePolicy"] == "Fail"
        for validation in policy["spec"]["validations"]:
            assert validation["message"].strip()
            assert "\n" not in validation["message"]


@pytest.mark.parametrize("policy", ["anchorhold-pod-floor", "anchorhold-run-integrity"])
def test_the_rules_know_the_controller_by_its_account(policy: str):
    """The string is written by hand in the rule."""
    found = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy")[policy]
    account = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.CONTROLLER}"

    assert f"request.userInfo.username == '{account}'" in str(found["spec"])


@pytest.mark.parametrize(
    ("stamp", "annotation", "protector"),
    [
        ("anchorhold-requested-by", names.REQUESTED_BY_ANNOTATION, "anchorhold-run-integrity"),
        ("anchorhold-reviewed-by", names.REVIEWED_BY_ANNOTATION, "anchorhold-skill-review"),
    ],
)
def test_who_did_it_is_stamped_and_protected_under_one_name(
    stamp: str, annotation: str, protector: str
):
    """In every namespace: the binding selects nothing."""
    made = charts.of_kind(charts.platform(), "MutatingAdmissionPolicy")[stamp]
    binding = charts.of_kind(charts.platform(), "MutatingAdmissionPolicyBinding")[stamp]
    rules = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy")

    assert binding["spec"] == {"policyName": stamp}
    assert f"'{annotation}': request.userInfo.username" in str(made["spec"])
    assert annotation in str(rules[protector]["spec"])


def test_the_review_of_skills_is_always_in_force():
    """Not only where a tenant is: skills lie elsewhere."""
    bindings = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicyBinding")

    assert bindings["anchorhold-skill-review"]["spec"] == {
        "policyName": "anchorhold-skill-review",
        "validationActions": ["Deny"],
    }


def test_every_input_has_a_rule_that_asks_for_its_author_s_right():
    """As many rules as a run may have inputs."""
    crd = yaml.safe_load((charts.ROOT / "crds/agentruns.yaml").read_text())
    version = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    most = version["properties"]["spec"]["properties"]["inputs"]["maxItems"]
    policy = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy")
    rules = policy["anchorhold-run-integrity"]["spec"]["validations"]

    asked = [rule["expression"] for rule in rules if "authorizer" in rule["expression"]]

    assert len(asked) == most
    assert all(f"variables.names[{n}]" in rule for n, rule in enumerate(asked))


def test_a_tenant_has_one_pull_secret_or_none_and_no_role_reads_it():
    """It is the ServiceAccount's, from which the API server copies its name into each cell."""
    for documents, count in ((charts.tenant(), "0"), (charts.tenant_with_a_pull_secret(), "1")):
        quota = charts.of_kind(documents, "ResourceQuota")["anchorhold"]["spec"]["hard"]
        account = charts.of_kind(documents, "ServiceAccount")[names.CELL_SERVICE_ACCOUNT]
        roles = {
            f"{document['metadata'].get('namespace', '')}/{document['metadata']['name']}": document
            for document in [*charts.platform(), *documents]
            if document["kind"] in ("Role", "ClusterRole")
        }

        assert quota["secrets"] == count
        assert account.get("imagePullSecrets", []) == [{"name": "registry"}] * int(count)
        assert account["automountServiceAccountToken"] is False
        reading = [n for n, role in roles.items() if "/secrets" in charts.granted(role)]
        assert reading == ["anchorhold-gateway/anchorhold-gateway"]


def test_a_tenant_s_quota_counts_runs_configmaps_and_bytes():
    """So that no tenant fills etcd or the nodes; the counts bound what bytes Kubernetes can't."""
    quota = charts.of_kind(charts.tenant(), "ResourceQuota")["anchorhold"]["spec"]["hard"]

    assert set(quota) == {
        "pods", "count/pods", "configmaps", "persistentvolumeclaims", "services", "secrets",
        "count/agentruns.anchorhold.dev", "count/networkpolicies.networking.k8s.io",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "requests.storage",
    }  # fmt: skip
    assert quota["services"] == quota["secrets"] == "0"


def test_the_controller_is_held_to_what_it_holds_others_to():
    """Restricted, with limits, and by digest."""
    deployment = charts.of_kind(charts.platform(), "Deployment")[names.CONTROLLER]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert container["image"].endswith(charts.DIGEST)
    assert pod["hostUsers"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}


def test_a_sentinel_is_fenced_and_confined_as_a_cell_is():
    """It would see nothing, or see what no cell sees, if it were not."""
    inside = in_the_sentinels_namespace()
    daemon = charts.of_kind(inside, "DaemonSet")[names.SENTINEL]
    template = daemon["spec"]["template"]
    cell = yaml.safe_load((charts.ROOT / "tests/golden/pod-small.yaml").read_text())["spec"]
    cell["securityContext"]["seccompProfile"]["localhostProfile"] = profile.NAME
    closed = charts.of_kind(charts.tenant(), "NetworkPolicy")[names.DEFAULT_DENY]
    same = (
        "automountServiceAccountToken", "enableServiceLinks", "dnsPolicy", "dnsConfig", "hostUsers",
        "securityContext",
    )  # fmt: skip

    assert {key: template["spec"][key] for key in same} == {key: cell[key] for key in same}
    assert charts.of_kind(inside, "NetworkPolicy")[names.DEFAULT_DENY]["spec"] == closed["spec"]
    label = dict([names.SENTINEL_LABEL.split("=")])
    assert daemon["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"] == label
    containers = [*template["spec"]["initContainers"], *template["spec"]["containers"]]
    assert [c["name"] for c in containers] == [names.SURVEY_CONTAINER, names.SENTINEL_CONTAINER]
    confined = cell["containers"][0]["securityContext"]
    for container in containers:
        assert container["securityContext"].items() <= confined.items()
        assert container["image"].endswith(charts.DIGEST)


def test_a_sentinel_has_nothing():
    """No token, no Secret, and an account without rights."""
    inside = in_the_sentinels_namespace()
    quota = charts.of_kind(inside, "ResourceQuota")["anchorhold"]["spec"]["hard"]
    (account,) = charts.of_kind(inside, "ServiceAccount").values()
    (binding,) = charts.of_kind(inside, "RoleBinding").values()

    assert quota == {"services": "0", "secrets": "0", "persistentvolumeclaims": "0"}
    assert account["automountServiceAccountToken"] is False
    assert [subject["name"] for subject in binding["subjects"]] == [names.CONTROLLER]


def in_the_sentinels_namespace() -> list[charts.Document]:
    """What the chart puts there."""
    return [
        document
        for document in charts.platform()
        if document["metadata"].get("namespace") == names.SENTINEL_NAMESPACE
    ]


@pytest.mark.parametrize("folder", ["", "model", "tunnels"])
def test_an_example_of_a_policy_can_be_read(folder: str):
    text = (charts.ROOT / "manifests/examples" / folder / "policy.yaml").read_text()

    assert AgentPolicySpec.parse(yaml.safe_load(text)["spec"]).images


def test_the_examples_are_short_and_fit_together():
    """The run asks for what the policy lists, and has at most twelve lines."""
    folder = charts.ROOT / "manifests/examples"
    policy, example = (
        yaml.safe_load((folder / name).read_text()) for name in ("policy.yaml", "run.yaml")
    )
    volume, claim = yaml.safe_load_all((folder / "input-volume.yaml").read_text())
    used = example["spec"]["inputs"][0]["persistentVolumeClaim"]["claimName"]

    assert len((folder / "run.yaml").read_text().splitlines()) <= 12
    assert {"reference": example["spec"]["image"]} in policy["spec"]["images"]
    assert {"name": used} in policy["spec"]["inputs"]["persistentVolumeClaims"]
    assert claim["metadata"] == volume["spec"]["claimRef"]
    assert claim["metadata"]["name"] == used


def test_helm_test_proves_with_an_authors_rights_and_only_where_there_is_an_image():
    bound = "policies={team-a}"
    image = f"prove.image=example.com/cli@{charts.DIGEST}"
    without = charts.of_kind(charts.rendered("anchorhold-tenant", bound), "Pod")
    documents = charts.rendered("anchorhold-tenant", bound, image)
    hooks = [d for d in documents if "helm.sh/hook" in d["metadata"].get("annotations", {})]

    assert without == {}
    assert [hook["kind"] for hook in hooks if hook["kind"] == "Pod"] == ["Pod"]
    assert all(hook["metadata"]["annotations"]["helm.sh/hook"] == "test" for hook in hooks)
    roles = {hook["roleRef"]["name"] for hook in hooks if hook["kind"] == "RoleBinding"}
    assert roles == {"anchorhold-author", "anchorhold-prove-team-a"}
    (role,) = charts.of_kind(hooks, "Role").values()
    assert role["rules"] == [
        {
            "apiGroups": ["anchorhold.dev"],
            "resources": ["agentpolicies"],
            "resourceNames": ["team-a"],
            "verbs": ["get"],
        }
    ]
