"""What must be known before anything is tried: the namespace's policies, an image, a gateway."""

import secrets
from collections.abc import Iterable

from anchorhold import names
from anchorhold.cli.api import Cluster, Document, namespaced
from anchorhold.cli.prove.props import GaveUpError
from anchorhold.cli.prove.stage import Stage

BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


def stage(
    cluster: Cluster, namespace: str, flags: Iterable[str], image: str = "", policy: str = ""
) -> Stage:
    """A stage for one namespace. Raises GaveUpError, RefusedError or UnreachableError."""
    wanted = [policy] if policy else bound(cluster, namespace)
    policies = tuple(found for name in wanted if (found := read(cluster, name)))
    if not policies:
        raise GaveUpError(
            f"the namespace '{namespace}' must be bound to an AgentPolicy that exists and that you "
            "may read: name it with --policy if you may not list admission bindings"
        )
    given = set(flags) | ({"gateway"} if has_gateway(cluster, policies) else set())
    chosen = choose(cluster, policies, image)
    return Stage(cluster, namespace, chosen, policies, secrets.token_hex(4), frozenset(given))


def bound(cluster: Cluster, namespace: str) -> list[str]:
    """The AgentPolicies that a namespace's admission bindings name."""
    items = (cluster.get(BINDINGS) or {"items": []})["items"]
    return sorted(
        {spec["paramRef"]["name"] for item in items if is_about(spec := item["spec"], namespace)}
    )


def is_about(spec: Document, namespace: str, *admission: str) -> bool:
    """Whether a binding holds runs of this namespace, or its Pods, to an AgentPolicy."""
    selector = spec.get("matchResources", {}).get("namespaceSelector", {}).get("matchLabels", {})
    limits = spec["policyName"] in (admission or names.LIMITS_POLICIES)
    return limits and selector.get(names.NAMESPACE_LABEL) == namespace and "paramRef" in spec


def read(cluster: Cluster, name: str) -> Document | None:
    """One AgentPolicy."""
    path = namespaced(names.POLICY_NAMESPACE, "agentpolicies", name, names.API_VERSION)
    return cluster.get(path)


def has_gateway(cluster: Cluster, policies: tuple[Document, ...]) -> bool:
    """Whether a run could get a way out at all: a rule, and somebody to keep it."""
    rules = [
        rule for policy in policies for rule in policy["spec"].get("egress", {}).get("rules", [])
    ]
    path = namespaced(names.GATEWAY_NAMESPACE, "services", f"{names.GATEWAY}-0")
    answer = cluster.ask("GET", path)
    return bool(rules) and not answer.refusal


def choose(cluster: Cluster, policies: tuple[Document, ...], asked: str) -> str:
    """An image that every policy lists: the asked one, else our own, else the first."""
    lists = [[row["reference"] for row in policy["spec"].get("images", [])] for policy in policies]
    common = [image for image in lists[0] if all(image in each for each in lists)]
    wanted = [asked] if asked else [own(cluster), *common]
    for image in wanted:
        if image in common:
            return image
    raise GaveUpError(
        f"'{asked or 'no image'}' must be an image that the policy lists, and that has Python 3.8 "
        "or newer: add Anchorhold's own to `images`"
    )


def own(cluster: Cluster) -> str:
    """Anchorhold's own image, if the user may see it."""
    path = f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/deployments/{names.CONTROLLER}"
    answer = cluster.ask("GET", path)
    if answer.refusal:
        return ""
    return str(answer.body["spec"]["template"]["spec"]["containers"][0]["image"])


def addresses(cluster: Cluster) -> list[str]:
    """Where a few nodes are, if the user may see them."""
    answer = cluster.ask("GET", "/api/v1/nodes", None, {"limit": "3"})
    items = [] if answer.refusal else answer.body["items"]
    told = [address for node in items for address in node["status"].get("addresses", [])]
    return [
        each["address"] for each in told if each["type"] == "InternalIP" and "." in each["address"]
    ]
