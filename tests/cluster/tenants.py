"""Tenants that come and go: namespaces onboarded for one test module, each with its author."""

from dataclasses import dataclass, field

from agents import Agents
from bed.installation import POLICIES, SYSTEM, Installation, policy
from bed.kube import Document, wait_for
from damage import bindings_of


@dataclass
class Tenants:
    """Onboards namespaces, and removes all that it made."""

    bed: Installation
    image: str
    made: dict[str, Agents] = field(default_factory=dict)
    policies: set[str] = field(default_factory=set)

    def policy(self, document: Document) -> None:
        """Write an AgentPolicy."""
        self.bed.kubectl.apply(document)
        self.policies.add(document["metadata"]["name"])

    def onboard(self, namespace: str, *policies: str, **values: str) -> Agents:
        """Install the tenant chart, or upgrade it; its author is named like the namespace."""
        author = f"author-of-{namespace}"
        self.bed.tenant(namespace, *policies, authors=(author,), **values)
        kubectl = self.bed.kubectl
        seen = kubectl.acting_as(author, "system:authenticated")
        agents = self.made.setdefault(namespace, Agents(seen, kubectl, namespace, self.image))
        agents.until_admitted()
        return agents

    def uninstall(self, namespace: str) -> None:
        """Uninstall the tenant chart."""
        self.bed.helm("uninstall", namespace, "--namespace", SYSTEM, "--wait")

    def remove_all(self) -> None:
        """Uninstall, and delete by hand what is kept then."""
        kubectl = self.bed.kubectl
        for namespace in self.made:
            self.bed.helm("uninstall", namespace, "--namespace", SYSTEM, "--ignore-not-found")
            kubectl.delete("agentruns", "--all", namespace, "--wait=false")
            for binding in bindings_of(kubectl, namespace):
                kubectl.delete("validatingadmissionpolicybinding", binding)
            kubectl.delete("namespace", namespace, "", "--wait=false")
        for namespace in self.made:
            wait_for(lambda n=namespace: not kubectl.get("namespace", n), 120, "it to be gone")
        for name in self.policies:
            kubectl.delete("agentpolicy", name, POLICIES)


def wide_policy(name: str, image: str) -> Document:
    """A policy that allows what the tests ask for, and more CPU than the node has."""
    allowed = {
        "configMaps": [{"name": "*"}],
        "persistentVolumeClaims": [{"name": "*"}],
        "images": [{"reference": image}],
    }
    defaults = {"cpu": "100m", "memory": "64Mi", "activeDeadlineSeconds": 200}
    skills = [{"name": "absent", "digest": f"sha256:{'0' * 64}"}]
    written = policy(name, image, defaults=defaults, inputs=allowed, skills=skills)
    written["spec"]["limits"]["cpu"] = "8"
    written["spec"]["images"] += [{"reference": reference} for reference in unavailable(image)]
    return written


def runtime_class(name: str, handler: str, **more: object) -> Document:
    """A RuntimeClass."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": handler,
        **more,
    }


def unavailable(image: str) -> list[str]:
    """References that the policy allows and no node can get."""
    registry = image.split("/", 1)[0]
    return [
        "203.0.113.10:5999/agent@sha256:" + "2" * 64,
        f"{registry}/tests/agent@sha256:" + "3" * 64,
    ]
