"""Cells, compared whole with what an auditor reads in tests/golden/."""

import dataclasses
import json

import pytest

from anchorhold import names
from anchorhold.cell import environment, metadata, netgate, network, pod, task
from anchorhold.policy import digest, fence, identity
from anchorhold.policy.evaluate import ConfigMapFacts
from anchorhold.policy.grant import Grant
from anchorhold.policy.window import Window
from factories import (
    DATA_IMAGE,
    OTHER_UID,
    POD_NAME,
    RULE,
    SITE,
    UID,
    CheckGolden,
    make_grant,
    make_policy,
    make_request,
    make_skill,
    read_policies,
    read_skills,
)

ALL_INPUTS = [
    {"name": "settings", "configMap": {"name": "review-settings"}},
    {"name": "repo", "persistentVolumeClaim": {"claimName": "checkout"}},
    {"name": "data", "image": {"reference": DATA_IMAGE}},
]
FACTS = {"review-settings": ConfigMapFacts(immutable=True, digest="sha256:" + "d" * 64)}
ALLOWED = {
    "configMaps": [{"name": "*"}],
    "persistentVolumeClaims": [{"name": "*"}],
    "images": [{"reference": DATA_IMAGE}],
}


PLACEMENT = {
    "nodeSelector": {"example.com/pool": "agents"},
    "tolerations": [
        {"key": "example.com/pool", "value": "agents", "effect": "NoSchedule"},
        {"key": "example.com/spot", "operator": "Exists", "effect": "NoExecute"},
    ],
    "priorityClassName": "agents",
}


WAY_OUT = Window("10.96.0.30:8080", identity.token(b"key", UID))


def full_grant() -> Grant:
    """A run that uses everything there is."""
    request = make_request(
        command=["/agent"],
        args=["--price", "5$", "$(HOME)"],
        env=[{"name": "GREETING", "value": "$(ANCHORHOLD_RESULT) costs $$2"}],
        inputs=ALL_INPUTS,
        workspace={"sizeLimit": "512Mi"},
        resources={"cpu": "500m", "memory": "256Mi"},
        activeDeadlineSeconds=300,
        egress={"rules": [{"name": "model"}]},
        skills=[{"name": "read-pdf"}],
    )
    skill = make_skill()
    listed = [{"name": "read-pdf", "digest": skill["spec"]["digest"]}]
    policy = make_policy(
        inputs=ALLOWED, placement=PLACEMENT, egress={"rules": [RULE]}, skills=listed
    )
    return make_grant(request, read_policies(policy), FACTS, read_skills(skill))


def test_the_cell_is_this_pod(check_golden: CheckGolden):
    """A difference here is a security review."""
    check_golden("pod.yaml", pod.pod(full_grant(), WAY_OUT))


def test_the_opening_in_the_wall_is_this_network_policy(check_golden: CheckGolden):
    check_golden("networkpolicy.yaml", network.network_policy(full_grant()))


def test_the_opening_is_none_that_counts_as_a_hole():
    """Whoever makes it and whoever looks for holes mean the same."""
    opening = network.network_policy(full_grant())

    assert fence.read_wall(opening) is fence.Wall.NEITHER


def test_a_token_is_in_no_record_of_a_cell():
    """Not in what is logged of a window, nor in the annotations that the status is made of."""
    made = pod.pod(full_grant(), WAY_OUT)

    assert WAY_OUT.token not in repr(WAY_OUT)
    assert WAY_OUT.token not in json.dumps(made["metadata"])


