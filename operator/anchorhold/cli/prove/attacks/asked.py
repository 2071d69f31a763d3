"""Attacks on the API server's word: dry runs, with the user's own identity or the controller's."""

import copy
import json
from collections.abc import Callable
from typing import Any

from anchorhold import names
from anchorhold.cli.api import Answer, Cluster, Document, namespaced
from anchorhold.cli.prove.stage import OUR_LABEL, GaveUpError, Stage, program
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy import quantity

DRY = {"dryRun": "All"}
OTHER_DIGEST = "sha256:" + "0" * 64
GREATEST_TASK = 65_536
SERVERS_OWN = ("nodeName", "priority", "preemptionPolicy", "tolerations", "schedulerName")


def refused(what: str, answer: Answer, control: Answer, *words: str) -> Attempt:
    """An attempt that must be refused in these words, where its twin is admitted."""
    said = answer.refusal
    held = bool(said) and all(word in said for word in words)
    seen = shortened(said) if said else "admitted"
    wanted = f"refused, naming {' '.join(words)}" if words else "refused"
    without = shortened(control.refusal) or "admitted"
    return Attempt(what, wanted, seen, without, held, not control.refusal)


def shortened(text: str) -> str:
    """The last part of a refusal is what matters."""
    return text if len(text) <= 160 else f"…{text[-160:]}"  # noqa: PLR2004  # a line


def dry_run(stage: Stage, **spec: Any) -> Answer:  # noqa: ANN401
    """Submit a run without making it."""
    return stage.cluster.ask("POST", stage.runs(), stage.run("asked", **spec), DRY)


def c04(stage: Stage) -> list[Attempt]:
    """Each limit, and one more."""
    limits = stage.policy["limits"]
    seconds = limits["activeDeadlineSeconds"]
    cpu, memory = limits["cpu"], limits["memory"]
    rows: tuple[tuple[str, Callable[[Any], Document], Any, Any], ...] = (
        ("activeDeadlineSeconds", lambda v: {"activeDeadlineSeconds": v}, seconds, seconds + 1),
        ("resources.cpu", lambda v: {"resources": {"cpu": v}}, cpu, more_cpu(cpu)),
        ("resources.memory", lambda v: {"resources": {"memory": v}}, memory, more_memory(memory)),
        (
            "workspace.sizeLimit",
            lambda v: {"workspace": {"sizeLimit": v}},
            limits["workspace"],
            more_memory(limits["workspace"]),
        ),
    )
    found = []
    for field, spec, limit, above in rows:
        attempt, control = dry_run(stage, **spec(above)), dry_run(stage, **spec(limit))
        found.append(refused(f"{field} of {above}", attempt, control, f"`{field}`"))
    rule = {"egress": {"rules": [{"name": "no-such-rule"}]}}
    found.append(refused("a rule of no policy", dry_run(stage, **rule), dry_run(stage), "egress"))
    return found


def more_cpu(cpu: str) -> str:
    """A thousandth of a CPU more."""
    return f"{quantity.millicores(cpu) + 1}m"


def more_memory(memory: str) -> str:
    """A mebibyte more."""
    return f"{quantity.mebibytes(memory) + 1}Mi"


def c22(stage: Stage) -> list[Attempt]:
    """What is not what the policy lists by its digest."""
    repository, control = stage.image.partition("@")[0], dry_run(stage)
    mutable = {"inputs": [{"name": "input", "configMap": {"name": "kube-root-ca.crt-not"}}]}
    rows = (
        ("an image by tag", {"image": f"{repository}:latest"}, "sha256:"),
        ("the image with another digest", {"image": f"{repository}@{OTHER_DIGEST}"}, "`image`"),
        ("a skill of no policy", {"skills": [{"name": "no-such-skill"}]}, "`skills"),
        ("an image of no policy as input",
         {"inputs": [{"name": "input", "image": {"reference": f"{repository}-x@{OTHER_DIGEST}"}}]},
         "`inputs"),
    )  # fmt: skip
    allowed = [row["name"] for row in stage.policy.get("inputs", {}).get("configMaps", [])]
    found = [refused(what, dry_run(stage, **spec), control, word) for what, spec, word in rows]
    if "*" not in allowed:
        found.append(
            refused("a ConfigMap of no policy", dry_run(stage, **mutable), control, "`inputs")
        )
    return found


