"""Installs Anchorhold into the test cluster the way a user does: images, charts, a tenant."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bed.kube import Document, Kubectl, wait_for
from onenode import settings

CHECKOUT = Path(__file__).resolve().parents[2]
CLUSTER = CHECKOUT / ".cluster"
SYSTEM, POLICIES, GATEWAY = "anchorhold-system", "anchorhold-policies", "anchorhold-gateway"


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command and return its output; what it says meanwhile is seen."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:4])} failed with {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Installation:
    """The cluster at `.cluster`, and what is installed there."""

    @property
    def kubectl(self) -> Kubectl:
        """The cluster as its administrator sees it."""
        return Kubectl(CLUSTER / "bin" / "kubectl", CLUSTER / "kubeconfig")

    def image(self, name: str, context: Path, *options: str) -> str:
        """Build an image, push it into the cluster's registry, return its reference by digest."""
        words = ("-m", "onenode", "image", name, "--context", str(context), *options)
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")}
        return run(sys.executable, *words, env=environment)

    def helm(self, *arguments: str) -> str:
        """Run helm against the cluster."""
        helm = CLUSTER / "bin" / "helm"
        return run(helm, "--kubeconfig", CLUSTER / "kubeconfig", *arguments)

    def chart(self, release: str, chart: str, **values: str) -> None:
        """Install a chart or bring it up to date, and wait until it is ready."""
        settings = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        self.helm(
            "upgrade", "--install", release, str(CHECKOUT / "charts" / chart),
            "--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "120s", *settings,
        )  # fmt: skip

    @property
    def controller_image(self) -> str:
        """Our own image, built from this checkout."""
        return self.image("anchorhold/anchorhold", CHECKOUT)

    @property
    def envoy_image(self) -> str:
        """Envoy, from the wheel that `make envoy` got."""
        where = CHECKOUT / "build" / "envoy" / "envoy" / "_bin"
        recipe = CHECKOUT / "tests" / "gateway" / "Dockerfile"
        return self.image("tests/envoy", where, "--file", str(recipe))

    def controller(self, chart: str = "anchorhold", **values: str) -> None:
        """Install the chart with our own image, or bring it up to date."""
        self.chart("anchorhold", chart, **{"image.reference": self.controller_image, **values})

    def gateway(self, replicas: int = 1) -> None:
        """The same with a gateway, for which one address of `world` is as good as the internet."""
        good, _ = settings.WORLD_TLS[0]
        authorities = (CLUSTER / "node" / "pki" / "ca.crt").read_text(encoding="ascii")
        values = {
            "envoyImage": self.envoy_image,
            "replicas": str(replicas),
            "reachable[0]": f"{good}/32",
            "nameServers[0]": settings.NAME_SERVER[0],
            "certificateAuthorities": authorities,
            "intercept": "true",
            # The node has two processors for everything.
            "resources.cpu": "150m",
        }
        served = {
            "apiServer.cidrs[0]": f"{settings.FIRST_SERVICE}/32",
            "apiServer.cidrs[1]": f"{settings.NODE_ADDRESS}/32",
        }
        self.controller(**{f"gateway.{key}": value for key, value in values.items()}, **served)
        words = ("rollout", "status", "statefulset/gateway", "--timeout=120s")
        self.kubectl("--namespace", GATEWAY, *words)

    def tenant(
        self, namespace: str, *policies: str, authors: tuple[str, ...] = (), **values: str
    ) -> None:
        """Onboard a namespace under policies that exist, for authors that are users."""
        self.kubectl.until_not_going(namespace)
        values["namespace.name"] = namespace
        values |= {f"policies[{place}]": name for place, name in enumerate(policies)}
        for place, author in enumerate(authors):
            values |= {f"authors[{place}].kind": "User", f"authors[{place}].name": author}
        self.chart(namespace, "anchorhold-tenant", **values)
        wait_for(lambda: self.is_counted(namespace), 60, f"the quota of {namespace} to be counted")

    def is_counted(self, namespace: str) -> bool:
        """Whether the quota has been counted: before that, the API server admits nothing."""
        quota = self.kubectl.get("resourcequota", "anchorhold", namespace)
        used = quota.get("status", {}).get("used", {}) if quota is not None else {}
        return "count/agentruns.anchorhold.dev" in used


def policy(name: str, image: str, **spec: object) -> Document:
    """An AgentPolicy with small limits that allows one image, and what `spec` says beyond that."""
    limits = {
        "activeDeadlineSeconds": 300,
        "cpu": "500m",
        "memory": "256Mi",
        "workspace": "64Mi",
        "activeRuns": 5,
        "queuedRuns": 20,
    }
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": name, "namespace": POLICIES},
        "spec": {"images": [{"reference": image}], "limits": limits, **spec},
    }
