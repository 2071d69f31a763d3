"""A namespace for `kubectl anchorhold prove` on the test cluster, and the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

from anchorhold.cli import packing
from bed.installation import CHECKOUT, CLUSTER, GATEWAY, POLICIES, SYSTEM, Installation, policy
from bed.kube import Document, Kubectl, wait_for
from onenode import settings

TIERS: dict[str, Document] = {
    "prove-users": {"isolation": "UserNamespace"},
    "prove-gvisor": {"isolation": "RuntimeClass", "runtimeClassName": "gvisor"},
}
SECRET = "sk-only-the-gateway-has-it"  # noqa: S105  # it opens nothing
CREDENTIAL = {"secretName": "prove-echo", "key": "key"}
# Hosts of these repeat what they are told: in a body, in a header and in pieces, in a tunnel.
ECHOES: list[Document] = [
    {"name": "prove-echo", "host": "files.test", "methods": ["GET"], "paths": ["/echo"],
     "credential": CREDENTIAL},
    {"name": "prove-echo-pieces", "host": "files.test", "methods": ["GET"], "paths": ["/repeat"],
     "credential": CREDENTIAL},
    {"name": "prove-echo-read", "host": "files.test", "methods": ["GET"], "paths": ["/repeat"],
     "credential": CREDENTIAL, "mode": "Intercept"},
]  # fmt: skip
LEADING_INWARD = ("metadata.test", "api-server.test", "service.test", "loopback.test", "mixed.test")
INWARD: list[Document] = [
    *(
        {"name": f"prove-inward-{place}", "host": host, "methods": ["GET"], "paths": ["/**"]}
        for place, host in enumerate(LEADING_INWARD)
    ),
    {"name": "prove-inward-tunnel", "host": "forbidden.test", "mode": "Connect"},
    {"name": "prove-inward-read", "host": "mapped.test", "mode": "Intercept",
     "methods": ["GET"], "paths": ["/**"]},
]  # fmt: skip
RULES: list[Document] = [
    {"name": "model", "host": "model.test", "methods": ["GET", "POST"], "paths": ["/v1/**"]},
    {"name": "files", "host": "files.test", "methods": ["GET"], "paths": ["/digest"]},
    {"name": "other", "host": "a.wild.test", "methods": ["GET"], "paths": ["/**"]},
    {"name": "tunnel", "host": "model.test", "mode": "Connect"},
    {"name": "read", "host": "files.test", "mode": "Intercept", "methods": ["GET"],
     "paths": ["/v1/**"]},
    *ECHOES,
    *INWARD,
]  # fmt: skip
SKILL = packing.agent_skill(CHECKOUT / "skills" / "summarise-repository")
# What plays the internet on the test cluster.
INTERNET = ":".join(map(str, settings.WORLD_SERVERS[0]))
SWITCH = f"env PYTHONPATH={CHECKOUT / 'tests'} {sys.executable} -m proving.enforcer"
EVERYTHING = (
    "--allow-unfenced", "--disruptive", "--destructive",
    "--enforcer-off", f"{SWITCH} off", "--enforcer-on", f"{SWITCH} on",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One namespace of one tier."""

    bed: Installation
    namespace: str

    def onboard(self, **spec: object) -> None:
        """Write the policy, bind the namespace to it, and wait until a run is admitted."""
        kubectl = self.bed.kubectl
        if self.namespace == "prove-gvisor":
            kubectl.apply(runtime_class())
        image = built(self.bed)
        more = {
            **TIERS[self.namespace],
            "inputs": {"configMaps": [{"name": "*"}]},
            "minRetentionSeconds": 60,
            "egress": {"rules": RULES},
            "skills": [{"name": SKILL["metadata"]["name"], "digest": SKILL["spec"]["digest"]}],
            **spec,
        }
        written = policy(self.namespace, image, **more)
        written["spec"]["limits"] |= {"cpu": "8", "memory": "512Mi", "activeRuns": 8}
        kubectl.apply(written)
        kubectl.apply(credential(*TIERS))
        kubectl.apply(SKILL)
        self.bed.tenant(self.namespace, self.namespace)
        wait_for(lambda: admits(kubectl, self.namespace, image), 60, "a run to be admitted")

    def until_whole(self) -> None:
        """Return once a run completes again: the API server and the controller learn late."""
        image = built(self.bed)
        wait_for(
            lambda: completes(self.bed.kubectl, self.namespace, image), 180, "a run to complete"
        )

    def prove(self, *words: str) -> tuple[int, Document]:
        """Run the command as a user does; returns its exit status and what it says as JSON."""
        status, said = self.run("--output", "json", *words)
        return status, dict(json.loads(said)) if said else {}

    def run(self, *words: str) -> tuple[int, str]:
        """The same, and whatever it says."""
        with self.start(*words) as running:
            said, _ = running.communicate()
        return running.returncode, said

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The same, and nobody waits for it."""
        command = [
            sys.executable, "-m", "anchorhold.cli", "prove", "--namespace", self.namespace,
            "--kubeconfig", str(CLUSTER / "kubeconfig"), "--internet", INTERNET, *words,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "operator")}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def remove(self) -> None:
        """Take the namespace away, and what outlives its release."""
        kubectl = self.bed.kubectl
        words = ("--namespace", SYSTEM, "--ignore-not-found")
        self.bed.helm("uninstall", self.namespace, *words)
        kind = "validatingadmissionpolicybinding"
        for each in kubectl.items(f"{kind}s"):
            if each["metadata"]["name"].endswith(f".{self.namespace}"):
                kubectl.delete(kind, each["metadata"]["name"])
        kubectl.delete("agentpolicy", self.namespace, POLICIES)
        kubectl.delete("namespace", self.namespace, "", "--wait=true")


@cache
def built(bed: Installation) -> str:
    """Our own image, built once."""
    return bed.controller_image


def runtime_class() -> Document:
    """The node's second runtime."""
    return {
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"},
        "handler": "runsc",
    }  # fmt: skip


