"""Fences that a test breaks on purpose, one at a time, and the claims that `prove` must find so.

`red` are the claims that fail. Where the product starts nothing with a fence broken, what needs a
cell is not tested, and that is no green either.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from anchorhold import names
from bed.installation import CLUSTER, SYSTEM
from bed.kube import Document, Kubectl, wait_for
from bed.profile import NAME
from damage import altered, binding, removed
from enforcement import without_enforcer

NODE = "anchorhold-node"
ON_THE_NODE = CLUSTER / "node" / "kubelet" / "seccomp" / NAME
NOTHING_REFUSED = {"validations": [{"expression": "true"}], "variables": []}
FORGED = "eyJ" + "f" * 20 + ".eyJ" + "g" * 20 + "." + "h" * 20
Breaking = Callable[[Kubectl, str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Sabotage:
    """One broken fence."""

    what: str
    breaks: Breaking
    red: str

    def __str__(self) -> str:
        return self.what


def unbound(admission: str) -> Breaking:
    """Without one binding of the namespace."""

    def breaks(kubectl: Kubectl, namespace: str) -> AbstractContextManager[None]:
        kind = "validatingadmissionpolicybinding"
        return removed(kubectl, kind, binding(kubectl, namespace, admission))

    return breaks


def emptied(admission: str) -> Breaking:
    """With an admission policy that refuses nothing."""

    def breaks(kubectl: Kubectl, _: str) -> AbstractContextManager[None]:
        return altered(kubectl, "validatingadmissionpolicy", admission, NOTHING_REFUSED)

    return breaks


def without_quota(kubectl: Kubectl, namespace: str) -> AbstractContextManager[None]:
    """Nobody counts."""
    return removed(kubectl, "resourcequota", "anchorhold", namespace)


@contextmanager
def granted(kubectl: Kubectl, role: str, account: str, namespace: str) -> Iterator[None]:
    """A ServiceAccount with the rights of a ClusterRole, everywhere."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    kubectl.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "sabotage"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": role,
            },
            "subjects": [subject],
        }
    )
    try:
        yield
    finally:
        kubectl.delete("clusterrolebinding", "sabotage")


def mighty_controller(kubectl: Kubectl, _: str) -> AbstractContextManager[None]:
    """The controller is an administrator."""
    return granted(kubectl, "cluster-admin", names.CONTROLLER, SYSTEM)


def mighty_cells(kubectl: Kubectl, namespace: str) -> AbstractContextManager[None]:
    """The cells' account may do anything with policies."""
    return granted(kubectl, "cluster-admin", names.CELL_SERVICE_ACCOUNT, namespace)


def nobody_enforces(*_: object) -> AbstractContextManager[None]:
    """Nobody enforces NetworkPolicies."""
    return without_enforcer()


@contextmanager
def open_profile(kubectl: Kubectl, _: str) -> Iterator[None]:
    """The node's profile of that very name allows everything, and nobody puts it right."""
    kept = ON_THE_NODE.read_bytes()
    select(kubectl, {"no-such": "node"})
    wait_for(lambda: not kubectl.items("pods", NODE), 60, "the installer to be gone")
    ON_THE_NODE.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}), encoding="ascii")
    try:
        yield
    finally:
        ON_THE_NODE.write_bytes(kept)
        select(kubectl, {"no-such": None})


def select(kubectl: Kubectl, labels: dict[str, str | None]) -> None:
    """Choose the nodes that get the profile."""
    change = {"spec": {"template": {"spec": {"nodeSelector": labels}}}}
    words = ("patch", "daemonset", "anchorhold-seccomp", "-n", NODE, "--type=merge", "-p")
    kubectl(*words, json.dumps(change))


