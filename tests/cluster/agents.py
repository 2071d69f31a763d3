"""What the cluster tests do again and again: submit runs, wait for them, stop the controller."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from bed.kube import Document, Kubectl, RefusedError, wait_for

_numbers = itertools.count(1)
both_tiers = pytest.mark.parametrize("agents", ["UserNamespace", "RuntimeClass"], indirect=True)
SECONDS = 90
SLEEP = "import time; time.sleep(600)"
RUN_THE_TASK = "exec(open('/run/anchorhold/task').read())"


def document(namespace: str, name: str, **spec: Any) -> Document:  # noqa: ANN401
    """An AgentRun."""
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"task": "Do what the test says.", **spec},
    }


def condition(run: Document, kind: str = "Succeeded") -> Document:
    """One condition of a run."""
    return next(c for c in run["status"]["conditions"] if c["type"] == kind)


@dataclass
class Agents:
    """Runs of one author in one namespace."""

    author: Kubectl
    admin: Kubectl
    namespace: str
    image: str
    submitted: list[str] = field(default_factory=list)

    def document(self, code: str = "", **spec: Any) -> Document:  # noqa: ANN401
        """A run whose task is a Python program, under a name of its own."""
        usual = {"image": self.image, "args": [RUN_THE_TASK], "task": code or "pass"}
        return document(self.namespace, f"run-{next(_numbers)}", **{**usual, **spec})

    def submit(self, code: str = "", **spec: Any) -> str:  # noqa: ANN401
        """Create a run as its author does; returns its name. Raises RefusedError."""
        created = self.author.create(self.document(code, **spec))
        self.submitted.append(created["metadata"]["name"])
        return self.submitted[-1]

    def refusal(self, code: str = "", **spec: Any) -> str | None:  # noqa: ANN401
        """What the API server says to a run, if it refuses it; none is created."""
        try:
            self.author.create(self.document(code, **spec), "--dry-run=server")
        except RefusedError as refusal:
            return str(refusal)
        return None

    def until_admitted(self) -> None:
        """Return once the API server takes a run: it learns of a policy a moment later."""
        wait_for(lambda: self.refusal() is None, SECONDS, "a run to be admitted")

    def completes(self, **spec: Any) -> Document:  # noqa: ANN401
        """A new run, which starts and completes."""
        run = self.end(self.submit("", **spec))
        assert condition(run)["reason"] == "Completed", run["status"]
        return run

    def running(self, code: str = SLEEP, **spec: Any) -> str:  # noqa: ANN401
        """A new run, once its agent is running."""
        name = self.submit(code, **spec)
        self.until(name, "Running")
        return name

    def until_gone(self, name: str) -> None:
        """Return once nothing of a run's cell is left."""
        wait_for(lambda: not self.pods(name), SECONDS, f"the cell of {name} to be gone")

    def get(self, name: str) -> Document:
        """The run as it is."""
        run = self.author.get("agentrun", name, self.namespace)
        assert run is not None, f"the run {name} is gone"
        return run

    def until(self, name: str, *reasons: str, says: str = "") -> Document:
        """The run, once `Succeeded` has one of the reasons, and these words in its message."""

        def look() -> Document | None:
            found = condition(run := self.get(name))
            return run if found["reason"] in reasons and says in found["message"] else None

        try:
            return wait_for(look, SECONDS, f"{name} to become {' or '.join(reasons)}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.get(name)['status']}") from None

    def end(self, name: str) -> Document:
        """The run, once it has ended."""

        def look() -> Document | None:
            run = self.get(name)
            return run if condition(run)["status"] != "Unknown" else None

        return wait_for(look, SECONDS, f"{name} to end")

    def pods(self, *names: str) -> list[Document]:
        """The Pods that belong to the runs of these names, by owner."""
        pods = self.admin.items("pods", self.namespace)
        return [pod for pod in pods if any(owner["name"] in names for owner in owners(pod))]

    def said(self, name: str) -> str:
        """What a run's agent has printed so far."""
        (pod,) = self.pods(name)
        return self.admin("logs", pod["metadata"]["name"], "-n", self.namespace)

    def shown(self, code: str, **spec: Any) -> Any:  # noqa: ANN401
        """What a run that completes has printed, as JSON."""
        run = self.end(name := self.submit(code, **spec))
        assert condition(run)["reason"] == "Completed", (run["status"], self.said(name))
        return json.loads(self.said(name))

    def remove_all(self) -> None:
        """Delete every run of this test, and wait until its cells are gone.

        Cells go first, for then they have a second and not their grace.
        """
        for pod in self.pods(*self.submitted):
            words = ("--grace-period=1", "--wait=false")
            self.admin.delete("pod", pod["metadata"]["name"], self.namespace, *words)
        for name in self.submitted:
            self.admin.delete("agentrun", name, self.namespace, "--wait=true")
        wait_for(lambda: not self.pods(*self.submitted), SECONDS, "no cell to be left")


