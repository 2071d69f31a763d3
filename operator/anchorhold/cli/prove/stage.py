"""Where it all happens: runs in the namespace under test, and Pods beside it without a fence.

Whatever is made is noted first, so that it is taken away again, also after an interruption.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anchorhold import names
from anchorhold.cli import api
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove import props
from anchorhold.cli.prove.props import GaveUpError, StoppedError, condition

T = TypeVar("T")
PATIENCE_SECONDS, PAUSE_SECONDS = 120.0, 0.25
# The controller gives a namespace a minute to become whole; an attack need not wait as long.
HELD_SECONDS = 15.0


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
    enforcer_off: str = ""
    enforcer_on: str = ""
    # Why nothing starts here, once a run has found out: the others need not wait for it too.
    broken: str = ""
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
                raise StoppedError("interrupted")
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise GaveUpError(f"waited {seconds:.0f} s in vain for {what}")
            time.sleep(PAUSE_SECONDS)

    def run(self, word: str, code: str = "pass", **spec: Any) -> Document:  # noqa: ANN401
        """An AgentRun whose task is a Python program."""
        name = self.unique(word)
        wished = {"task": code, "image": self.image, **spec}
        return props.run(self.namespace, name, self.policy["limits"], wished)

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
        return self.once(name, lambda found: found["reason"] in reasons, " or ".join(reasons))

    def end(self, name: str) -> Document:
        """A run, once it has ended in any way but for that nothing starts."""
        return self.once(name, props.is_over, "over")

    def once(self, name: str, holds: Callable[[Document], bool], wanted: str) -> Document:
        """A run, once something holds of its `Succeeded`. Raises GaveUpError."""
        patience = time.monotonic() + HELD_SECONDS

        def look() -> Document | None:
            run = self.get(name)
            if holds(condition(run)):
                return run
            self.give_up(run, wanted, patience)
            return None

        return self.wait(look, f"{name} to be {wanted}")

    def give_up(self, run: Document, wanted: str, patience: float) -> None:
        """Raise GaveUpError where a run cannot come to what is wanted of it any more."""
        found = condition(run)
        told = f"a run is {found['reason']}, not {wanted}: {found['message']}"
        late = time.monotonic() > patience and props.is_held(run)
        self.broken = told if found["reason"] in props.NOTHING_STARTS or late else self.broken
        if found["status"] != "Unknown":
            raise GaveUpError(told)
        self.go_on()

    def go_on(self) -> None:
        """Raise GaveUpError where a run has found out that nothing starts."""
        if self.broken:
            raise GaveUpError(self.broken)

    def reason(self, name: str, seconds: float = 60.0) -> str:
        """Why a run ended; what it still does, where it should have ended by now."""
        with suppress(GaveUpError):
            self.wait(lambda: condition(self.get(name))["status"] != "Unknown", "an end", seconds)
        if self.stopping.is_set():
            raise StoppedError("interrupted")
        return str(condition(self.get(name))["reason"])

    def told(self, name: str) -> Any:  # noqa: ANN401
        """What a run's agent returned, once it completed: untrusted JSON. Raises GaveUpError."""
        result = self.until(name, "Completed")["status"].get("result", {})
        return props.read_json(result.get("message", ""))

    def inside(
        self, probe: str, word: str = "", settings: Document | None = None, **spec: object
    ) -> Any:  # noqa: ANN401
        """Run a probe in a cell; returns what it told."""
        return self.told(self.submit(word or probe, props.program(probe, settings or {}), **spec))

    def pod_of(self, name: str) -> Document:
        """A run's cell, once there is one."""
        patience = time.monotonic() + HELD_SECONDS

        def look() -> Document | None:
            run = self.get(name)
            if pod := run["status"].get("podName"):
                return self.cluster.get(namespaced(self.namespace, "pods", pod))
            self.give_up(run, "Running", patience)
            return None

        return self.wait(look, f"the cell of {name}")

    def cells(self, *runs: str) -> list[Document]:
        """The Pods that belong to these runs, by owner."""
        pods = (self.cluster.get(namespaced(self.namespace, "pods")) or {})["items"]
        return [pod for pod in pods if props.owner(pod) in runs]

    def remove(self, *runs: str) -> None:
        """Delete runs, and wait until their cells are gone."""
        for name in runs:
            self.cluster.delete(self.runs(name))
        self.wait(lambda: not self.cells(*runs), "cells to be gone")

    def free(self, probe: str, settings: Document | None = None, *, root: bool = False) -> Any:  # noqa: ANN401
        """Run the same probe in a Pod without a fence; returns what it told."""
        return self.said(self.start(probe, props.program(probe, settings or {}), root=root))

    def said(self, name: str) -> Any:  # noqa: ANN401
        """What an unfenced Pod told, once it has ended."""
        path = namespaced(self.apart, "pods", name)

        def look() -> Document | None:
            pod = self.cluster.get(path) or {}
            return pod if pod.get("status", {}).get("phase") in ("Succeeded", "Failed") else None

        (status,) = self.wait(look, "an unfenced Pod to end")["status"]["containerStatuses"]
        return props.read_json(status["state"]["terminated"].get("message", ""))

    def start(self, word: str, code: str, *, root: bool = False, folder: str = "") -> str:
        """Start a Pod without a fence, with a folder of its node; returns its name.

        Raises RefusedError.
        """
        name = self.unique(word)
        document = props.unfenced(name, self.image, code, root=root)
        if folder:
            props.give(document, folder)
        self.cluster.post(namespaced(self.apart, "pods"), document)
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
        return "" if answer.refusal else props.as_text(answer.body)

    def open_apart(self) -> None:
        """Make the namespace without a fence, and wait for the account of its Pods."""
        path = f"/api/v1/namespaces/{self.apart}"
        self.undo.append(lambda: self.cluster.delete(path))
        self.cluster.post("/api/v1/namespaces", props.open_namespace(self.apart))
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
        query = {"labelSelector": f"{props.OUR_LABEL}=anchorhold-prove"}
        found = (self.cluster.get(self.runs(), query) or {"items": []})["items"]
        mine = f"prove-{self.token}-"
        return [n for run in found if (n := str(run["metadata"]["name"])).startswith(mine)]