def c27(stage: Stage) -> list[Attempt]:
    """Keep a run from being deleted, or its cell from going along."""
    name = stage.submit("kept")
    path, ask = stage.runs(name), stage.cluster.ask
    label = ask("PATCH", path, {"metadata": {"labels": {"color": "blue"}}}, DRY)
    finalizer = ask("PATCH", path, {"metadata": {"finalizers": ["example.com/forever"]}}, DRY)
    gone, orphaned = (
        ask("DELETE", path, {"dryRun": ["All"], "propagationPolicy": policy})
        for policy in ("Background", "Orphan")
    )
    stage.cluster.delete(path)
    return [
        refused("add a finalizer", finalizer, label, "`metadata.finalizers`"),
        refused("delete it and leave the cell", orphaned, gone, "`propagationPolicy`"),
    ]


def c28(stage: Stage) -> list[Attempt]:
    """One character, variable, argument or input more than there may be."""
    at_most = dry_run(stage, task="x" * GREATEST_TASK)
    env = [{"name": f"V{number}", "value": ""} for number in range(33)]
    rows: tuple[tuple[str, Document], ...] = (
        ("a task of 64 KiB and one character", {"task": "x" * (GREATEST_TASK + 1)}),
        ("33 variables", {"env": env}),
        ("an argument of 1,025 characters", {"args": ["x" * 1_025]}),
        ("33 arguments", {"args": ["x"] * 33}),
    )
    found = [refused(what, dry_run(stage, **spec), at_most) for what, spec in rows]
    name = "x" * 53
    long_named = stage.run("long")
    long_named["metadata"]["name"] = name
    answer = stage.cluster.ask("POST", stage.runs(), long_named, DRY)
    found.append(refused("a name of 53 characters", answer, at_most))
    found.append(quota(stage))
    return found


def quota(stage: Stage) -> Attempt:
    """Whether anybody counts them. Who may not read quotas learns nothing of it."""
    answer = stage.cluster.ask("GET", namespaced(stage.namespace, "resourcequotas"))
    items = answer.body.get("items", []) if not answer.refusal else []
    counted = {key for item in items for key in item["spec"].get("hard", {})}
    wanted = {f"count/agentruns.{names.GROUP}", "count/pods", "configmaps"}
    missing = wanted - counted
    seen = "counted" if not missing else f"not counted: {', '.join(sorted(missing))}"
    return Attempt(
        "objects without number", "counted", seen if not answer.refusal else answer.refusal,
        "the quota is there to be read", bool(answer.refusal) or not missing,
        shown=not answer.refusal, optional=True,
    )  # fmt: skip


def c29(stage: Stage) -> list[Attempt]:
    """Ask to be forgotten too soon."""
    least = int(stage.policy.get("minRetentionSeconds", 0))
    if not least:
        return []
    early, exact = (dry_run(stage, ttlSecondsAfterFinished=ttl) for ttl in (least - 1, least))
    return [refused(f"to go after {least - 1} s", early, exact, "`ttlSecondsAfterFinished`")]


# ---- about a cell that lives -----------------------------------------------------------------


def c05(stage: Stage) -> list[Attempt]:
    """Do to a cell what may be done to any other Pod."""
    run = stage.submit("host", program("deaf", {}))
    stage.until(run, "Running")
    cell, other = stage.pod_of(run), stage.start("other", program("deaf", {}))
    stage.address(other)
    path = namespaced(stage.namespace, "pods", cell["metadata"]["name"])
    twin = namespaced(stage.apart, "pods", other)
    found = [refused("create a cell", *created(stage, cell))]
    for what, method, tail, document in STEPS:
        attempt, control = (
            stage.cluster.ask(method, where + tail, document, DRY if document else ASKED)
            for where in (path, twin)
        )
        found.append(stepped(what, attempt, control))
    stage.cluster.delete(stage.runs(run))
    return found


ASKED = {"command": "true", "stdout": "true"}
ADDED: Document = {"spec": {"ephemeralContainers": [{"name": "in", "image": "example.com/in"}]}}
# A request that would step in is not upgraded, so that nothing happens where it is admitted.
STEPS: tuple[tuple[str, str, str, Document | None], ...] = (
    ("relabel it", "PATCH", "", {"metadata": {"labels": {names.RUN_LABEL: "another"}}}),
    ("annotate it", "PATCH", "", {"metadata": {"annotations": {names.RULES_ANNOTATION: "{}"}}}),
    ("lengthen its life", "PATCH", "", {"metadata": {"finalizers": ["example.com/forever"]}}),
    ("exec", "GET", "/exec", None),
    ("attach", "GET", "/attach", None),
    ("port-forward", "GET", "/portforward", None),
    ("add a container", "PATCH", "/ephemeralcontainers", ADDED),
)
FORBIDDEN, UNPROCESSABLE, MISDIRECTED = 403, 422, 400


