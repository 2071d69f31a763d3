"""Who may what, as the charts say: every right of DESIGN §2 and no other."""

import charts
import yaml

from anchorhold import names

TABLE = yaml.safe_load((charts.ROOT / "tests/cluster/rights.yaml").read_text(encoding="utf-8"))
RIGHTS: dict[tuple[str, ...], dict[str, str]] = {
    # The controller's are a table that is tried on a real API server too.
    ("ClusterRole", names.CONTROLLER): TABLE["granted"]["everywhere"],
    ("ClusterRole", f"{names.CONTROLLER}-tenant"): TABLE["granted"]["tenant"],
    ("ClusterRole", f"{names.CONTROLLER}-ending"): TABLE["granted"]["left"],
    ("Role", names.CONTROLLER, names.POLICY_NAMESPACE): TABLE["granted"]["policies"],
    ("Role", names.CONTROLLER, names.GATEWAY_NAMESPACE): TABLE["granted"]["gateway"],
    ("ClusterRole", "anchorhold-gateway"): {
        "anchorhold.dev/agentruns": "get list watch",
        "admissionregistration.k8s.io/validatingadmissionpolicybindings": "get list watch",
    },
    ("Role", "anchorhold-gateway", names.GATEWAY_NAMESPACE): {
        "/secrets": "get list watch",
        "/configmaps": "get patch",
    },
    ("ClusterRole", "anchorhold-gateway-tenant"): {
        "/pods": "get list watch",
        "anchorhold.dev/agentruns/status": "patch",
    },
    ("Role", "anchorhold-gateway", names.POLICY_NAMESPACE): {
        "anchorhold.dev/agentpolicies": "get list watch",
    },
    ("Role", f"{names.CONTROLLER}-sentinels", names.SENTINEL_NAMESPACE): TABLE["granted"][
        "sentinel"
    ],
    ("ClusterRole", "anchorhold-author"): {
        "anchorhold.dev/agentruns": "create delete get list patch update watch",
        "/configmaps": "create delete get list watch",
        "/persistentvolumeclaims": "get list watch",
        "/pods": "get list watch",
        "/pods/log": "get list watch",
        "/events": "get list watch",
    },
    ("Role", "anchorhold-policy-admin", names.POLICY_NAMESPACE): {
        "anchorhold.dev/agentpolicies": "create delete get list patch update watch",
        "anchorhold.dev/agentskills": "get list watch",
    },
    ("Role", "anchorhold-skill-reviewer", names.POLICY_NAMESPACE): {
        "anchorhold.dev/agentskills": "create delete get list patch review update watch"
    },
}


def test_the_rights_are_exactly_those_of_the_design():
    """DESIGN §2: a new right must be written here too."""
    found = {
        tuple(
            filter(
                None,
                (
                    document["kind"],
                    document["metadata"]["name"],
                    document["metadata"].get("namespace"),
                ),
            )
        ): charts.granted(document)
        for document in charts.platform()
        if document["kind"] in ("Role", "ClusterRole")
    }

    expected = {
        role: {resource: set(verbs.split()) for resource, verbs in rights.items()}
        for role, rights in RIGHTS.items()
    }
    assert found == expected


def test_the_table_of_what_is_forbidden_contradicts_no_role():
    """A right that a role gains must first be taken out of the table, where it is argued."""
    places = {"tenant": (names.CONTROLLER, f"{names.CONTROLLER}-tenant"),
              "left": (names.CONTROLLER, f"{names.CONTROLLER}-ending"),
              "sentinel": (names.CONTROLLER, f"{names.CONTROLLER}-sentinels")}  # fmt: skip
    roles = charts.of_kind(charts.platform(), "Role") | charts.of_kind(
        charts.platform(), "ClusterRole"
    )
    for row in TABLE["forbidden"]:
        for role in places.get(row.get("where", "tenant"), (names.CONTROLLER,)):
            held = charts.granted(roles[role]).get(row["resource"], set())
            assert held.isdisjoint(row["verbs"].split()), row


