"""What a stage puts up: programs for cells, Pods without a fence; and how it reads them."""

import json
from importlib import resources
from typing import Any

from anchorhold import names
from anchorhold.cli.api import Document
from anchorhold.policy import quantity

# Runs in any image that has Python; `-I -S` keeps the image's own settings out of it.
PYTHON = ["python3", "-I", "-S", "-c"]
RUN_THE_TASK = f"exec(open('{names.TASK_DIRECTORY}/{names.TASK_KEY}').read())"
OUR_LABEL = "app.kubernetes.io/created-by"
SMALL = {"cpu": "150m", "memory": "64Mi"}


class GaveUpError(Exception):
    """Something did not come about; the text says what."""


class NothingHereError(GaveUpError):
    """There is nothing of the kind here that could be tried; the text says what is missing."""


class StoppedError(GaveUpError):
    """Somebody wants to stop."""


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
        "appArmorProfile": {"type": "Unconfined"},
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


def give(pod: Document, folder: str) -> None:
    """A folder of the node to a Pod, at `/node`."""
    pod["spec"]["volumes"] = [{"name": "node", "hostPath": {"path": folder}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "node", "mountPath": "/node"}]


def run(namespace: str, name: str, limits: Document, spec: Document) -> Document:
    """An AgentRun whose task is a Python program; small, and short."""
    usual = {
        "command": PYTHON,
        "args": [RUN_THE_TASK],
        "resources": smaller(limits),
        "activeDeadlineSeconds": min(120, limits["activeDeadlineSeconds"]),
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": "AgentRun",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {OUR_LABEL: "anchorhold-prove"},
        },
        "spec": {**usual, **spec},
    }


def open_namespace(name: str) -> Document:
    """A namespace without a fence."""
    labels = {
        OUR_LABEL: "anchorhold-prove",
        "pod-security.kubernetes.io/enforce": "privileged",
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def smaller(limits: Document, memory: str = SMALL["memory"], cpu: str = SMALL["cpu"]) -> Document:
    """Little, but no more than the policy allows."""
    cpu = min(cpu, limits["cpu"], key=quantity.millicores)
    memory = min(memory, limits["memory"], key=quantity.number_of_bytes)
    return {"cpu": cpu, "memory": memory}


def condition(run: Document, kind: str = "Succeeded") -> Document:
    """One condition of a run."""
    return next(c for c in run["status"]["conditions"] if c["type"] == kind)


# Why a run ends where none would start.
NOTHING_STARTS = ("NotOnboarded", "BoundaryOpen", "PolicyConflict", "ProfileMissing")


def is_over(found: Document) -> bool:
    """Whether a run has ended, by its condition `Succeeded`, and not for that nothing starts."""
    return bool(found["status"] != "Unknown") and found["reason"] not in NOTHING_STARTS


def is_held(run: Document) -> bool:
    """Whether a run waits for something that its namespace lacks, and not for its turn."""
    return bool(condition(run, "Accepted")["status"] == "Unknown")


def owner(document: Document) -> str:
    """The name of what owns an object."""
    owners = document["metadata"].get("ownerReferences", [])
    return str(owners[0]["name"]) if owners else ""


def read_json(text: str) -> Any:  # noqa: ANN401  # whatever JSON holds
    """What a probe told. Raises GaveUpError where it is no JSON: then it tells nothing."""
    try:
        return json.loads(text)
    except ValueError:
        raise GaveUpError(f"a probe told nothing that can be read: {text[:200]!r}") from None


def as_text(body: object) -> str:
    """A log as text, even where it looks like JSON."""
    return body if isinstance(body, str) else json.dumps(body)
