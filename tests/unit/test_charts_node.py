"""What the chart puts on nodes: one file, by the narrowest Pod that can write it."""

import hashlib

import charts
import pytest

from anchorhold import names
from bed import profile

NODE = "anchorhold-node"
INSTALLED = {"seccomp.install=true": True, "seccomp.install=false": False}


def in_the_node_namespace(documents: list[charts.Document]) -> dict[str, charts.Document]:
    """What lies there, by kind."""
    found = [d for d in documents if d["metadata"].get("namespace") == NODE]
    assert len(found) == len({d["kind"] for d in found})
    return {d["kind"]: d for d in found}


def test_the_profile_is_on_nodes_under_the_name_that_everybody_uses():
    """The controller is told it, admission holds cells to it, and the content gives it."""
    there = in_the_node_namespace(charts.platform())
    text = there["ConfigMap"]["data"]["agent.json"]
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    controller = charts.of_kind(charts.platform(), "Deployment")[names.CONTROLLER]
    (container,) = controller["spec"]["template"]["spec"]["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    floor = charts.of_kind(charts.platform(), "ValidatingAdmissionPolicy")["anchorhold-pod-floor"]
    (installer,) = there["DaemonSet"]["spec"]["template"]["spec"]["containers"]

    assert text == profile.FILE.read_text(encoding="utf-8")
    assert f"anchorhold/agent-{digest}.json" == profile.NAME
    assert there["ConfigMap"]["metadata"]["name"] == f"anchorhold-agent-{digest}"
    assert there["ConfigMap"]["immutable"] is True
    assert environment["ANCHORHOLD_SECCOMP_PROFILE"] == profile.NAME
    own = next(v for v in floor["spec"]["variables"] if v["name"] == "ownSeccomp")
    assert f"'localhostProfile': '{profile.NAME}'" in own["expression"]
    command = installer["readinessProbe"]["exec"]["command"]
    assert command == ["test", "-s", f"/node/agent-{digest}.json"]


def test_the_installer_can_write_one_folder_and_do_nothing_else():
    spec = in_the_node_namespace(charts.platform())["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]

    assert "initContainers" not in spec
    assert spec["automountServiceAccountToken"] is False
    assert spec["hostUsers"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & set(spec)
    assert container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == container["resources"]["requests"]
    volumes = {volume.pop("name"): volume for volume in map(dict, spec["volumes"])}
    folder = {"path": "/var/lib/kubelet/seccomp/anchorhold", "type": "DirectoryOrCreate"}
    assert volumes == {
        "node": {"hostPath": folder},
        "profile": {"configMap": {"name": f"anchorhold-{profile.NAME[11:-5]}"}},
    }


def test_nothing_there_has_a_network():
    wall = in_the_node_namespace(charts.platform())["NetworkPolicy"]

    assert wall["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_it_is_the_only_namespace_that_is_not_restricted():
    levels = {
        name: namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for name, namespace in charts.of_kind(charts.platform(), "Namespace").items()
    }

    assert {name for name, level in levels.items() if level != "restricted"} == {NODE}


@pytest.mark.parametrize("value", INSTALLED)
def test_who_installs_by_hand_gets_nothing_of_it(value: str):
    """The name stays the same: cells ask for it either way."""
    documents = charts.rendered("anchorhold", charts.IMAGE, value)

    assert bool(in_the_node_namespace(documents)) is INSTALLED[value]
    assert (NODE in charts.of_kind(documents, "Namespace")) is INSTALLED[value]
    controller = charts.of_kind(documents, "Deployment")[names.CONTROLLER]
    assert profile.NAME in str(controller)


def test_the_kubelets_folder_can_be_elsewhere():
    documents = charts.rendered("anchorhold", charts.IMAGE, "seccomp.kubeletRoot=/data/kubelet")
    spec = in_the_node_namespace(documents)["DaemonSet"]["spec"]["template"]["spec"]

    assert spec["volumes"][1]["hostPath"]["path"] == "/data/kubelet/seccomp/anchorhold"
