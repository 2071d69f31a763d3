"""Attacks on cells by whoever has rights: make one, change one, step into one."""

from collections.abc import Iterator

from anchorhold import names
from anchorhold.cli.api import Answer, Document, namespaced
from anchorhold.cli.prove.attacks.asked import DENIED, DRY, OTHER_DIGEST, refused, shortened
from anchorhold.cli.prove.props import program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt


def c05(stage: Stage) -> Iterator[Attempt]:
    """Make a Pod, step into one, and change a cell, as with any other Pod."""
    name = stage.unique("nobody")
    here, apart = (namespaced(where, "pods") for where in (stage.namespace, stage.apart))
    made, free = (stage.cluster.ask("POST", p, plain(name), DRY) for p in (here, apart))
    yield refused("create a Pod", made, free)
    # Admission speaks before anybody looks whether there is such a Pod.
    for what, tail in STEPS.items():
        attempt, control = (
            stage.cluster.ask("GET", f"{pods}/{name}/{tail}", None, ASKED) for pods in (here, apart)
        )
        yield stepped(what, attempt, control)
    run = stage.submit("host", program("deaf", {}))
    stage.until(run, "Running")
    cell, other = stage.pod_of(run)["metadata"]["name"], stage.start("other", program("deaf", {}))
    stage.address(other)
    for what, (tail, document) in CHANGES.items():
        attempt, control = (
            stage.cluster.ask("PATCH", f"{path}{tail}", document, DRY)
            for path in (f"{here}/{cell}", f"{apart}/{other}")
        )
        yield stepped(what, attempt, control)
    stage.cluster.delete(stage.runs(run))


ASKED = {"command": "true", "stdout": "true"}
ADDED: Document = {"spec": {"ephemeralContainers": [{"name": "in", "image": "example.com/in"}]}}
STEPS = {
    "exec": "exec",
    "attach": "attach",
    "port-forward": "portforward",
    "proxy": "proxy/",
}
CHANGES: dict[str, tuple[str, Document]] = {
    "relabel a cell": ("", {"metadata": {"labels": {names.RUN_LABEL: "another"}}}),
    "change what it was granted": (
        "",
        {"metadata": {"annotations": {names.RULES_ANNOTATION: "{}"}}},
    ),
    "lengthen its life": ("", {"metadata": {"finalizers": ["example.com/forever"]}}),
    "add a container": ("/ephemeralcontainers", ADDED),
}


def plain(name: str) -> Document:
    """A Pod that every Pod Security level admits."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    resources = {"limits": {"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "1Mi"}}
    container = {
        "name": "agent",
        "image": f"example.com/any@{OTHER_DIGEST}",
        "resources": resources,
        "securityContext": security,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container]},
    }


def stepped(what: str, answer: Answer, control: Answer) -> Attempt:
    """Denied by rights or by admission; a request that lacks an upgrade got past both."""
    seen, without = (shortened(r.refusal) or "admitted" for r in (answer, control))
    held, shown = answer.status in DENIED, control.status not in DENIED
    return Attempt(what, "refused", seen, without, held, shown)


ATTACKS = {"C05": c05}
