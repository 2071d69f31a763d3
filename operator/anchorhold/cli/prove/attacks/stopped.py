"""Attacks while something of Anchorhold is stopped or taken away; it is put back afterwards."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from anchorhold import names
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks.asked import DRY, as_posted, dry_run, refused
from anchorhold.cli.prove.attacks.borrowed import a_cell, controller
from anchorhold.cli.prove.props import GaveUpError, condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

SCALE = f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/deployments/{names.CONTROLLER}"
WALLS = "networking.k8s.io/v1"


@contextmanager
def undone(stage: Stage, do: Document, undo: Document, path: str) -> Iterator[None]:
    """A change for as long as a block runs; it is taken back after an interruption too."""

    def back() -> None:
        stage.cluster.patch(path, undo)

    stage.undo.append(back)
    stage.cluster.patch(path, do)
    try:
        yield
    finally:
        back()
        stage.undo.remove(back)


@contextmanager
def no_controller(stage: Stage) -> Iterator[None]:
    """No controller, for as long as a block runs."""
    before = (stage.cluster.get(SCALE) or {})["spec"].get("replicas", 1)
    with undone(stage, replicas(0), replicas(before), SCALE):
        stage.wait(lambda: ready(stage) == 0, "the controller to be gone")
        yield
    stage.wait(lambda: ready(stage) >= before, "the controller to be back")


def replicas(number: int) -> Document:
    """The patch that makes it so many."""
    return {"spec": {"replicas": number}}


def ready(stage: Stage) -> int:
    """How many controllers there are; those that are about to go too."""
    pods = namespaced(names.SYSTEM_NAMESPACE, "pods")
    found = (stage.cluster.get(pods) or {})["items"]
    mine = [pod for pod in found if pod["metadata"]["name"].startswith(f"{names.CONTROLLER}-")]
    conditions = [c for pod in mine for c in pod["status"].get("conditions", [])]
    up = sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return up if up or not mine else -1


@contextmanager
def suspended(stage: Stage) -> Iterator[None]:
    """The policy suspended, for as long as a block runs, and known to be."""
    name = stage.policies[0]["metadata"]["name"]
    path = namespaced(names.POLICY_NAMESPACE, "agentpolicies", name, names.API_VERSION)
    spec = {"spec": {"suspend": True}}
    with undone(stage, spec, {"spec": {"suspend": stage.policy.get("suspend")}}, path):
        yield
    stage.wait(lambda: not dry_run(stage).refusal, "the policy to hold again")


def c03(stage: Stage) -> list[Attempt]:
    """A run by the user, and its cell by the controller's own token, with no controller."""
    cell, them = a_cell(stage), controller(stage)
    pods = namespaced(stage.namespace, "pods")
    copied = as_posted(cell, stage.unique("copy"))
    run_before, pod_before = dry_run(stage), them.ask("POST", pods, copied, DRY)
    with no_controller(stage), suspended(stage):
        # The API server learns of it a moment later; if it never does, that is what was to be seen.
        with suppress(GaveUpError):
            stage.wait(lambda: dry_run(stage).refusal, "the policy to be known", 30)
            stage.wait(lambda: them.ask("POST", pods, copied, DRY).refusal, "the same", 30)
        run, pod = dry_run(stage), them.ask("POST", pods, copied, DRY)
    return [
        refused("submit a run", run, run_before, "suspended"),
        refused("create its cell as the controller", pod, pod_before, "suspended"),
    ]


def c17(stage: Stage) -> list[Attempt]:
    """The kill switch."""
    name = stage.submit("revoked", program("deaf", {}))
    before = condition(stage.until(name, "Running"))["reason"]
    with suspended(stage):
        ended = stage.reason(name)
    return [
        Attempt("run on under a suspended policy", "PolicyRevoked", ended, before,
                ended == "PolicyRevoked", before == "Running")
    ]  # fmt: skip


