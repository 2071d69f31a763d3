"""The gateway as the chart makes it."""

import base64
from typing import Any

import charts
import pytest

from anchorhold import names
from anchorhold.gateway import __main__ as program
from anchorhold.gateway.envoy import configuration

ENVOY = f"gateway.envoyImage=example.com/envoy@{charts.DIGEST}"
Document = dict[str, Any]


def rendered(*values: str) -> list[Document]:
    """The platform with a gateway."""
    return charts.rendered("anchorhold", charts.IMAGE, ENVOY, *values)


def pod_of(documents: list[Document]) -> Document:
    """The Pod of the StatefulSet."""
    made = charts.of_kind(documents, "StatefulSet")[names.GATEWAY]
    return dict(made["spec"]["template"]["spec"])


def containers(documents: list[Document]) -> dict[str, Document]:
    """All of its containers by name."""
    pod = pod_of(documents)
    return {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}


def controller_environment(documents: list[Document]) -> dict[str, str]:
    deployment = charts.of_kind(documents, "Deployment")[names.CONTROLLER]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def test_without_envoy_s_image_there_is_no_gateway_and_no_key():
    documents = charts.rendered("anchorhold", charts.IMAGE)

    assert not charts.of_kind(documents, "StatefulSet", "Secret")
    assert controller_environment(documents)["ANCHORHOLD_GATEWAYS"] == "0"


def test_each_gateway_has_a_service_of_its_own_and_the_controller_knows_how_many():
    documents = rendered("gateway.replicas=3")

    services = {
        document["metadata"]["name"]: document["spec"]
        for document in documents
        if document["kind"] == "Service"
        and document["metadata"]["namespace"] == names.GATEWAY_NAMESPACE
    }
    assert set(services) == {"gateway-0", "gateway-1", "gateway-2"}
    for name, spec in services.items():
        assert spec["selector"] == {
            names.COMPONENT_LABEL: names.GATEWAY,
            names.POD_NAME_LABEL: name,
        }
        assert [port["port"] for port in spec["ports"]] == [names.GATEWAY_PORT]
    assert controller_environment(documents)["ANCHORHOLD_GATEWAYS"] == "3"


