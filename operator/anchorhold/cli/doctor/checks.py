"""What is well and what is not: pure, from what the API server says.

Each check is given everything that was read, and returns findings with what to do about them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from anchorhold import names
from anchorhold.cli.api import Document

MINIMUM = (1, 36)
# Those that enforce NetworkPolicies, as their DaemonSets are named, and those that do not.
ENFORCERS = ("calico", "cilium", "kube-router", "antrea", "ovnkube", "weave", "kube-ovn", "canal")
BLIND = ("flannel",)


class State(StrEnum):
    """How it looks."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was seen, and what to do about it."""

    what: str
    state: State
    seen: str
    remedy: str = ""


@dataclass(frozen=True)
class Seen:
    """Everything that was read: lists by kind, or why a kind could not be read."""

    version: str
    items: Mapping[str, list[Document]]
    refused: Mapping[str, str]


def judged(what: str, good: bool, seen: str, remedy: str) -> Finding:  # noqa: FBT001
    """Good, or bad with a remedy."""
    return Finding(what, State.GOOD if good else State.BAD, seen, "" if good else remedy)


def versions(seen: Seen) -> list[Finding]:
    """The API server and each kubelet are new enough."""
    found = [version("API server", seen.version)]
    for node in seen.items["nodes"]:
        kubelet = node["status"]["nodeInfo"]["kubeletVersion"]
        found.append(version(f"kubelet of {name(node)}", kubelet))
    return found


def version(what: str, text: str) -> Finding:
    """At least what the project needs."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", text)[:2])
    needed = ".".join(map(str, MINIMUM))
    return judged(what, numbers >= MINIMUM, text, f"upgrade to Kubernetes {needed} or newer")


def network(seen: Seen) -> list[Finding]:
    """Something enforces NetworkPolicies: the sentinels know, and names are a hint."""
    daemons = {name(each): each for each in seen.items["daemonsets"]}
    guards = figures(daemons[names.SENTINEL]) if names.SENTINEL in daemons else (0, 0)
    hints = [each for each in sorted(daemons) if any(word in each for word in (*ENFORCERS, *BLIND))]
    if guards[1] >= guards[0] > 0:
        told = (
            f"the sentinels find every fence closed ({', '.join(hints) or 'no name that is known'})"
        )
        return [Finding("network enforcer", State.GOOD, told)]
    blind = [each for each in hints if any(word in each for word in BLIND)]
    state = State.BAD if blind else State.UNKNOWN
    remedy = (
        "install a CNI that enforces NetworkPolicies: `prove --only C09` shows whether one does"
    )
    return [Finding("network enforcer", state, ", ".join(hints) or "none that is known", remedy)]


def user_namespaces(seen: Seen) -> list[Finding]:
    """Each node's runtime can make them, and mount read-only all the way down."""
    found = []
    for node in seen.items["nodes"]:
        handlers = node["status"].get("runtimeHandlers", [])
        default: Document = next((each for each in handlers if not each.get("name")), {})
        features = default.get("features", {})
        for feature, what in FEATURES.items():
            good = bool(features.get(feature))
            runtime = node["status"]["nodeInfo"]["containerRuntimeVersion"]
            remedy = "use containerd 2 or newer with runc 1.2 or newer on Linux 6.3 or newer"
            found.append(judged(f"{what} on {name(node)}", good, runtime, remedy))
    return found


FEATURES = {
    "userNamespaces": "user namespaces",
    "recursiveReadOnlyMounts": "recursive read-only mounts",
}


def workloads(seen: Seen) -> list[Finding]:
    """Everything of ours runs: controller, canary, sentinels, the profile on nodes, the gateway."""
    found = []
    for kind, label, remedy in OURS:
        mine = [each for each in seen.items[kind] if name(each) == label]
        if not mine and label in OPTIONAL:
            found.append(Finding(label, State.GOOD, "not installed"))
            continue
        wanted, ready = figures(mine[0]) if mine else (1, 0)
        good = ready >= wanted > 0
        found.append(judged(label, good, f"{ready} of {wanted} ready", remedy))
    return found


OURS = (
    ("deployments", names.CONTROLLER, "read its log: nothing starts without it"),
    ("deployments", names.CANARY, "look at its Pod: no run starts without it"),
    ("daemonsets", names.SENTINEL, "one that is not ready sees an open fence: `prove --only C09`"),
    ("daemonsets", "anchorhold-seccomp", "on nodes without it runs end as ProfileMissing"),
    ("statefulsets", names.GATEWAY, "runs with egress end as GatewayUnavailable"),
)
OPTIONAL = (names.GATEWAY, "anchorhold-seccomp")


