"""Cells, compared whole with what an auditor reads in tests/golden/."""

import json

import pytest

from anchorhold import names
from anchorhold.cell import metadata, pod, task
from anchorhold.policy.evaluate import ConfigMapFacts
from anchorhold.policy.grant import Grant
from factories import (
    DATA_IMAGE,
    OTHER_UID,
    POD_NAME,
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
        skills=[{"name": "read-pdf"}],
    )
    skill = make_skill()
    listed = [{"name": "read-pdf", "digest": skill["spec"]["digest"]}]
    policy = make_policy(inputs=ALLOWED, placement=PLACEMENT, skills=listed)
    return make_grant(request, read_policies(policy), FACTS, read_skills(skill))


def test_the_cell_is_this_pod(check_golden: CheckGolden):
    """A difference here is a security review."""
    check_golden("pod.yaml", pod.pod(full_grant()))


def test_the_smallest_cell_is_this_pod(check_golden: CheckGolden):
    check_golden("pod-small.yaml", pod.pod(make_grant()))


def test_the_cell_of_a_runtime_class_is_this_pod(check_golden: CheckGolden):
    """It has the class and not a user namespace, and mounts as gVisor knows them."""
    policies = read_policies(make_policy(isolation="RuntimeClass", runtimeClassName="gvisor"))

    check_golden("pod-class.yaml", pod.pod(make_grant(policies=policies)))


def test_the_task_is_this_config_map(check_golden: CheckGolden):
    check_golden("configmap.yaml", task.config_map(full_grant()))


def test_a_cell_of_a_run_shows_what_was_granted():
    grant = full_grant()

    annotations = pod.pod(grant)["metadata"]["annotations"]

    assert annotations[names.GRANT_ANNOTATION] == grant.effective.digest
    assert json.loads(annotations[names.EFFECTIVE_ANNOTATION]) == {
        "policies": [{"name": "default", "uid": "policy-uid", "generation": 1}],
        "effective": grant.effective.model_dump(mode="json"),
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
    assert pod.literal(text) == escaped


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