def credential(*policies: str) -> Document:
    """The Secret of the rule whose upstream repeats what it is told."""
    annotations = {
        "anchorhold.dev/hosts": "files.test",
        "anchorhold.dev/policies": " ".join(policies),
    }
    metadata = {"name": "prove-echo", "namespace": GATEWAY, "annotations": annotations}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {"key": SECRET},
    }


def completes(kubectl: Kubectl, namespace: str, image: str) -> bool:
    """Whether a new run does; it is deleted again."""
    run = asked(namespace, image)
    if kubectl.run("create", "-f", "-", stdin=json.dumps(run)).returncode:
        return False
    try:
        return wait_for(lambda: ended(kubectl, namespace), 90, "a run to end") == "Completed"
    finally:
        kubectl.delete("agentrun", "asked", namespace)


def ended(kubectl: Kubectl, namespace: str) -> str:
    """Why the run has ended, if it has."""
    run = kubectl.get("agentrun", "asked", namespace) or {"status": {"conditions": []}}
    found = [c for c in run["status"]["conditions"] if c["type"] == "Succeeded"]
    return "".join(str(c["reason"]) for c in found if c["status"] != "Unknown")


def asked(namespace: str, image: str) -> Document:
    """A run that does nothing."""
    return {
        "apiVersion": "anchorhold.dev/v1alpha1", "kind": "AgentRun",
        "metadata": {"name": "asked", "namespace": namespace},
        "spec": {
            "task": "x", "image": image, "command": ["python3", "-c", "pass"],
            "resources": {"cpu": "200m", "memory": "64Mi"},
        },
    }  # fmt: skip


def admits(kubectl: Kubectl, namespace: str, image: str) -> bool:
    """Whether a run is taken: the API server learns of a policy a moment later."""
    run = asked(namespace, image)
    words = ("create", "-f", "-", "--dry-run=server")
    return kubectl.run(*words, stdin=json.dumps(run)).returncode == 0