def c23(stage: Stage) -> list[Attempt]:
    """The wall of the namespace is deleted: what runs ends, and nothing starts."""
    before = stage.until(stage.submit("walled"), "Completed")
    running = stage.submit("inside", program("deaf", {}))
    stage.until(running, "Running")
    path = namespaced(stage.namespace, "networkpolicies", names.DEFAULT_DENY, WALLS)
    with without_wall(stage, path):
        ended = stage.reason(running)
        late = stage.reason(stage.submit("late"), 20)
    started = late in ("Completed", "Running")
    without = condition(before)["reason"]
    shown = without == "Completed"
    return [
        Attempt("run on", "PolicyRevoked", ended, without, ended == "PolicyRevoked", shown),
        Attempt("start", "not started", late, without, not started, shown),
    ]


@contextmanager
def without_wall(stage: Stage, path: str) -> Iterator[None]:
    """The namespace without its default deny, for as long as a block runs."""
    found = stage.cluster.get(path) or {}
    kept = {key: found["metadata"][key] for key in ("name", "labels", "annotations")
            if key in found["metadata"]}  # fmt: skip
    manager = found["metadata"].get("managedFields", [{"manager": "helm"}])[0]["manager"]
    again = {key: found[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": kept}

    def back() -> None:
        stage.cluster.apply(path, again, manager)

    stage.undo.append(back)
    stage.cluster.delete(path)
    try:
        yield
    finally:
        back()
        stage.undo.remove(back)


def c24(stage: Stage) -> list[Attempt]:
    """Two cells live; one run is deleted while there is no controller."""
    doomed, kept = (stage.submit(word, program("deaf", {})) for word in ("doomed", "kept"))
    for name in (doomed, kept):
        stage.until(name, "Running")
    with no_controller(stage):
        stage.cluster.delete(stage.runs(doomed))
        with suppress(GaveUpError):
            stage.wait(lambda: not stage.cells(doomed), "the cell to be gone", 60)
        seen, left = phases(stage, doomed), phases(stage, kept)
    return [
        Attempt(
            "outlive its run", "gone", seen or "gone", f"kept: {left}", not seen, left == "Running"
        )
    ]


def phases(stage: Stage, run: str) -> str:
    """What is left of a run's cells."""
    return ", ".join(str(pod["status"].get("phase")) for pod in stage.cells(run))


@contextmanager
def no_enforcer(stage: Stage) -> Iterator[None]:
    """Nobody enforces NetworkPolicies, for as long as a block runs. The commands are the user's."""

    def back() -> None:
        do(stage.enforcer_on)

    stage.undo.append(back)
    try:
        do(stage.enforcer_off)
        yield
    finally:
        back()
        stage.undo.remove(back)


def do(command: str) -> None:
    """Run a command of the user's. Raises GaveUpError where it fails."""
    words = shlex.split(command)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise GaveUpError(f"'{command}' could not be run: {error}") from None
    if done.returncode:
        raise GaveUpError(f"'{command}' ended with {done.returncode}: {done.stderr[-200:]}")


def c30(stage: Stage) -> list[Attempt]:
    """One agent runs when the enforcer dies, another wants to start."""
    running = stage.submit("before", program("deaf", {}))
    before = condition(stage.until(running, "Running"))["reason"]
    with no_enforcer(stage):
        ended = stage.reason(running)
        late = stage.submit("meanwhile")
        meanwhile = stage.reason(late, 20)
    after = condition(stage.end(stage.submit("after")))["reason"]
    stage.remove(running, late)
    return [
        Attempt("run on without it", "BoundaryOpen", ended, before, ended == "BoundaryOpen",
                before == "Running"),
        Attempt("start without it", "not started", meanwhile, after,
                meanwhile not in ("Running", "Completed"), after == "Completed"),
    ]  # fmt: skip


ATTACKS = {"C30": c30, "C03": c03, "C17": c17, "C23": c23, "C24": c24}
