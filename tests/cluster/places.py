"""Namespaces with some or all of the admission policies in force, and nothing else.

They have no Pod Security labels: a refusal there is the admission policies' own.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from agents import Controller
from anchorhold import names
from bed.api import Answer, Api, administrator, bearer
from bed.kube import Document, Kubectl, wait_for
from examples import OWN_IMAGE, STAND_INS, Example, apply_step, load, twin
from largest import POLICY as LARGEST
from tenants import runtime_class

AUTHOR = "admission-author"
NEWCOMER = "admission-newcomer"
REVIEWER, WRITER = "admission-reviewer", "admission-writer"
LONG_NAMED = "admission-".ljust(1_025, "x")
CELL = "survey-cell"
PULL_SECRET = "registry"  # noqa: S105  # A name.
CONFLICT = 409
ALL = (*names.LIMITS_POLICIES, *names.FLOOR_POLICIES)
ANY: Document = {
    "inputs": {
        "configMaps": [{"name": "*"}],
        "persistentVolumeClaims": [{"name": "*"}],
        "images": [{"reference": f"example.com/data/corpus@sha256:{'b' * 64}"}],
    }
}
PLACED: Document = {
    "minRetentionSeconds": 3_600,
    "placement": {
        "nodeSelector": {"pool": "agents"},
        "tolerations": [
            {"key": "agents", "value": "only", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
        ],
        "priorityClassName": "system-cluster-critical",
    },
}
# What a RuntimeClass adds to a cell, its policy must allow.
PLAIN_CLASS, COSTLY_CLASS = "admission-plain", "admission-costly"
CLASS_PLACEMENT: Document = {
    "nodeSelector": {"sandbox": "example"},
    "tolerations": [{"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}],
}
CLASSES = (
    runtime_class(PLAIN_CLASS, "plain"),
    runtime_class(
        COSTLY_CLASS,
        "costly",
        overhead={"podFixed": {"cpu": "50m", "memory": "32Mi"}},
        scheduling=CLASS_PLACEMENT,
    ),
)
CLASSED: Document = {"isolation": "RuntimeClass", "runtimeClassName": COSTLY_CLASS}
# Which admission policies hold in a place, and how its AgentPolicy differs from the example's.
PLACES: dict[str, tuple[tuple[str, ...], Document | None]] = {
    "bound": (ALL, {}),
    "any": (ALL, ANY),
    "placed": (ALL, PLACED),
    "plain": (ALL, {"seccomp": "RuntimeDefault"}),
    "classed": (ALL, {**CLASSED, "placement": CLASS_PLACEMENT}),
    "classed-anywhere": (ALL, CLASSED),
    "suspended": (ALL, {"suspend": True}),
    "missing": (ALL, None),
    "largest": (ALL, LARGEST),
    "limits": (("anchorhold-pod-limits",), {}),
    "floor": (names.FLOOR_POLICIES, None),
    # There are a run, its cell and NetworkPolicies, and RBAC lets the controller do anything.
    "cell": (names.FLOOR_POLICIES, None),
}
COLLECTIONS = {
    "Pod": "api/v1/namespaces/{}/pods",
    "NetworkPolicy": "apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "AgentRun": f"apis/{names.API_VERSION}/namespaces/{{}}/agentruns",
    "AgentSkill": f"apis/{names.API_VERSION}/namespaces/{{}}/agentskills",
    "AgentPolicy": f"apis/{names.API_VERSION}/namespaces/{{}}/agentpolicies",
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
    "a cell of another runtime class",
    "a cell that its runtime class places where the policy does not",
    "a cell on any node that it likes",
    "a run that is gone too soon",
    "a run that is given a finalizer",
    "a run with a budget of more tokens than the policy's",
    "a name of a Pod that the gateway writes",
    "a run that reads what its author may not",
    "a NetworkPolicy that lets something in",
    "a shell in a cell",
    "a skill of someone who reviews none",
)


class Places:
    """Namespaces that are fenced by some of the admission policies, and whoever posts there."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.admin = kubectl
        STAND_INS[OWN_IMAGE] = own_image(kubectl)
        self.prefix = f"admission-{secrets.token_hex(3)}"
        api, everybody = administrator(kubectl), "system:authenticated"
        self.posters = {
            "admin": api,
            "author": api.acting_as(AUTHOR, everybody),
            "newcomer": api.acting_as(NEWCOMER, everybody),
            "long-named": api.acting_as(LONG_NAMED, everybody),
            "reviewer": api.acting_as(REVIEWER, everybody),
            "writer": api.acting_as(WRITER, everybody),
            # With a token of its own, and nothing else.
            "controller": bearer(kubectl, names.SYSTEM_NAMESPACE, names.CONTROLLER),
            "gateway": bearer(kubectl, names.GATEWAY_NAMESPACE, names.GATEWAY_ACCOUNT),
        }

    def namespace(self, place: str) -> str:
        return f"{self.prefix}-{place}"

    def dry_run(self, example: Example) -> str:
        """What the API server says to it: nothing if it takes the object, else why not."""
        return self.ask(example).refusal

    def ask(self, example: Example) -> Answer:
        """What the API server answers; nothing is changed."""
        return ASK[example.verb](self, example)

    def ask_create(self, example: Example) -> Answer:
        document = example.posted(self.namespace(example.where))
        return create(document, self.posters[example.poster], "&dryRun=All")

    def ask_update(self, example: Example) -> Answer:
        """Replace what exists by what the patch makes of it. Others may write meanwhile."""
        path = self.path_of(example)
        for _ in range(5):
            document = self.posters["admin"].request("GET", path).body
            assert "spec" in document, f"{path}: {document}"
            for step in example.patch:
                apply_step(document, step)
            target = f"{path}/{example.subresource}".rstrip("/") + "?dryRun=All"
            answer = self.posters[example.poster].request("PUT", target, document)
            if answer.status != CONFLICT:
                break
        return answer

    def ask_delete(self, example: Example) -> Answer:
        """One object, or every one of its kind if the example has no name for it."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}
        path = f"/{self.collection(example)}" if example.path == "*" else self.path_of(example)
        return self.posters[example.poster].request("DELETE", path, options | example.options)

    def ask_connect(self, example: Example) -> Answer:
        path = f"/api/v1/namespaces/{self.namespace(example.where)}/{example.path}"
        return self.posters[example.poster].request(example.method, path)

    def collection(self, example: Example) -> str:
        return COLLECTIONS[example.document["kind"]].format(self.namespace(example.where))

    def path_of(self, example: Example) -> str:
        """Where the object lies that the example is about, in the place 'cell'."""
        document = example.document
        wall = document["metadata"]["name"] == names.DEFAULT_DENY
        return f"/{self.collection(example)}/{names.DEFAULT_DENY if wall else CELL}"

    def dry_create(self, document: Document, who: Api) -> str:
        return create(document, who, "&dryRun=All").refusal

    def make(self) -> None:
        """Every place, in force, and what examples change."""
        for document in CLASSES:
            self.admin.apply(document)
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
        cell = self.namespace("cell")
        self.admin.apply(role_binding("cluster-admin", cell, controller(), gateway()))
        self.admin.create(twin("networkpolicy-deny").posted(cell))
        opens = twin("networkpolicy").posted(cell)
        opens["metadata"]["name"] = CELL
        self.admin.create(opens)
        wait_for(self.stamps, 60, "the requester to be stamped")
        self.make_cell(CELL, twin("pod").posted(cell))
        self.make_skill(CELL)
        self.wait_until_in_force()

    def stamps(self) -> bool:
        """Whether a run is taken and a skill reviewed, which takes the stamps to be in force."""
        run = twin("run").posted(self.namespace("cell"))
        skill = twin("skill").posted(self.namespace("cell"))
        made = create(skill, self.posters["reviewer"], "&dryRun=All").body
        stamped = names.REVIEWED_BY_ANNOTATION in made["metadata"].get("annotations", {})
        return stamped and not self.dry_create(run, self.posters["admin"])

    def make_skill(self, name: str) -> None:
        """A skill that exists, and that the reviewer has reviewed."""
        skill = twin("skill").posted(self.namespace("cell"))
        skill["metadata"]["name"] = name
        assert create(skill, self.posters["reviewer"]).refusal == ""

    def make_cell(self, run_name: str, cell: Document) -> Document:
        """A cell that exists, of a run that exists."""
        run = twin("run").posted(self.namespace("cell"))
        run["metadata"]["name"] = run_name
        uid = self.admin.create(run)["metadata"]["uid"]
        cell["metadata"]["name"] = run_name
        volumes = {volume["name"]: volume for volume in cell["spec"]["volumes"]}
        volumes["task"]["configMap"]["name"] = run_name
        volumes["skills"]["configMap"]["name"] = f"{run_name}-skills"
        cell["metadata"]["labels"][names.RUN_LABEL] = uid
        cell["metadata"]["ownerReferences"][0] |= {"name": run_name, "uid": uid}
        made = create(cell, self.posters["controller"])
        assert made.refusal == ""
        return dict(made.body)

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
        for poster in self.posters.values():
            poster.close()
        for document in CLASSES:
            self.admin.delete("runtimeclass", document["metadata"]["name"])
        for place, (admission, _) in PLACES.items():
            namespace = self.namespace(place)
            self.admin.delete("namespace", namespace, "", "--wait=false")
            self.admin.delete("agentpolicy", namespace, names.POLICY_NAMESPACE)
            bindings = [f"{name}.{namespace}" for name in admission]
            self.admin(
                "delete", "validatingadmissionpolicybinding", *bindings, "--ignore-not-found"
            )


def own_image(kubectl: Kubectl) -> str:
    """Our own image as it is installed: the floor takes a netgate of that image alone."""
    floor = kubectl.get("validatingadmissionpolicy", "anchorhold-pod-floor")
    assert floor is not None
    found = re.search(r"'image': dyn\('([^']+)'\)", json.dumps(floor))
    assert found is not None, "the floor names no image"
    return found[1]


@contextmanager
def standing(kubectl: Kubectl) -> Iterator[Places]:
    """Every place, once its bindings and policies have come into force; there is no controller."""
    made, operator = Places(kubectl), Controller(kubectl, names.SYSTEM_NAMESPACE)
    operator.stop()
    try:
        made.make()
        yield made
    finally:
        made.remove()
        operator.start()


ASK: dict[str, Callable[[Places, Example], Answer]] = {
    "create": Places.ask_create,
    "update": Places.ask_update,
    "delete": Places.ask_delete,
    "connect": Places.ask_connect,
}


def create(document: Document, who: Api, more: str = "") -> Answer:
    """Post an object; a field that the API server does not know is a mistake of the example."""
    path = COLLECTIONS[document["kind"]].format(document["metadata"]["namespace"])
    return who.request("POST", f"/{path}?fieldValidation=Strict{more}", document)


def controller() -> Document:
    return {
        "kind": "ServiceAccount",
        "name": names.CONTROLLER,
        "namespace": names.SYSTEM_NAMESPACE,
    }


def gateway() -> Document:
    return {
        "kind": "ServiceAccount",
        "name": names.GATEWAY_ACCOUNT,
        "namespace": names.GATEWAY_NAMESPACE,
    }


def user(name: str) -> Document:
    return {"kind": "User", "name": name}


def scaffold(namespace: str) -> Iterator[Document]:
    """A namespace in which authors and the controller have their usual rights."""
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
        "imagePullSecrets": [{"name": PULL_SECRET}],
    }
    for name, verbs in ((REVIEWER, ["create", "update", "review"]), (WRITER, ["create", "update"])):
        yield {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": [names.GROUP], "resources": ["agentskills"], "verbs": verbs}],
        }
        yield role_binding(name, namespace, user(name), kind="Role")
    # Someone who may submit runs, and read one ConfigMap, and nothing else.
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": NEWCOMER, "namespace": namespace},
        "rules": [
            {"apiGroups": [names.GROUP], "resources": ["agentruns"], "verbs": ["create"]},
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": ["settings"],
                "verbs": ["get"],
            },
        ],
    }
    yield role_binding(NEWCOMER, namespace, user(NEWCOMER), kind="Role")
    yield role_binding("anchorhold-author", namespace, user(AUTHOR), user(LONG_NAMED))
    yield role_binding(f"{names.CONTROLLER}-tenant", namespace, controller())
    yield role_binding(f"{names.GATEWAY_ACCOUNT}-tenant", namespace, gateway())


def role_binding(
    role: str, namespace: str, *subjects: Document, kind: str = "ClusterRole"
) -> Document:
    rbac = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": namespace},
        "roleRef": {"apiGroup": rbac, "kind": kind, "name": role},
        "subjects": list(subjects),
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