def figures(document: Document) -> tuple[int, int]:
    """How many there should be, and how many are ready."""
    status = document.get("status", {})
    if "desiredNumberScheduled" in status:
        return status["desiredNumberScheduled"], status.get("numberReady", 0)
    return document["spec"].get("replicas", 1), status.get("readyReplicas", 0)


def admission(seen: Seen) -> list[Finding]:
    """Every admission policy is there, fails closed, and has no warning."""
    known = {name(each): each for each in seen.items["validatingadmissionpolicies"]}
    found = []
    for each in ("anchorhold-onboarding", *names.LIMITS_POLICIES, *names.FLOOR_POLICIES):
        document = known.get(each)
        closed = document is not None and document["spec"].get("failurePolicy", "Fail") == "Fail"
        warned = bool(
            (document or {}).get("status", {}).get("typeChecking", {}).get("expressionWarnings")
        )
        state = (
            "missing" if document is None else "fails open" if not closed else "has type warnings"
        )
        good = closed and not warned
        remedy = "install the chart anchorhold again: helm upgrade"
        found.append(judged(each, good, "in force" if good else state, remedy))
    return found


def tenants(seen: Seen) -> list[Finding]:
    """Each onboarded namespace has its whole fence, and a policy that exists."""
    found = []
    for namespace in seen.items["namespaces"]:
        if names.TENANT_LABEL in namespace["metadata"].get("labels", {}):
            faults = missing(seen, namespace)
            remedy = f"install the chart anchorhold-tenant again for '{name(namespace)}'"
            told = ", ".join(faults) or "whole"
            found.append(judged(f"fence of {name(namespace)}", not faults, told, remedy))
    return found or [
        Finding("run namespaces", State.UNKNOWN, "none", "onboard one: anchorhold-tenant")
    ]


def missing(seen: Seen, namespace: Document) -> list[str]:
    """What a namespace's fence lacks."""
    own = name(namespace)
    bound = [
        each["spec"]
        for each in seen.items["validatingadmissionpolicybindings"]
        if selected(each) == own and each["spec"].get("validationActions") == ["Deny"]
    ]
    here = {spec["policyName"] for spec in bound}
    wanted = (*names.LIMITS_POLICIES, *names.FLOOR_POLICIES)
    faults = [f"no {each}" for each in wanted if each not in here]
    policies = {spec["paramRef"]["name"] for spec in bound if "paramRef" in spec}
    known = {name(each): each["spec"].get("suspend", False) for each in seen.items["agentpolicies"]}
    faults += [f"AgentPolicy '{each}' does not exist" for each in sorted(policies - set(known))]
    faults += [f"AgentPolicy '{each}' is suspended" for each in sorted(policies) if known.get(each)]
    walls = [name(w) for w in seen.items["networkpolicies"] if w["metadata"]["namespace"] == own]
    faults += [] if names.DEFAULT_DENY in walls else [f"no NetworkPolicy {names.DEFAULT_DENY}"]
    level = namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
    return [*faults, *([] if level == "restricted" else ["not Pod Security 'restricted'"])]


def selected(binding: Document) -> str:
    """The namespace that a binding is about."""
    resources = binding["spec"].get("matchResources", {})
    labels = resources.get("namespaceSelector", {}).get("matchLabels", {})
    return str(labels.get(names.NAMESPACE_LABEL, ""))


def name(document: Mapping[str, Any]) -> str:
    """An object's name."""
    return str(document["metadata"]["name"])


Check = Callable[[Seen], list[Finding]]
# Each check, and the kinds that it looks at.
CHECKS: tuple[tuple[Check, tuple[str, ...]], ...] = (
    (versions, ("nodes",)),
    (user_namespaces, ("nodes",)),
    (network, ("daemonsets",)),
    (workloads, ("deployments", "daemonsets", "statefulsets")),
    (admission, ("validatingadmissionpolicies",)),
    (
        tenants,
        ("namespaces", "validatingadmissionpolicybindings", "agentpolicies", "networkpolicies"),
    ),
)


def all_findings(seen: Seen) -> list[Finding]:
    """Everything. What could not be read is unknown, and never good."""
    found = []
    for check, kinds in CHECKS:
        denied = [kind for kind in kinds if kind in seen.refused]
        if denied:
            what = check.__name__.replace("_", " ")
            remedy = f"ask for the right to list {', '.join(denied)}"
            found.append(Finding(what, State.UNKNOWN, seen.refused[denied[0]], remedy))
        else:
            found += check(seen)
    return found