def test_a_rule_s_variables_win_over_those_of_a_run():
    """A run that sets the model's address itself would send its token there."""
    request = make_request(
        env=[{"name": "MODEL_URL", "value": "http://elsewhere"}, {"name": "OTHER", "value": "1"}],
        egress={"rules": [{"name": "model"}]},
    )
    grant = make_grant(request, read_policies(make_policy(egress={"rules": [RULE]})))

    (agent,) = pod.pod(grant, WAY_OUT)["spec"]["containers"]

    assert {item["name"]: item["value"] for item in agent["env"]} == {
        "MODEL_URL": "http://10.96.0.30:8080/api.model.example/v1",
        "MODEL_KEY": WAY_OUT.token,
        "OTHER": "1",
        "HOME": "/workspace",
        "ANCHORHOLD_RESULT": "/dev/termination-log",
        "ANCHORHOLD_GATEWAY": "10.96.0.30:8080",
        "ANCHORHOLD_TOKEN": WAY_OUT.token,
    }


def test_the_smallest_cell_is_this_pod(check_golden: CheckGolden):
    check_golden("pod-small.yaml", pod.pod(make_grant()))


def test_the_cell_of_a_runtime_class_is_this_pod(check_golden: CheckGolden):
    """It has the class and not a user namespace, and mounts as gVisor knows them."""
    policies = read_policies(make_policy(isolation="RuntimeClass", runtimeClassName="gvisor"))

    check_golden("pod-class.yaml", pod.pod(make_grant(policies=policies)))


def test_the_task_is_this_config_map(check_golden: CheckGolden):
    check_golden("configmap.yaml", task.config_map(full_grant()))


def test_a_cell_is_told_whom_to_trust_in_tunnels_where_it_has_one_that_is_read():
    """Its netgate finds both files as they were granted."""
    read = {**RULE, "mode": "Intercept"}
    policies = read_policies(make_policy(egress={"rules": [read]}))
    asked = make_request(egress={"rules": [{"name": "model"}]})
    granted = make_grant(asked, policies, site=dataclasses.replace(SITE, authority="PEM"))

    made = task.config_map(granted)

    assert made["data"] == {"task": asked.spec.task, "gateway-ca.crt": "PEM"}
    files = {name: text.encode() for name, text in made["data"].items()}
    assert netgate.digests(granted)[names.TASK_DIRECTORY] == digest.of_files(files)


def test_a_cell_of_a_run_shows_what_was_granted():
    grant = full_grant()

    annotations = pod.pod(grant)["metadata"]["annotations"]

    assert annotations[names.GRANT_ANNOTATION] == grant.effective.digest
    assert json.loads(annotations[names.EFFECTIVE_ANNOTATION]) == {
        "policies": [{"name": "default", "uid": "policy-uid", "generation": 1}],
        "effective": grant.effective.model_dump(mode="json", exclude_none=True),
    }


def test_what_a_run_owns_is_owned_without_rights_on_the_run():
    (owner,) = metadata.child(make_request())["ownerReferences"]

    assert owner == {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "name": "review",
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": False,
    }


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        pytest.param("$(HOME)", "$$(HOME)", id="a variable is not expanded"),
        pytest.param("$$(HOME)", "$$$$(HOME)", id="what is escaped stays so"),
        pytest.param("5$", "5$$", id="a lone dollar stays a dollar"),
        pytest.param("plain", "plain", id="anything else stays as it is"),
    ],
)
def test_text_of_a_run_is_literal(text: str, escaped: str):
    assert environment.literal(text) == escaped


def test_the_disk_of_a_cell_is_its_workspace_and_its_log():
    assert pod.ephemeral_storage("1Gi") == "1088Mi"


def test_a_cells_own_variables_win_over_those_of_a_run():
    """The CRD refuses these; should they get by, the last of a name is the one that counts."""
    given = [{"name": "HOME", "value": "/x"}, {"name": "ANCHORHOLD_RESULT", "value": "/y"}]

    env = pod.pod(make_grant(make_request(env=given)))["spec"]["containers"][0]["env"]

    assert {item["name"]: item["value"] for item in env} == {
        "HOME": "/workspace",
        "ANCHORHOLD_RESULT": "/dev/termination-log",
    }


def test_a_child_is_named_after_its_run_and_the_runs_uid():
    assert names.child_name("review", UID) == POD_NAME
    assert names.child_name("review", OTHER_UID) == "review-9b1d2c3e"
