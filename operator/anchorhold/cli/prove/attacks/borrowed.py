"""Attacks with a token that is not the user's: a cell's, nobody's, or the controller's own."""

from collections.abc import Callable

from anchorhold import names
from anchorhold.cli.api import Answer, Cluster, Document, namespaced
from anchorhold.cli.prove.attacks.asked import DRY, OTHER_DIGEST, as_posted, refused
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def acting_as(stage: Stage, namespace: str, account: str) -> Cluster:
    """With a ServiceAccount's own token, for ten minutes, that works. Raises RefusedError."""
    path = f"{namespaced(namespace, 'serviceaccounts', account)}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": 600}}  # fmt: skip
    them = stage.cluster.with_token(stage.cluster.post(path, asked)["status"]["token"])
    them.post(REVIEWS, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    return them


def controller(stage: Stage) -> Cluster:
    """The controller's own identity."""
    return acting_as(stage, names.SYSTEM_NAMESPACE, names.CONTROLLER)


def c02(stage: Stage) -> list[Attempt]:
    """The cells' own account, and nobody at all."""
    everybody = {
        "a cell's account": acting_as(stage, stage.namespace, names.CELL_SERVICE_ACCOUNT),
        "nobody": stage.cluster.with_token(""),
    }
    many = namespaced(names.POLICY_NAMESPACE, "agentpolicies", "", names.API_VERSION)
    one = f"{many}/{stage.policies[0]['metadata']['name']}"
    rows: tuple[tuple[str, str, str, Document | None], ...] = (
        ("read it", "GET", one, None),
        ("list them", "GET", many, None),
        ("change it", "PATCH", one, {"spec": {"suspend": False}}),
        ("delete it", "DELETE", one, {"dryRun": ["All"]}),
    )
    found = []
    for what, method, path, document in rows:
        query = DRY if method == "PATCH" else None
        control = stage.cluster.ask(method, path, document, query)
        found += [
            refused(f"{what}, as {who}", them.ask(method, path, document, query), control)
            for who, them in everybody.items()
        ]
    return found


def a_cell(stage: Stage) -> Document:
    """The Pod of a run that completed."""
    name = stage.submit("pattern")
    stage.until(name, "Completed")
    return stage.pod_of(name)


def c06(stage: Stage) -> list[Attempt]:
    """The controller's own Pod with one thing more."""
    cell, them = a_cell(stage), controller(stage)
    pods = namespaced(stage.namespace, "pods")

    def post(change: Callable[[Document], None] | None = None) -> Answer:
        document = as_posted(cell, stage.unique("copy"))
        if change:
            change(document)
        return them.ask("POST", pods, document, DRY)

    control = post()
    return [refused(what, post(change), control) for what, change in CHANGES.items()]


def agent(pod: Document) -> Document:
    """The agent's container."""
    return dict(pod["spec"]["containers"][0])


def with_volume(source: Document) -> Callable[[Document], None]:
    """One volume more."""

    def change(pod: Document) -> None:
        pod["spec"]["volumes"].append({"name": "more", **source})

    return change


def with_spec(**fields: object) -> Callable[[Document], None]:
    """Other words in the Pod's spec."""

    def change(pod: Document) -> None:
        pod["spec"].update(fields)

    return change


def with_security(**fields: object) -> Callable[[Document], None]:
    """Other words in the agent's security context."""

    def change(pod: Document) -> None:
        pod["spec"]["containers"][0]["securityContext"].update(fields)

    return change


def with_container(pod: Document) -> None:
    """A second container like the first."""
    pod["spec"]["containers"].append({**agent(pod), "name": "second"})


def with_image(pod: Document) -> None:
    """An agent that nobody listed."""
    pod["spec"]["containers"][0]["image"] = f"example.com/any@{OTHER_DIGEST}"


def with_memory(pod: Document) -> None:
    """More than any machine has."""
    resources = pod["spec"]["containers"][0]["resources"]
    for kind in ("limits", "requests"):
        resources[kind]["memory"] = "999Gi"


def without_netgate(pod: Document) -> None:
    """Nothing that looks before the agent starts."""
    pod["spec"]["initContainers"] = []


TOKEN = {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}
CHANGES: dict[str, Callable[[Document], None]] = {
    "a folder of the node": with_volume({"hostPath": {"path": "/"}}),
    "a Secret": with_volume({"secret": {"secretName": "any"}}),
    "a token": with_volume({"projected": TOKEN}),
    "the token of its account": with_spec(automountServiceAccountToken=True),
    "the node's network": with_spec(hostNetwork=True),
    "the node's processes": with_spec(hostPID=True),
    "the node's memory": with_spec(hostIPC=True),
    "the node's users": with_spec(hostUsers=True, runtimeClassName=None),
    "another account": with_spec(serviceAccountName="default", serviceAccount="default"),
    "no deadline": with_spec(activeDeadlineSeconds=None),
    "privilege": with_security(privileged=True, allowPrivilegeEscalation=True),
    "a capability": with_security(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}),
    "root": with_security(runAsUser=0, runAsNonRoot=False),
    "a writable root": with_security(readOnlyRootFilesystem=False),
    "no filter": with_security(seccompProfile={"type": "Unconfined"}),
    "an image of no policy": with_image,
    "more than a day": with_spec(activeDeadlineSeconds=86_401),
    "much more memory": with_memory,
    "a second container": with_container,
    "no netgate": without_netgate,
}


def rights(stage: Stage, them: Cluster) -> list[Attempt]:
    """What a stolen token of the controller's is not good for."""
    needed = them.ask("GET", stage.runs())
    there = stage.namespace
    role = "/apis/rbac.authorization.k8s.io/v1"
    policies = namespaced(names.POLICY_NAMESPACE, "agentpolicies", "", names.API_VERSION)
    policy = stage.policies[0]["metadata"]["name"]
    rows: tuple[tuple[str, str, str, Document | None], ...] = (
        ("read its own Secrets", "GET", namespaced(names.SYSTEM_NAMESPACE, "secrets"), None),
        ("read the gateway's", "GET", namespaced(names.GATEWAY_NAMESPACE, "secrets"), None),
        ("read the Secrets of a run namespace", "GET", namespaced(there, "secrets"), None),
        ("change a policy", "PATCH", f"{policies}/{policy}", {"spec": {"suspend": False}}),
        ("list nodes", "GET", "/api/v1/nodes", None),
        ("step into a cell", "GET", namespaced(there, "pods", "prove-nobody") + "/exec", None),
        ("bind a role", "POST", f"{role}/clusterrolebindings", binding()),
        ("make a namespace", "POST", "/api/v1/namespaces", named("Namespace")),
        ("submit a run", "POST", stage.runs(), stage.run("asked")),
        ("open the network", "POST",
         namespaced(there, "networkpolicies", "", "networking.k8s.io/v1"), opening()),
        ("mint a token", "POST",
         namespaced(there, "serviceaccounts", names.CELL_SERVICE_ACCOUNT) + "/token", tokens()),
    )  # fmt: skip
    return [
        refused(what, them.ask(method, path, document, DRY if document else None), needed)
        for what, method, path, document in rows
    ]


def named(kind: str) -> Document:
    """The least of an object."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "prove-never-made"}}


def binding() -> Document:
    """Everything for the controller."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "prove-never-made"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [],
    }


def opening() -> Document:
    """A NetworkPolicy that lets everything out."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "prove-never-made"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }


def tokens() -> Document:
    """A token, please."""
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}


ATTACKS = {"C02": c02, "C06": c06}
