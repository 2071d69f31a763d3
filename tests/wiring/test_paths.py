"""Where objects live, and which names may say so."""

import pytest

from anchorhold.cluster import paths


@pytest.mark.parametrize(
    ("path", "expected", "resource"),
    [
        (paths.pods(), "/api/v1/pods", "pods"),
        (paths.pods("a"), "/api/v1/namespaces/a/pods", "pods"),
        (paths.pod("a", "b.c-1"), "/api/v1/namespaces/a/pods/b.c-1", "pods"),
        (paths.config_maps("a"), "/api/v1/namespaces/a/configmaps", "configmaps"),
        (paths.config_map("a", "b"), "/api/v1/namespaces/a/configmaps/b", "configmaps"),
        (paths.events("a"), "/api/v1/namespaces/a/events", "events"),
        (paths.namespaces(), "/api/v1/namespaces", "namespaces"),
        (f"{paths.namespaces()}/a", "/api/v1/namespaces/a", "namespaces"),
        (
            paths.network_policies(),
            "/apis/networking.k8s.io/v1/networkpolicies",
            "networkpolicies",
        ),
        (
            paths.policy_bindings(),
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
            "validatingadmissionpolicybindings",
        ),
        (paths.agent_runs(), "/apis/anchorhold.dev/v1alpha1/agentruns", "agentruns"),
        (
            paths.agent_run_status("a", "b"),
            "/apis/anchorhold.dev/v1alpha1/namespaces/a/agentruns/b/status",
            "agentruns/status",
        ),
        (
            paths.agent_policies("anchorhold-policies"),
            "/apis/anchorhold.dev/v1alpha1/namespaces/anchorhold-policies/agentpolicies",
            "agentpolicies",
        ),
    ],
)
def test_a_path_leads_to_its_resource(path: str, expected: str, resource: str):
    """Given what is asked for, when its path is made, then it and its metric's name are right."""
    assert path == expected
    assert paths.resource(path) == resource


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secrets",
        "a/b",
        "a%2Fb",
        "a?watch=true",
        "a#b",
        "a b",
        "a\n",
        "A",
        "-a",
        "a-",
        "a..b",
        "é",
        "a" * 254,
    ],
)
def test_what_is_no_name_reaches_no_path(name: str):
    """Given a name that could lead elsewhere, when a path is made of it, then it is refused."""
    with pytest.raises(ValueError, match="must be a DNS subdomain"):
        paths.pod("team-a", name)
    with pytest.raises(ValueError, match="must be a DNS subdomain"):
        paths.pods(name)


def test_the_longest_name_is_a_name():
    """Given 253 characters, when a path is made of them, then they are in it."""
    assert paths.pod("a", "b" * 253).endswith("b" * 253)
