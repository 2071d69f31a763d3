"""Where it all happens: runs in the namespace under test, and Pods beside it without a fence.

Whatever is made is noted first, so that it is taken away again, also after an interruption.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

from anchorhold import names
from anchorhold.cli import api
from anchorhold.cli.api import Document, namespaced
from anchorhold.policy import quantity

T = TypeVar("T")
PATIENCE_SECONDS, PAUSE_SECONDS = 120.0, 0.25
# Runs in any image that has Python; `-I -S` keeps the image's own settings out of it.
PYTHON = ["python3", "-I", "-S", "-c"]
RUN_THE_TASK = f"exec(open('{names.TASK_DIRECTORY}/{names.TASK_KEY}').read())"
OUR_LABEL = "app.kubernetes.io/created-by"
SMALL = {"cpu": "200m", "memory": "64Mi"}


class GaveUpError(Exception):
    """Something did not come about; the text says what."""


class InterruptedError(GaveUpError):  # noqa: A001  # it is one
    """Somebody wants to stop."""


@dataclass
class Stage:
    """One namespace under test, for one user."""

    cluster: api.Cluster
    namespace: str
    image: str
    policies: tuple[Document, ...]
    token: str
    given: frozenset[str]
    internet: str = "1.1.1.1:443"
    stopping: threading.Event = field(default_factory=threading.Event)
    undo: list[Callable[[], None]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def policy(self) -> Document:
        """The first of the bound policies, which the attacks are measured by."""
        return dict(self.policies[0]["spec"])

    @property
    def apart(self) -> str:
        """The namespace without a fence."""
        return f"prove-{self.token}"

    def unique(self, word: str) -> str:
        """A name that nobody else uses."""
        with self.lock:
            self.numbers[word] = number = self.numbers.get(word, 0) + 1
        return f"prove-{self.token}-{word}-{number}"

    def wait(self, look: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
        """Look until there is something. Raises GaveUpError."""
        deadline = time.monotonic() + seconds
        while True:
            if self.stopping.is_set():
                raise InterruptedError("interrupted")
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise GaveUpError(f"waited {seconds:.0f} s in vain for {what}")
            time.sleep(PAUSE_SECONDS)

    # ---- runs ----------------------------------------------------------------------------

    def run(self, word: str, code: str = "pass", **spec: Any) -> Document:  # noqa: ANN401
        """An AgentRun whose task is a Python program."""
        usual = {
            "task": code,
            "image": self.image,
            "command": PYTHON,
            "args": [RUN_THE_TASK],
            "resources": smaller(self.policy["limits"]),
            "activeDeadlineSeconds": min(120, self.policy["limits"]["activeDeadlineSeconds"]),
        }
        return {
            "apiVersion": names.API_VERSION,
            "kind": "AgentRun",
            "metadata": {
                "name": self.unique(word),
                "namespace": self.namespace,
                "labels": {OUR_LABEL: "anchorhold-prove"},
            },
            "spec": {**usual, **spec},
        }

    def runs(self, name: str = "") -> str:
        """The path of the namespace's runs, or of one."""
        return namespaced(self.namespace, "agentruns", name, names.API_VERSION)

    def submit(self, word: str, code: str = "pass", **spec: Any) -> str:  # noqa: ANN401
        """Create a run; returns its name. Raises RefusedError."""
        document = self.run(word, code, **spec)
        name = str(document["metadata"]["name"])
        self.undo.append(lambda: self.cluster.delete(self.runs(name)))
        self.cluster.post(self.runs(), document)
        return name

    def get(self, name: str) -> Document:
        """A run as it is. Raises GaveUpError if it is gone."""
        found = self.cluster.get(self.runs(name))
        if found is None:
            raise GaveUpError(f"the run {name} is gone")
        return found

    def until(self, name: str, *reasons: str) -> Document:
        """A run, once `Succeeded` has one of these reasons; it must not end with another."""

        def look() -> Document | None:
            run = self.get(name)
            found = condition(run)
            if found["reason"] in reasons:
                return run
            if found["status"] != "Unknown":
                raise GaveUpError(
                    f"a run ended as {found['reason']}, not {reasons[0]}: {found['message']}"
                )
            return None

        return self.wait(look, f"{name} to be {' or '.join(reasons)}")

    def end(self, name: str) -> Document:
        """A run, once it has ended in any way."""

        def look() -> Document | None:
            run = self.get(name)
            return run if condition(run)["status"] != "Unknown" else None

        return self.wait(look, f"{name} to end")

    def reason(self, name: str, seconds: float = 60.0) -> str:
        """Why a run ended; what it still does, where it should have ended by now."""
        with suppress(GaveUpError):
            self.wait(lambda: condition(self.get(name))["status"] != "Unknown", "an end", seconds)
        if self.stopping.is_set():
            raise InterruptedError("interrupted")
        return str(condition(self.get(name))["reason"])

    def told(self, name: str) -> Any:  # noqa: ANN401
        """What a run's agent returned, once it completed: untrusted JSON. Raises GaveUpError."""
        result = self.until(name, "Completed")["status"].get("result", {})
        return read_json(result.get("message", ""))

    def inside(
        self, probe: str, word: str = "", settings: Document | None = None, **spec: Any
    ) -> Any:  # noqa: ANN401, E501
        """Run a probe in a cell; returns what it told."""
        return self.told(self.submit(word or probe, program(probe, settings or {}), **spec))

    def pod_of(self, name: str) -> Document:
        """A run's cell, once there is one."""

        def look() -> Document | None:
            pod = self.get(name)["status"].get("podName")
            return self.cluster.get(namespaced(self.namespace, "pods", pod)) if pod else None

        return self.wait(look, f"the cell of {name}")

    def cells(self, *runs: str) -> list[Document]:
        """The Pods that belong to these runs, by owner."""
        pods = (self.cluster.get(namespaced(self.namespace, "pods")) or {})["items"]
        return [pod for pod in pods if owner(pod) in runs]

    def remove(self, *runs: str) -> None:
        """Delete runs, and wait until their cells are gone."""
        for name in runs:
            self.cluster.delete(self.runs(name))
        self.wait(lambda: not self.cells(*runs), "cells to be gone")

    # ---- without a fence -----------------------------------------------------------------

    def free(self, probe: str, settings: Document | None = None, *, root: bool = False) -> Any:  # noqa: ANN401
        """Run the same probe in a Pod without a fence; returns what it told."""
        name = self.start(probe, program(probe, settings or {}), root=root)
        path = namespaced(self.apart, "pods", name)

        def look() -> Document | None:
            pod = self.cluster.get(path) or {}
            return pod if pod.get("status", {}).get("phase") in ("Succeeded", "Failed") else None

        (status,) = self.wait(look, "an unfenced Pod to end")["status"]["containerStatuses"]
        return read_json(status["state"]["terminated"].get("message", ""))

    def start(self, word: str, code: str, *, root: bool = False) -> str:
        """Start a Pod without a fence; returns its name. Raises RefusedError."""
        name = self.unique(word)
        self.cluster.post(
            namespaced(self.apart, "pods"), unfenced(name, self.image, code, root=root)
        )
        return name

    def address(self, name: str) -> str:
        """Where an unfenced Pod is, once it runs."""
        path = namespaced(self.apart, "pods", name)

        def look() -> str | None:
            status = (self.cluster.get(path) or {}).get("status", {})
            return status.get("podIP") if status.get("phase") == "Running" else None

        return self.wait(look, "an unfenced Pod to run")

    def log(self, namespace: str, pod: str) -> str:
        """What a Pod has printed."""
        answer = self.cluster.ask("GET", namespaced(namespace, "pods", pod) + "/log")
        return "" if answer.refusal else as_text(answer.body)

    def open_apart(self) -> None:
        """Make the namespace without a fence, and wait for the account of its Pods."""
        document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.apart,
                "labels": {
                    OUR_LABEL: "anchorhold-prove",
                    "pod-security.kubernetes.io/enforce": "privileged",
                },
            },
        }
        path = f"/api/v1/namespaces/{self.apart}"
        self.undo.append(lambda: self.cluster.delete(path))
        self.cluster.post("/api/v1/namespaces", document)
        account = namespaced(self.apart, "serviceaccounts", "default")
        self.wait(lambda: self.cluster.get(account), "the account of unfenced Pods")

    def clean(self) -> list[str]:
        """Undo everything, the last first; returns what could not be undone."""
        self.stopping.clear()
        failed = []
        while self.undo:
            act = self.undo.pop()
            try:
                act()
            except (api.RefusedError, api.UnreachableError, GaveUpError) as error:
                failed.append(str(error))
        with suppress(GaveUpError, api.RefusedError, api.UnreachableError):
            self.wait(lambda: not self.cells(*self.ours()), "cells to be gone", 60)
        return failed

    def ours(self) -> list[str]:
        """The runs of this very suite that are left."""
        query = {"labelSelector": f"{OUR_LABEL}=anchorhold-prove"}
        found = (self.cluster.get(self.runs(), query) or {"items": []})["items"]
        mine = f"prove-{self.token}-"
        return [n for run in found if (n := str(run["metadata"]["name"])).startswith(mine)]


