"""Namespaces with some or all of the admission policies in force, and nothing else.

They have no Pod Security labels: a refusal there is the admission policies' own.
"""

import json
import secrets
from collections.abc import Iterator
from functools import partial

from anchorhold import names
from bed.kube import Document, Kubectl, wait_for
from examples import Example, apply_step, load, twin
from largest import POLICY as LARGEST

AUTHOR = "admission-author"
CELL = "survey-cell"
ALL = (*names.LIMITS_POLICIES, *names.FLOOR_POLICIES)
ANY: Document = {
    "inputs": {
        "configMaps": [{"name": "*"}],
        "persistentVolumeClaims": [{"name": "*"}],
        "images": [{"reference": f"example.com/data/corpus@sha256:{'b' * 64}"}],
    }
}
# Which admission policies hold in a place, and how its AgentPolicy differs from the example's.
PLACES: dict[str, tuple[tuple[str, ...], Document | None]] = {
    "bound": (ALL, {}),
    "any": (ALL, ANY),
    "suspended": (ALL, {"suspend": True}),
    "missing": (ALL, None),
    "largest": (ALL, LARGEST),
    "limits": (("anchorhold-pod-limits",), {}),
    "floor": (names.FLOOR_POLICIES, None),
    "cell": (names.FLOOR_POLICIES, None),
}
FIRST_REFUSED = (
    "a cell that an admin makes",
    "a cell with another image",
    "a run with another image",
    "a cell where the policy is suspended",
    "a run where the policy is suspended",
    "a cell where the policy does not exist",
    "a run where the policy does not exist",
    "a cell with the node's users, under the limits alone",
)


class Places:
    """Namespaces that are fenced by some of the admission policies, and whoever posts there."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.admin = kubectl
        self.prefix = f"admission-{secrets.token_hex(3)}"
        self.posters = {
            "admin": kubectl,
            "author": kubectl.acting_as(AUTHOR, "system:authenticated"),
            "controller": kubectl.acting_as_account(names.SYSTEM_NAMESPACE, names.CONTROLLER),
        }

    def namespace(self, place: str) -> str:
        return f"{self.prefix}-{place}"

    def dry_run(self, example: Example) -> str:
        """What the API server answers: nothing if it takes the object, else why not."""
        namespace, who = self.namespace(example.where), self.posters[example.poster]
        if example.verb == "create":
            return self.dry_create(example.posted(namespace), who)
        cell = self.admin.get("pod", CELL, namespace)
        assert cell is not None, f"{CELL} is gone"
        for step in example.patch:
            apply_step(cell, step)
        return self.dry_update(cell, who, example.subresource)

    def dry_create(self, document: Document, who: Kubectl) -> str:
        return who.run("create", "-f", "-", "--dry-run=server", stdin=json.dumps(document)).stderr

    def dry_update(self, cell: Document, who: Kubectl, subresource: str = "") -> str:
        path = f"/api/v1/namespaces/{cell['metadata']['namespace']}/pods/{cell['metadata']['name']}"
        path += f"/{subresource}" if subresource else ""
        cell["metadata"].pop("resourceVersion")  # The kubelet writes its status meanwhile.
        text = json.dumps(cell)
        return who.run("replace", "--raw", f"{path}?dryRun=All", "-f", "-", stdin=text).stderr

    def make(self) -> None:
        """Every place, in force, and the cell that examples change."""
        for place, (admission, changes) in PLACES.items():
            namespace = self.namespace(place)
            for document in scaffold(namespace):
                self.admin.apply(document)
            if changes is not None:
                policy = twin("policy").posted(namespace)
                policy["spec"].update(changes)
                self.admin.create(policy)
            for name in admission:
                self.admin.apply(binding(name, namespace))
        self.make_cell(CELL, twin("pod").posted(self.namespace("cell")))
        self.wait_until_in_force()

    def make_cell(self, run_name: str, cell: Document) -> Document:
        """A cell that exists, of a run that exists."""
        run = twin("run").posted(self.namespace("cell"))
        run["metadata"]["name"] = run_name
        uid = self.admin.create(run)["metadata"]["uid"]
        cell["metadata"]["name"] = cell["spec"]["volumes"][0]["configMap"]["name"] = run_name
        cell["metadata"]["labels"][names.RUN_LABEL] = uid
        cell["metadata"]["ownerReferences"][0] |= {"name": run_name, "uid": uid}
        return self.posters["controller"].create(cell)

    def wait_until_in_force(self) -> None:
        """The API server takes new bindings and policies up a moment after it stored them."""
        for what in FIRST_REFUSED:
            example = load("refused")[what]
            wait_for(partial(self.refuses, example), 60, f"the refusal of {what}")
        for example in load("accepted").values():
            wait_for(partial(self.takes, example), 60, f"{example.what} to be accepted")

    def takes(self, example: Example) -> bool:
        return not self.dry_run(example)

    def refuses(self, example: Example) -> bool:
        return example.expected(self.namespace(example.where)) in self.dry_run(example)

    def remove(self) -> None:
        for place, (admission, _) in PLACES.items():
            namespace = self.namespace(place)
            self.admin.delete("namespace", namespace, "", "--wait=false")
            self.admin.delete("agentpolicy", namespace, names.POLICY_NAMESPACE)
            bindings = [f"{name}.{namespace}" for name in admission]
            self.admin(
                "delete", "validatingadmissionpolicybinding", *bindings, "--ignore-not-found"
            )


def scaffold(namespace: str) -> Iterator[Document]:
    """A namespace in which authors and the controller have their usual rights."""
    rbac, author = "rbac.authorization.k8s.io", {"kind": "User", "name": AUTHOR}
    account = {
        "kind": "ServiceAccount",
        "name": names.CONTROLLER,
        "namespace": names.SYSTEM_NAMESPACE,
    }
    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {names.TENANT_LABEL: namespace}},
    }
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": names.CELL_SERVICE_ACCOUNT, "namespace": namespace},
        "automountServiceAccountToken": False,
    }
    for role, subject in (("anchorhold-author", author), (f"{names.CONTROLLER}-tenant", account)):
        yield {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": namespace},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }


def binding(name: str, namespace: str) -> Document:
    """The binding as the tenant chart makes it, for an AgentPolicy of the namespace's name."""
    parameter = {
        "name": namespace,
        "namespace": names.POLICY_NAMESPACE,
        "parameterNotFoundAction": "Deny",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": f"{name}.{namespace}"},
        "spec": {
            "policyName": name,
            **({"paramRef": parameter} if name in names.LIMITS_POLICIES else {}),
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            },
            "validationActions": ["Deny"],
        },
    }
