"""Both ways to install are real, CRDs move with the chart, and uninstalling loses no record."""

import shutil
from pathlib import Path

import yaml

from agents import Agents, condition
from bed.installation import CHECKOUT, POLICIES, SYSTEM, Installation
from bed.kube import Document, Kubectl, wait_for

CRDS = ("agentpolicies.anchorhold.dev", "agentruns.anchorhold.dev")
PLACEHOLDER = "example.com/anchorhold@sha256:" + "0" * 64


def test_an_upgrade_of_the_chart_upgrades_the_crds(
    bed: Installation, kubectl: Kubectl, tmp_path: Path
):
    """What Helm never does for a chart's own `crds/` folder."""
    chart = tmp_path / "anchorhold"
    shutil.copytree(CHECKOUT / "charts" / "anchorhold", chart)
    crd = chart / "files" / "crds" / "agentruns.yaml"
    crd.write_text(crd.read_text(encoding="utf-8").replace("What to run.", "WHAT TO RUN."))

    bed.controller(str(chart))
    upgraded = kubectl("get", "crd", CRDS[1], "-o", "yaml")
    bed.controller()

    assert "WHAT TO RUN." in upgraded
    assert "WHAT TO RUN." not in kubectl("get", "crd", CRDS[1], "-o", "yaml")


def test_an_uninstall_keeps_the_crds_and_every_record(
    bed: Installation, agents: Agents, kubectl: Kubectl
):
    """Runs and policies are still there, and so is the fence that refuses Pods."""
    name = agents.submit("")
    agents.end(name)

    bed.helm("uninstall", "anchorhold", "--namespace", SYSTEM, "--wait")

    try:
        assert all(kubectl.get("crd", crd) for crd in CRDS)
        assert kubectl.get("agentrun", name, agents.namespace)
        assert kubectl.get("agentpolicy", agents.namespace, POLICIES)
    finally:
        bed.controller()


def test_kubectl_apply_installs_the_same(bed: Installation, agents: Agents, kubectl: Kubectl):
    """`manifests/install.yaml` with the image's digest in it: a run completes."""
    text = (CHECKOUT / "manifests" / "install.yaml").read_text(encoding="utf-8")
    assert PLACEHOLDER in text
    manifests = text.replace(PLACEHOLDER, bed.controller_image)
    bed.helm("uninstall", "anchorhold", "--namespace", SYSTEM, "--wait")
    try:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/anchorhold-controller")
        name = agents.submit("")
        reason = condition(agents.end(name))["reason"]
    finally:
        kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(removable(manifests)))
        bed.controller()

    assert reason == "Completed"


def removable(manifests: str) -> list[Document]:
    """All but what Helm keeps too: namespaces and CRDs, with which every record would go."""
    found = [m for m in yaml.safe_load_all(manifests) if m is not None]
    kept = "helm.sh/resource-policy"
    return [m for m in found if kept not in m["metadata"].get("annotations", {})]


def test_the_controller_s_own_pod_is_restricted(kubectl: Kubectl):
    """Admitted under Pod Security `restricted`, with a read-only root and limits."""
    kubectl(
        "label", "namespace", SYSTEM, "--overwrite",
        "pod-security.kubernetes.io/enforce=restricted",
    )  # fmt: skip
    kubectl("-n", SYSTEM, "rollout", "restart", "deployment/anchorhold-controller")
    kubectl("-n", SYSTEM, "rollout", "status", "deployment/anchorhold-controller")

    def pods() -> list[Document]:
        found = kubectl.items("pods", SYSTEM, "-l", "anchorhold.dev/component=controller")
        return found if len(found) == 1 else []

    (pod,) = wait_for(pods, 60, "one Pod of the controller")
    (container,) = pod["spec"]["containers"]

    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert set(container["resources"]["limits"]) >= {"cpu", "memory"}
    assert {"livenessProbe", "readinessProbe"} <= set(container)