def test_no_role_of_ours_reaches_for_what_nobody_needs():
    """DESIGN §2, "Never"."""
    found = [
        document
        for document in [*charts.platform(), *charts.tenant()]
        if document["kind"] in ("Role", "ClusterRole")
    ]
    # The gateway, and it alone, reads the Secrets of its own namespace. Beside that it keeps its
    # day's usage there, in ConfigMaps that others make, and by name.
    (reader,) = (
        role
        for role in found
        if (role["metadata"]["name"], role["metadata"].get("namespace"))
        == ("anchorhold-gateway", names.GATEWAY_NAMESPACE)
    )
    (_, usage) = reader["rules"]
    assert charts.granted(reader)["/secrets"] == {"get", "list", "watch"}
    assert usage["resourceNames"] == ["gateway-0-usage"]
    found.remove(reader)
    rights = {right for role in found for right in charts.rights(role)}
    forbidden = {
        "*", "secrets", "nodes", "nodes/proxy", "pods/exec", "pods/attach", "pods/portforward",
        "pods/proxy", "pods/ephemeralcontainers", "serviceaccounts", "serviceaccounts/token",
        "roles", "rolebindings", "clusterroles", "clusterrolebindings", "customresourcedefinitions",
        "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
    }  # fmt: skip

    assert forbidden.isdisjoint(resource for resource, _ in rights)
    assert {"*", "impersonate", "escalate", "bind"}.isdisjoint(verb for _, verb in rights)
    assert all("*" not in rule["apiGroups"] for role in found for rule in role["rules"])


def test_the_controller_has_rights_in_its_places_only():
    """Cluster-wide it reads and writes status; it creates where an admin onboarded a namespace.

    Beside that it reads the policies and the sentinels.

    What it needs to end Pods there outlives the release; what it needs to start them does not.
    """
    bindings = [
        (document["kind"], document["metadata"].get("namespace"), document["roleRef"]["name"])
        for document in [*charts.platform(), *charts.tenant()]
        if document["kind"] in ("RoleBinding", "ClusterRoleBinding")
        and any(subject["name"] == names.CONTROLLER for subject in document["subjects"])
    ]

    assert bindings == [
        ("ClusterRoleBinding", None, names.CONTROLLER),
        ("RoleBinding", names.POLICY_NAMESPACE, names.CONTROLLER),
        ("RoleBinding", names.GATEWAY_NAMESPACE, names.CONTROLLER),
        ("RoleBinding", names.SENTINEL_NAMESPACE, f"{names.CONTROLLER}-sentinels"),
        ("RoleBinding", "team-a", f"{names.CONTROLLER}-ending"),
        ("RoleBinding", "team-a", f"{names.CONTROLLER}-tenant"),
    ]
    kept = [
        document["roleRef"]["name"]
        for document in charts.tenant()
        if document["kind"] == "RoleBinding" and "annotations" in document["metadata"]
    ]
    assert kept == [f"{names.CONTROLLER}-ending"]


def test_authors_read_their_own_policies_and_no_others():
    role = charts.of_kind(charts.tenant(), "Role")["anchorhold-author-team-a"]

    assert role["metadata"]["namespace"] == names.POLICY_NAMESPACE
    assert role["rules"] == [
        {
            "apiGroups": [names.GROUP],
            "resources": ["agentpolicies"],
            "resourceNames": ["small", "large"],
            "verbs": ["get"],
        }
    ]


def test_who_writes_policies_and_who_reviews_skills_is_said_apart():
    """Each Role is bound to those whom the values name for it, and neither to anybody else."""
    bound = {
        document["roleRef"]["name"]: [subject["name"] for subject in document["subjects"]]
        for document in charts.platform()
        if document["kind"] == "RoleBinding"
    }

    assert bound["anchorhold-policy-admin"] == ["security"]
    assert bound["anchorhold-skill-reviewer"] == ["bob"]
