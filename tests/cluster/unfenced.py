"""Pods as anybody may run them outside: what a cell cannot do is tried here first, and works."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bed.kube import Document, Kubectl, wait_for

NAMESPACE = "throw-away"
PORT = 8080
# What an agent does that wants to be found.
LISTEN = f"""
import socket
server = socket.create_server(('0.0.0.0', {PORT}))
while True:
    server.accept()[0].close()
"""
# What an agent does that looks for others. It waits first, because a NetworkPolicy takes hold a
# moment after its Pod has started.
REACH = """
import json, os, socket, time
time.sleep(6)
def reach(target):
    try:
        socket.create_connection(target, timeout=2).close()
        return True
    except OSError:
        return False
targets = json.loads(os.environ['TARGETS'])
found = {name: any(reach(tuple(where)) for _ in range(3)) for name, where in targets.items()}
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(found))
"""
Targets = dict[str, tuple[str, int]]


@dataclass(frozen=True)
class Unfenced:
    """A namespace without any fence."""

    admin: Kubectl
    image: str

    def start(
        self,
        name: str,
        code: str,
        targets: Targets,
        folder: str = "",
        **spec: Any,  # noqa: ANN401
    ) -> None:
        """Run a program in a Pod, which may read a folder of the node as `/inputs/tree`."""
        tree = {"name": "tree", "hostPath": {"path": folder}}
        mount = {"name": "tree", "mountPath": "/inputs/tree", "readOnly": True}
        environment = {
            "ANCHORHOLD_RESULT": "/dev/termination-log",
            "TARGETS": json.dumps(targets),
        }
        container = {
            "name": "agent",
            "image": self.image,
            "args": [code],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "volumeMounts": [mount] if folder else [],
        }
        self.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "volumes": [tree] if folder else [],
                    **spec,
                },
            }
        )

    def status(self, name: str) -> Document:
        """The Pod's status."""
        pod = self.admin.get("pod", name, NAMESPACE)
        assert pod is not None
        return dict(pod["status"])

    def listener(self) -> tuple[str, int]:
        """Where a Pod listens that everybody may reach."""
        self.start("listener", LISTEN, {})
        wait_for(lambda: self.status("listener").get("phase") == "Running", 60, "the listener")
        return self.status("listener")["podIP"], PORT

    def fence(self) -> None:
        """Close it both ways, as a run namespace is."""
        self.admin.apply(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "deny", "namespace": NAMESPACE},
                "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
            }
        )

    def reaches(self, targets: Targets, name: str = "reacher") -> tuple[str, dict[str, bool]]:
        """The address of a Pod, and what it reached."""
        self.start(name, REACH, targets)
        message = self.message(name)
        return self.status(name)["podIP"], dict(json.loads(message))

    def message(self, name: str) -> str:
        """What a Pod has said at its end."""
        wait_for(lambda: self.status(name).get("phase") == "Succeeded", 90, "the Pod's end")
        ended: dict[str, Any] = self.status(name)["containerStatuses"][0]["state"]["terminated"]
        return str(ended["message"])


@contextmanager
def unfenced(admin: Kubectl, image: str) -> Iterator[Unfenced]:
    """The namespace, for as long as a block runs."""
    admin.namespace(NAMESPACE)
    try:
        yield Unfenced(admin, image)
    finally:
        admin.delete("namespace", NAMESPACE, "", "--wait=true")