def program(probe: str, settings: Document) -> str:
    """A probe as one text that needs nothing but the standard library."""
    folder = resources.files("anchorhold.cli.prove").joinpath("probes")
    parts = [folder.joinpath(f"{name}.py").read_text("utf-8") for name in ("telling", probe)]
    return "\n".join([*parts, f"tell(probe(json.loads({json.dumps(settings)!r})))\n"])


def unfenced(name: str, image: str, code: str, *, root: bool) -> Document:
    """A Pod as anybody may run it; as root it has what the attacks ask for, in users of its own."""
    powers = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT"]
    free = {
        "runAsUser": 0,
        "capabilities": {"add": powers},
        "seccompProfile": {"type": "Unconfined"},
    }
    container = {
        "name": "free",
        "image": image,
        "command": PYTHON,
        "args": [code],
        "env": [{"name": names.RESULT_VARIABLE, "value": names.RESULT_PATH}],
        "securityContext": free if root else {"runAsUser": 65532},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "hostUsers": not root,
            "containers": [container],
        },
    }


def smaller(limits: Document) -> Document:
    """Little, but no more than the policy allows."""
    cpu = min(SMALL["cpu"], limits["cpu"], key=quantity.millicores)
    memory = min(SMALL["memory"], limits["memory"], key=quantity.number_of_bytes)
    return {"cpu": cpu, "memory": memory}


def condition(run: Document, kind: str = "Succeeded") -> Document:
    """One condition of a run."""
    return next(c for c in run["status"]["conditions"] if c["type"] == kind)


def owner(document: Document) -> str:
    """The name of what owns an object."""
    owners = document["metadata"].get("ownerReferences", [])
    return str(owners[0]["name"]) if owners else ""


def read_json(text: str) -> Any:  # noqa: ANN401
    """What a probe told. Raises GaveUpError where it is no JSON: then it tells nothing."""
    try:
        return json.loads(text)
    except ValueError:
        raise GaveUpError(f"a probe told nothing that can be read: {text[:200]!r}") from None


def as_text(body: object) -> str:
    """A log as text, even where it looks like JSON."""
    return body if isinstance(body, str) else json.dumps(body)