def test_each_gateway_has_a_record_of_the_day_that_outlives_the_release():
    """And knows which one of how many it is."""
    documents = rendered("gateway.replicas=2")

    records = charts.of_kind(documents, "ConfigMap")
    mine = {name: found for name, found in records.items() if name.endswith("-usage")}
    assert set(mine) == {"gateway-0-usage", "gateway-1-usage"}
    for record in mine.values():
        assert record["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert "data" not in record
    (role,) = (
        d
        for d in documents
        if d["kind"] == "Role"
        and d["metadata"]["namespace"] == names.GATEWAY_NAMESPACE
        and d["metadata"]["name"] == names.GATEWAY_ACCOUNT
    )
    assert role["rules"][1]["resourceNames"] == sorted(mine)
    told = {e["name"]: e for e in containers(documents)["decider"]["env"]}
    assert told["ANCHORHOLD_GATEWAYS"]["value"] == "2"
    assert told["ANCHORHOLD_POD"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_the_gateway_is_held_to_what_it_holds_others_to():
    """Restricted, by digest, with limits; nothing is writable but what both share."""
    pod = pod_of(rendered())

    assert pod["hostUsers"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["image"].endswith(charts.DIGEST)
        assert container["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"] == container["resources"]["requests"]
        writable = [
            mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")
        ]
        assert writable == ["shared"]


def test_envoy_has_neither_a_token_nor_a_key():
    """It reads what agents and upstreams send; the decider reads none of that."""
    found = containers(rendered())

    assert pod_of(rendered())["automountServiceAccountToken"] is False
    mounts = {name: {m["name"] for m in c["volumeMounts"]} for name, c in found.items()}
    assert mounts == {
        "configuration": {"shared"},
        "decider": {"shared", "keys", "token"},
        "envoy": {"shared"},
    }


def test_what_is_mounted_is_where_the_code_looks():
    """The paths are written by hand in the chart."""
    found = containers(rendered("gateway.certificateAuthorities=PEM"))
    mounts = {m["name"]: m["mountPath"] for c in found.values() for m in c["volumeMounts"]}

    assert mounts["shared"] == configuration.FOLDER == program.SOCKET.rpartition("/")[0]
    assert mounts["keys"] == names.KEYS_DIRECTORY
    environment = {e["name"]: e["value"] for e in found["configuration"]["env"]}
    assert environment["ANCHORHOLD_AUTHORITIES"] == f"{mounts['authorities']}/ca.crt"
    assert found["configuration"]["command"][-1] == found["envoy"]["args"][1]
    assert found["decider"]["ports"] == [{"name": "health", "containerPort": program.PORT}]
    assert found["envoy"]["ports"] == [{"name": "agents", "containerPort": names.GATEWAY_PORT}]


def test_the_decider_and_envoy_are_told_the_same_ranges():
    found = containers(rendered("gateway.reachable={10.1.2.0/24,10.1.3.0/24}"))

    told = [
        {e["name"]: e.get("value") for e in found[name]["env"]}["ANCHORHOLD_REACHABLE"]
        for name in ("configuration", "decider")
    ]
    assert told == ["10.1.2.0/24 10.1.3.0/24"] * 2


def test_both_namespaces_have_the_same_key_and_it_outlives_the_release():
    keys = [document for document in rendered() if document["kind"] == "Secret"]

    assert {key["metadata"]["namespace"] for key in keys} == {
        names.SYSTEM_NAMESPACE, names.GATEWAY_NAMESPACE,
    }  # fmt: skip
    (one, other) = (key["data"] for key in keys)
    assert one == other
    assert len(base64.b64decode(one[names.CURRENT_KEY])) == 32
    for key in keys:
        assert key["metadata"]["name"] == names.SIGNING_KEY
        assert key["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not charts.of_kind(rendered("gateway.createSigningKey=false"), "Secret")


def network(*values: str) -> Document:
    """What the gateway's NetworkPolicy says."""
    policies = [d for d in rendered(*values) if d["kind"] == "NetworkPolicy"]
    own = [p for p in policies if p["metadata"]["namespace"] == names.GATEWAY_NAMESPACE]
    (policy,) = own
    return dict(policy["spec"])


@pytest.mark.parametrize(
    ("values", "opened"),
    [
        (
            (),
            [
                {"cidr": "0.0.0.0/0", "except": ["127.0.0.0/8", "169.254.0.0/16"]},
                {"cidr": "::/0", "except": ["fd00:ec2::/32", "fe80::/10"]},
            ],
        ),
        (("apiServer.cidrs={10.96.0.1/32}",), [{"cidr": "10.96.0.1/32"}]),
    ],
)
def test_the_way_to_the_api_server_is_none_to_a_cloud_s_metadata(
    values: tuple[str, ...], opened: list[Document]
):
    rule = network(*values)["egress"][0]

    assert [port["port"] for port in rule["ports"]] == [443, 6443]
    assert [peer["ipBlock"] for peer in rule["to"]] == opened


def test_who_reads_tunnels_has_an_authority_whose_key_nobody_else_has():
    """The controller has its certificate, for cells; Envoy has neither."""
    documents = rendered("gateway.intercept=true")
    found = {(d["kind"], d["metadata"]["namespace"]): d for d in documents if is_authority(d)}

    secret = found["Secret", names.GATEWAY_NAMESPACE]
    public = found["ConfigMap", names.SYSTEM_NAMESPACE]
    assert len(found) == 2
    assert set(secret["stringData"]) == {names.AUTHORITY_CERTIFICATE, names.AUTHORITY_KEY}
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    certificate = secret["stringData"][names.AUTHORITY_CERTIFICATE]
    assert public["data"] == {names.AUTHORITY_CERTIFICATE: certificate}
    mounted = {name: mounts(each) for name, each in containers(documents).items()}
    assert mounted["decider"]["authority"] == names.AUTHORITY_DIRECTORY
    assert "authority" not in {**mounted["envoy"], **mounted["configuration"]}
    (controller,) = charts.of_kind(documents, "Deployment")[names.CONTROLLER]["spec"]["template"][
        "spec"
    ]["containers"]
    assert mounts(controller)["authority"] == names.AUTHORITY_DIRECTORY


def test_there_is_no_authority_where_nobody_asked_for_one():
    by_hand = rendered("gateway.intercept=true", "gateway.createAuthority=false")

    assert not [d for d in [*rendered(), *by_hand] if is_authority(d)]
    assert "authority" not in mounts(containers(rendered())["decider"])
    assert "authority" in mounts(containers(by_hand)["decider"])


def is_authority(document: Document) -> bool:
    return bool(document["metadata"]["name"] == names.AUTHORITY)


def mounts(container: Document) -> dict[str, str]:
    """Where a container finds what."""
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def test_only_cells_reach_the_gateway_s_port():
    spec = network()
    agents = next(
        rule for rule in spec["ingress"] if rule["ports"][0]["port"] == names.GATEWAY_PORT
    )

    (peer,) = agents["from"]
    assert peer["namespaceSelector"]["matchExpressions"] == [
        {"key": names.TENANT_LABEL, "operator": "Exists"}
    ]
    assert peer["podSelector"]["matchExpressions"] == [
        {"key": names.RUN_LABEL, "operator": "Exists"}
    ]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    "value",
    [
        "gateway.envoyImage=envoyproxy/envoy:v1.40.0",
        "gateway.replicas=0",
        "gateway.reachable={10.1.2.3}",
        "gateway.nameServers={dns.example}",
        "gateway.host=x",
    ],
)
def test_a_wrong_value_is_refused(value: str):
    done = charts.helm(
        "template", "x", "charts/anchorhold", *charts.SYSTEM, "--set", charts.IMAGE, "--set", value
    )

    assert done.returncode != 0
    assert "gateway" in done.stderr
