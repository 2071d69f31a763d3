"""Things that are stopped or taken away for as long as a block runs, and come back in any case.

What takes them back is noted before they go, so that an interruption cannot keep it from happening.
"""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from anchorhold import names
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks.asked import dry_run
from anchorhold.cli.prove.props import GaveUpError, program
from anchorhold.cli.prove.stage import Stage

SCALE = f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/deployments/{names.CONTROLLER}"


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


def policy(stage: Stage) -> str:
    """Where the first policy is."""
    name = stage.policies[0]["metadata"]["name"]
    return namespaced(names.POLICY_NAMESPACE, "agentpolicies", name, names.API_VERSION)


@contextmanager
def suspended(stage: Stage) -> Iterator[None]:
    """The policy suspended, for as long as a block runs, and known to be."""
    path, spec = policy(stage), {"spec": {"suspend": True}}
    with undone(stage, spec, {"spec": {"suspend": stage.policy.get("suspend")}}, path):
        yield
    stage.wait(lambda: not dry_run(stage).refusal, "the policy to hold again")


@contextmanager
def taken_away(stage: Stage, path: str) -> Iterator[None]:
    """An object deleted for as long as a block runs, and then as its owner made it."""
    found = stage.cluster.get(path) or {}
    kept = {key: found["metadata"][key] for key in ("name", "labels", "annotations")
            if key in found["metadata"]}  # fmt: skip
    manager = found["metadata"].get("managedFields", [{"manager": "helm"}])[0]["manager"]
    again = {key: found[key] for key in found if key != "status"} | {"metadata": kept}

    def back() -> None:
        stage.cluster.apply(path, again, manager)

    stage.undo.append(back)
    stage.cluster.delete(path)
    try:
        yield
    finally:
        back()
        stage.undo.remove(back)


INSTALLER = "/apis/apps/v1/namespaces/anchorhold-node/daemonsets/anchorhold-seccomp"


def profile_folder(stage: Stage) -> str:
    """Where the nodes have the profile; nothing where nobody is there to put it back."""
    installer = stage.cluster.get(INSTALLER)
    volumes = installer["spec"]["template"]["spec"]["volumes"] if installer else []
    return next((str(each["hostPath"]["path"]) for each in volumes if "hostPath" in each), "")


@contextmanager
def no_profile(stage: Stage, name: str) -> Iterator[None]:
    """A node without the profile, for as long as a block runs: then the installer puts it back."""
    folder = profile_folder(stage)
    with undone(stage, on_nodes("none"), on_nodes(None), INSTALLER):
        stage.wait(lambda: installed(stage) == 0, "the profile's installer to be gone")
        pod = stage.start("unlink", program("unlink", {"name": name}), root=True, folder=folder)
        if stage.said(pod) is not True:
            raise GaveUpError(f"the profile '{name}' could not be taken away")
        yield
    stage.wait(lambda: installed(stage), "the profile to be back")


def on_nodes(label: str | None) -> Document:
    """The patch that puts the installer on nodes with a label that none has; or on all again."""
    return {"spec": {"template": {"spec": {"nodeSelector": {NOWHERE: label}}}}}


NOWHERE = "anchorhold-prove"


def installed(stage: Stage) -> int:
    """On how many nodes the profile is, or is about to go: the installer is ready where it is."""
    pods = namespaced("anchorhold-node", "pods")
    items = (stage.cluster.get(pods) or {})["items"]
    up = [c for pod in items for c in pod["status"].get("conditions", []) if c["type"] == "Ready"]
    return sum(each["status"] == "True" for each in up)


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
