"""The controller's rights, tried with its own token: those of `rights.yaml`, and no other."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from anchorhold import names
from bed.api import Answer, Api, bearer
from bed.kube import Document, Kubectl
from places import controller, role_binding

RIGHTS = yaml.safe_load((Path(__file__).parent / "rights.yaml").read_text(encoding="utf-8"))
LEFT, NOBODY = "rights-left", "rights-nobody"
FORBIDDEN_STATUS = 403
NAMESPACES = {
    "left": LEFT,
    "policies": names.POLICY_NAMESPACE,
    "system": names.SYSTEM_NAMESPACE,
    "sentinel": names.SENTINEL_NAMESPACE,
    "gateway": "anchorhold-gateway",
    "default": "default",
}
CLUSTER_SCOPED = {
    "namespaces", "nodes", "persistentvolumes", "users", "groups", "clusterroles",
    "clusterrolebindings", "customresourcedefinitions", "certificatesigningrequests",
    "validatingadmissionpolicies", "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
    "validatingwebhookconfigurations", "mutatingwebhookconfigurations",
}  # fmt: skip
VERSIONS = {names.GROUP: names.VERSION}
# How a verb is said over HTTP. `bind` and `escalate` are what writing roles and bindings asks for.
ON_ONE = {"get": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "escalate": "PUT"}
ON_ALL = {
    "list": "GET", "watch": "GET", "create": "POST", "deletecollection": "DELETE", "bind": "POST",
}  # fmt: skip


@dataclass(frozen=True)
class Right:
    """A verb on a resource, somewhere."""

    where: str
    group: str
    resource: str
    subresource: str
    verb: str

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}".rstrip("/")
        return f"{self.verb} {resource} in {self.where}"

    def path(self, namespace: str) -> str:
        """Where it is tried. What is named there does not exist."""
        version = VERSIONS.get(self.group, "v1")
        path = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        if self.resource not in CLUSTER_SCOPED:
            path += f"/namespaces/{namespace}"
        path += f"/{self.resource}"
        if self.subresource or self.verb in ON_ONE:
            path += f"/nothing/{self.subresource}".rstrip("/")
        return path + {"watch": "?watch=true&timeoutSeconds=1"}.get(self.verb, "")


def right(where: str, name: str, verb: str) -> Right:
    """A right as the table writes it: group/resource/subresource."""
    group, resource, *subresource = name.split("/")
    return Right(where, group, resource, "/".join(subresource), verb)


GRANTED = [
    right(where, name, verb)
    for where, rights in RIGHTS["granted"].items()
    for name, verbs in rights.items()
    for verb in verbs.split()
]
FORBIDDEN = [
    right(row.get("where", "tenant"), row["resource"], verb)
    for row in RIGHTS["forbidden"]
    for verb in row["verbs"].split()
]


@dataclass(frozen=True)
class Holder:
    """Somebody with a token, and where things are."""

    kubectl: Kubectl
    api: Api
    namespaces: dict[str, str]

    def may(self, wanted: Right) -> bool:
        """What kubectl says that the API server says."""
        name = f"{wanted.resource}.{wanted.group}".rstrip(".")
        subresource = ("--subresource", wanted.subresource) if wanted.subresource else ()
        where = ("--namespace", self.namespaces[wanted.where])
        who = self.kubectl.acting_as_account(names.SYSTEM_NAMESPACE, names.CONTROLLER)
        return who.run("auth", "can-i", wanted.verb, name, *subresource, *where).stdout == "yes\n"

    def tries(self, wanted: Right) -> Answer:
        """The attempt itself, with the token."""
        path = wanted.path(self.namespaces[wanted.where])
        if wanted.verb == "impersonate":
            return impersonation(self.api, wanted.resource)
        if wanted.verb in ON_ONE and not wanted.subresource:
            return self.api.request(ON_ONE[wanted.verb], path, body(wanted))
        return self.api.request((ON_ALL | ON_ONE)[wanted.verb], path, body(wanted))


def body(wanted: Right) -> Document | None:
    """Something to send, so that it is the right that is judged. Nothing is deleted for real."""
    if wanted.verb in ("get", "list", "watch"):
        return None
    if wanted.verb in ("delete", "deletecollection"):
        return {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}
    return {}


def impersonation(api: Api, resource: str) -> Answer:
    """Say to be somebody else."""
    who = {
        "users": (("Impersonate-User", "admin"),),
        "groups": (("Impersonate-User", "admin"), ("Impersonate-Group", "system:masters")),
        "serviceaccounts": (("Impersonate-User", "system:serviceaccount:kube-system:default"),),
    }
    other = Api(api.server, api.trust, api.headers + who[resource])
    try:
        return other.request("GET", "/api/v1/namespaces")
    finally:
        other.close()


@pytest.fixture(scope="module")
def holder(kubectl: Kubectl, tenant: str) -> Iterator[Holder]:
    """The controller's token, and a namespace whose tenant release is gone."""
    kubectl.namespace(LEFT)
    for document in (
        role_binding(f"{names.CONTROLLER}-ending", LEFT, controller()),
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NOBODY, "namespace": LEFT},
        },
    ):
        kubectl.apply(document)
    api = bearer(kubectl, names.SYSTEM_NAMESPACE, names.CONTROLLER)
    yield Holder(kubectl, api, {**NAMESPACES, "tenant": tenant, "everywhere": "default"})
    api.close()
    kubectl.delete("namespace", LEFT, "", "--wait=false")


def rules(api: Api, namespace: str) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Every right that somebody has in a namespace, as the API server reviews it."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    assert answer.refusal == ""
    status: Any = answer.body["status"]
    resources = {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    urls = {
        ("", url, verb, ())
        for rule in status["nonResourceRules"]
        for url in rule["nonResourceURLs"]
        for verb in rule["verbs"]
    }
    return resources | urls


@pytest.mark.parametrize("where", [place for place in RIGHTS["granted"] if place != "everywhere"])
def test_the_rights_are_exactly_those_of_the_table(holder: Holder, where: str):
    """All that the API server lets it do there, but for what it lets every ServiceAccount do."""
    namespace = holder.namespaces[where]
    nobody = bearer(holder.kubectl, LEFT, NOBODY)
    try:
        own = rules(holder.api, namespace) - rules(nobody, namespace)
    finally:
        nobody.close()

    assert own == {
        (r.group, f"{r.resource}/{r.subresource}".rstrip("/"), r.verb, ())
        for r in GRANTED
        if r.where in ("everywhere", where)
    }


@pytest.mark.parametrize("granted", GRANTED, ids=str)
def test_it_may_do_what_the_table_grants(holder: Holder, granted: Right):
    """The control: what is tried below fails for want of a right, and not for want of sense."""
    assert holder.may(granted)
    assert "cannot" not in holder.tries(granted).refusal


@pytest.mark.parametrize("forbidden", FORBIDDEN, ids=str)
def test_it_may_not_do_what_the_table_forbids(holder: Holder, forbidden: Right):
    """By the API server's word, and by trying it."""
    answer = holder.tries(forbidden)

    assert not holder.may(forbidden)
    assert answer.status == FORBIDDEN_STATUS
    assert "cannot" in answer.refusal


def test_the_table_has_no_right_twice():
    """A row that contradicts another, or repeats it, hides something."""
    assert len(set(FORBIDDEN)) == len(FORBIDDEN)
    assert len(set(GRANTED)) == len(GRANTED)
    assert not set(FORBIDDEN) & set(GRANTED)
    assert json.dumps(RIGHTS).count("*") == 0