def changed_cells(expression: str, *refusing: str) -> Breaking:
    """Somebody with the rights of an administrator changes cells on their way in."""

    @contextmanager
    def breaks(kubectl: Kubectl, namespace: str) -> Iterator[None]:
        with ExitStack() as stack:
            for admission in ("anchorhold-pod-floor", *refusing):
                stack.enter_context(emptied(admission)(kubectl, namespace))
            for document in mutation(namespace, expression):
                kubectl.apply(document)
            try:
                yield
            finally:
                for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
                    kubectl.delete(kind, "sabotage")

    return breaks


def mutation(namespace: str, expression: str) -> tuple[Document, Document]:
    """A MutatingAdmissionPolicy for the Pods of a namespace, and its binding."""
    version = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
    }  # fmt: skip
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    labels = {names.NAMESPACE_LABEL: namespace}
    bound = {
        "policyName": "sabotage",
        "matchResources": {"namespaceSelector": {"matchLabels": labels}},
    }
    common = {"apiVersion": version, "metadata": {"name": "sabotage"}}
    return (
        {**common, "kind": "MutatingAdmissionPolicy", "spec": spec},
        {**common, "kind": "MutatingAdmissionPolicyBinding", "spec": bound},
    )


AGENT = "/spec/containers/0"
LEAK = (
    f'[JSONPatch{{op: "add", path: "{AGENT}/env/-", '
    f'value: Object.spec.containers.env{{name: "LEAK", value: "{FORGED}"}}}}]'
)
WRITABLE = (
    f'[JSONPatch{{op: "replace", path: "{AGENT}/securityContext/readOnlyRootFilesystem", '
    "value: false}]"
)
OF_THE_NODE = '[JSONPatch{op: "replace", path: "/spec/hostUsers", value: true}]'
SABOTAGES = (
    Sabotage("no limits for runs", unbound("anchorhold-run-limits"), "C04 C22 C29"),
    Sabotage("no integrity of runs", unbound("anchorhold-run-integrity"), "C27"),
    Sabotage("the door is open", unbound("anchorhold-no-interactive"), "C05"),
    Sabotage("no floor for Pods", unbound("anchorhold-pod-floor"), "C05"),
    Sabotage("no floor for NetworkPolicies", unbound("anchorhold-network-floor"), "C26"),
    Sabotage("a floor without rules", emptied("anchorhold-pod-floor"), "C05 C06"),
    Sabotage("limits of Pods without rules", emptied("anchorhold-pod-limits"), "C06"),
    Sabotage("no quota", without_quota, "C28"),
    Sabotage("a controller with every right", mighty_controller, "C26"),
    Sabotage("cells with every right", mighty_cells, "C02"),
    Sabotage("no enforcer", nobody_enforces, "C09"),
    Sabotage("a profile that allows everything", open_profile, "C07 A02"),
    Sabotage("a token in each cell", changed_cells(LEAK), "C01 C05 C06"),
    Sabotage("a writable root", changed_cells(WRITABLE), "C05 C06 C08"),
    # The netgate of such a cell ends it: nothing starts, and nobody can see it from inside.
    Sabotage("user namespaces off", changed_cells(OF_THE_NODE, "anchorhold-pod-limits"), "C05"),
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One line of the gateway that says something else. `file` is below its folder."""

    what: str
    file: str
    old: str
    new: str
    red: str

    def __str__(self) -> str:
        return self.what


EDITS = (
    Edit("every host, method and path passes", "decision.py",
         "            return Verdict(HTTPStatus.FORBIDDEN, rule, cell, target)\n",
         "            rule = cell.rules[0]\n", "C10 C11 C12 C26"),
    Edit("nobody looks where a token comes from", "decision.py",
         "if asked.source != cell.address:", "if False:", "C13"),
    Edit("a suspended policy goes on", "decision.py",
         'return "policy-suspended" if cell.suspended else None', "return None", "C17"),
    Edit("nothing is taken out of replies", "envoy/scrub.lua",
         "if not secret then return end", "do return end", "C14"),
    Edit("no budget is ever spent", "usage/budget.py",
         'return next((k for k, limit in limits.items() if account.used(k) >= limit), "")',
         'return ""', "C12 C26"),
)  # fmt: skip