def stepped(what: str, answer: Answer, control: Answer) -> Attempt:
    """Refused means by rights or by admission; a request that lacks an upgrade got past both."""
    denied = ("denied request", "forbidden", "cannot ")

    def passed(reply: Answer) -> bool:
        return not any(word in reply.refusal for word in denied)

    seen, without = (shortened(r.refusal) or "admitted" for r in (answer, control))
    return Attempt(what, "refused", seen, without, not passed(answer), passed(control))


def created(stage: Stage, cell: Document) -> tuple[Answer, Answer]:
    """The same Pod here and where nothing fences."""
    here = namespaced(stage.namespace, "pods")
    apart, alone = namespaced(stage.apart, "pods"), as_posted(cell, stage.unique("copy"))
    alone["metadata"] = {"name": alone["metadata"]["name"]}
    alone["spec"]["serviceAccountName"] = alone["spec"]["serviceAccount"] = "default"
    copied = as_posted(cell, stage.unique("copy"))
    return (
        stage.cluster.ask("POST", here, copied, DRY),
        stage.cluster.ask("POST", apart, alone, DRY),
    )


def as_posted(cell: Document, name: str) -> Document:
    """A cell as the controller posts it."""
    found = copy.deepcopy(cell)
    found.pop("status", None)
    keep = ("namespace", "labels", "annotations", "ownerReferences")
    found["metadata"] = {k: v for k, v in found["metadata"].items() if k in keep} | {"name": name}
    for added in SERVERS_OWN:
        found["spec"].pop(added, None)
    for volume in found["spec"].get("volumes", ()):
        if volume["name"] == "task":
            volume["configMap"]["name"] = name
    return found


# ---- with a token of somebody else -----------------------------------------------------------


def acting_as(stage: Stage, namespace: str, account: str) -> Cluster:
    """With a ServiceAccount's own token, for ten minutes. Raises RefusedError."""
    path = f"{namespaced(namespace, 'serviceaccounts', account)}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
             "spec": {"expirationSeconds": 600}}  # fmt: skip
    return stage.cluster.with_token(stage.cluster.post(path, asked)["status"]["token"])


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
        document["metadata"]["name"] = cell["metadata"]["name"]
        if change:
            change(document)
        return them.ask("POST", pods, fresh(document), DRY)

    def fresh(document: Document) -> Document:
        # Its own name is taken by the pattern; admission speaks before the store does.
        document["metadata"]["name"] = f"{cell['metadata']['name'][:-1]}z"
        for volume in document["spec"]["volumes"]:
            if volume["name"] == "task":
                volume["configMap"]["name"] = document["metadata"]["name"]
        return document

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
    "a second container": with_container,
    "no netgate": without_netgate,
}


def c26(stage: Stage) -> list[Attempt]:
    """What a stolen token of the controller's is not good for."""
    them = controller(stage)
    needed = them.ask("GET", stage.runs())
    there = stage.namespace
    role = "/apis/rbac.authorization.k8s.io/v1"
    policies = namespaced(names.POLICY_NAMESPACE, "agentpolicies", "", names.API_VERSION)
    policy = stage.policies[0]["metadata"]["name"]
    rows: tuple[tuple[str, str, str, Document | None], ...] = (
        ("read the Secrets of its namespace", "GET", "/api/v1/namespaces/anchorhold-system/secrets", None),
        ("read the gateway's Secrets", "GET", "/api/v1/namespaces/anchorhold-gateway/secrets", None),
        ("read the Secrets of a run namespace", "GET", namespaced(there, "secrets"), None),
        ("change a policy", "PATCH", f"{policies}/{policy}", {"spec": {"suspend": False}}),
        ("list nodes", "GET", "/api/v1/nodes", None),
        ("bind a role", "POST", f"{role}/clusterrolebindings", binding()),
        ("make a namespace", "POST", "/api/v1/namespaces", named("Namespace")),
        ("submit a run", "POST", stage.runs(), stage.run("asked")),
        ("open the network", "POST",
         namespaced(there, "networkpolicies", "", "networking.k8s.io/v1"), opening()),
        ("mint a token", "POST",
         namespaced(there, "serviceaccounts", names.CELL_SERVICE_ACCOUNT) + "/token", tokens()),
    )  # fmt: skip
    found = [
        refused(what, them.ask(method, path, document, DRY if document else None), needed)
        for what, method, path, document in rows
    ]
    return found


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


ATTACKS = {
    "C02": c02, "C04": c04, "C05": c05, "C06": c06, "C22": c22, "C26": c26, "C27": c27, "C28": c28,
    "C29": c29,
}  # fmt: skip
