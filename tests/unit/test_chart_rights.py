"""Who may what, as the charts say: every right of DESIGN §2 and no other."""

import charts

from anchorhold import names

RIGHTS = {
    ("ClusterRole", names.CONTROLLER): {
        "agentruns": "get list watch",
        "agentruns/status": "patch",
        "validatingadmissionpolicies": "get list watch",
        "validatingadmissionpolicybindings": "get list watch",
        "namespaces": "get list watch",
    },
    ("ClusterRole", f"{names.CONTROLLER}-tenant"): {
        "pods": "create delete get list watch",
        "configmaps": "create delete get",
        "events": "create patch",
    },
    ("Role", names.CONTROLLER): {"agentpolicies": "get list watch"},
    ("ClusterRole", "anchorhold-author"): {
        "agentruns": "create delete get list patch update watch",
        "configmaps": "create delete get list watch",
        "pods": "get list watch",
        "pods/log": "get list watch",
        "events": "get list watch",
    },
    ("Role", "anchorhold-policy-admin"): {
        "agentpolicies": "create delete get list patch update watch"
    },
}


def test_the_rights_are_exactly_those_of_the_design():
    """DESIGN §2: a new right must be written here too."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for document in charts.platform():
        if document["kind"] in ("Role", "ClusterRole"):
            role = found.setdefault((document["kind"], document["metadata"]["name"]), {})
            for resource, verb in charts.rights(document):
                role.setdefault(resource, set()).add(verb)

    expected = {
        role: {resource: set(verbs.split()) for resource, verbs in rights.items()}
        for role, rights in RIGHTS.items()
    }
    assert found == expected


def test_no_role_of_ours_reaches_for_what_nobody_needs():
    """DESIGN §2, "Never"."""
    roles = charts.of_kind([*charts.platform(), *charts.tenant()], "Role", "ClusterRole")
    rights = {right for role in roles.values() for right in charts.rights(role)}
    forbidden = {
        "*", "secrets", "nodes", "nodes/proxy", "pods/exec", "pods/attach", "pods/portforward",
        "pods/proxy", "pods/ephemeralcontainers", "serviceaccounts", "serviceaccounts/token",
        "roles", "rolebindings", "clusterroles", "clusterrolebindings", "customresourcedefinitions",
        "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
    }  # fmt: skip

    assert forbidden.isdisjoint(resource for resource, _ in rights)
    assert {"*", "impersonate", "escalate", "bind"}.isdisjoint(verb for _, verb in rights)
    assert all("*" not in rule["apiGroups"] for role in roles.values() for rule in role["rules"])


def test_the_controller_has_rights_in_two_places_only():
    """Cluster-wide it reads and writes status; it creates where an admin onboarded a namespace."""
    bindings = [
        (document["kind"], document["metadata"].get("namespace"), document["roleRef"]["name"])
        for document in [*charts.platform(), *charts.tenant()]
        if document["kind"] in ("RoleBinding", "ClusterRoleBinding")
        and any(subject["name"] == names.CONTROLLER for subject in document["subjects"])
    ]

    assert bindings == [
        ("ClusterRoleBinding", None, names.CONTROLLER),
        ("RoleBinding", names.POLICY_NAMESPACE, names.CONTROLLER),
        ("RoleBinding", "team-a", f"{names.CONTROLLER}-tenant"),
    ]


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
