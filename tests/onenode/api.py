"""Asking the API server, without starting a client program for every question."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from onenode import settings
from onenode.paths import Places


@dataclass(frozen=True, slots=True)
class Api:
    """The API server, asked as the administrator."""

    places: Places

    def get(self, path: str) -> str | None:
        """Return the answer, or None while there is none or it is not a good one."""
        try:
            url = f"{settings.API_SERVER}{path}"
            with self._opener().open(url, timeout=2) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def _opener(self) -> urllib.request.OpenerDirector:
        pki = self.places.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        # The machine's proxy settings must never apply: the API server is on this machine.
        direct = urllib.request.ProxyHandler({})
        return urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))

    def ready(self) -> bool:
        """Say whether the API server serves."""
        return self.get("/readyz") == "ok"

    def registered(self) -> bool:
        """Say whether the kubelet has made its Node."""
        return self.get(f"/api/v1/nodes/{settings.NODE_NAME}") is not None

    def node_ready(self) -> bool:
        """Say whether the Node may get Pods."""
        text = self.get(f"/api/v1/nodes/{settings.NODE_NAME}")
        return text is not None and node_is_ready(json.loads(text))

    def accounts_ready(self) -> bool:
        """Say whether Pods are admitted: they need the default ServiceAccount and its authority."""
        namespace = "/api/v1/namespaces/default"
        names = (f"{namespace}/serviceaccounts/default", f"{namespace}/configmaps/kube-root-ca.crt")
        return all(self.get(name) is not None for name in names)


def node_is_ready(node: dict[str, Any]) -> bool:
    """Read a Node: Ready and free of the taint that it is born with."""
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")