def owners(document: Document) -> list[Document]:
    """Who owns an object."""
    return list(document["metadata"].get("ownerReferences", []))


@dataclass
class Controller:
    """The controller's Deployment."""

    admin: Kubectl
    namespace: str

    def stop(self) -> None:
        """Scale to zero, and wait until the Pod is gone."""
        self._scale(0)
        wait_for(lambda: not self.pods(), SECONDS, "the controller's Pod to be gone")

    def start(self) -> None:
        """Scale to one, and wait until it is ready."""
        self._scale(1)
        self.admin("-n", self.namespace, "rollout", "status", "deployment/anchorhold-controller")

    def kill(self) -> None:
        """End the process at once, as a crash does; the Deployment makes a new Pod."""
        for pod in self.pods():
            name = pod["metadata"]["name"]
            self.admin.delete("pod", name, self.namespace, "--grace-period=0", "--force")

    def pods(self) -> list[Document]:
        """The controller's Pods."""
        pods = self.admin.items("pods", self.namespace)
        return [p for p in pods if p["metadata"]["name"].startswith("anchorhold-controller-")]

    def _scale(self, replicas: int) -> None:
        self.admin(
            "-n", self.namespace, "scale", "deployment/anchorhold-controller",
            f"--replicas={replicas}",
        )  # fmt: skip


def cell_of(agents: Agents) -> Document:
    """A Pod exactly as the controller posts it, taken from a run that has ended."""
    name = agents.submit("")
    agents.end(name)
    (pod,) = agents.pods(name)
    return as_posted(pod, pod["metadata"]["name"] + "-copy")


def as_posted(document: Document, name: str) -> Document:
    """What belongs to a run, as the controller would post it under another name."""
    document = copy.deepcopy(document)
    document.pop("status", None)
    keep = ("namespace", "labels", "annotations", "ownerReferences")
    kept = {key: value for key, value in document["metadata"].items() if key in keep}
    document["metadata"] = {**kept, "name": name}
    for added in ("nodeName", "priority", "preemptionPolicy", "tolerations", "schedulerName"):
        document.get("spec", {}).pop(added, None)
    for volume in document.get("spec", {}).get("volumes", ()):
        if volume["name"] == "task":
            volume["configMap"]["name"] = name
    return document


class changed_policy:  # noqa: N801  # it reads as a statement
    """A policy with a change, for as long as a block runs."""

    def __init__(self, kubectl: Kubectl, name: str, change: Document) -> None:
        self.kubectl, self.name, self.change = kubectl, name, change

    def patch(self, change: Document) -> None:
        """Merge a change into the policy's spec."""
        words = ("patch", "agentpolicy", self.name, "-n", "anchorhold-policies", "--type=merge")
        self.kubectl(*words, "-p", json.dumps({"spec": change}))

    def __enter__(self) -> None:
        found = self.kubectl.get("agentpolicy", self.name, "anchorhold-policies")
        assert found is not None
        self.before = {key: found["spec"].get(key) for key in self.change}
        self.patch(self.change)

    def __exit__(self, *_: object) -> None:
        self.patch(self.before)
