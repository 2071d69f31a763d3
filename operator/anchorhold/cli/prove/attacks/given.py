"""Attacks on what an agent is given: other content, under a name or a digest that was judged."""

from collections.abc import Iterator
from contextlib import suppress

from anchorhold import names
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks import undoing
from anchorhold.cli.prove.attacks.asked import OTHER_DIGEST, as_posted, dry_run, unlisted
from anchorhold.cli.prove.attacks.borrowed import controller
from anchorhold.cli.prove.attacks.inside import immutable, read_only_input
from anchorhold.cli.prove.attacks.unled import Part
from anchorhold.cli.prove.props import GaveUpError, condition, program, read_json
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy import digest

JUDGED, SWAPPED = "what was judged", "what nobody judged"
INPUT_FILE = f"{names.INPUTS_DIRECTORY}/input/file"
SKILL = "SKILL.md"


def c22(stage: Stage) -> Iterator[Attempt]:
    """What no policy lists; and what it lists, once it is something else."""
    yield from unlisted(stage)
    if given := read_only_input(stage, JUDGED):
        yield changeable(stage, said(stage, reader(stage, given)))
    if "disruptive" in stage.given:
        yield from skills(stage)


def reading(given: str) -> Document:
    """What a run asks for to read a ConfigMap."""
    return {"inputs": [{"name": "input", "configMap": {"name": given}}]}


def said(stage: Stage, run: str) -> str:
    """What the agent read, or else why it read nothing."""
    found = stage.end(run)
    text = found["status"].get("result", {}).get("message", "")
    return f"it read: {read_json(text)}" if text else str(condition(found)["reason"])


def is_judged(text: str) -> bool:
    """Whether that is what was given to be read."""
    return text == f"it read: {JUDGED}"


def unread(what: str, wanted: str, seen: str, without: str) -> Attempt:
    """Content that no agent may get to see."""
    return Attempt(what, wanted, seen, without, seen == wanted, is_judged(without))


def changeable(stage: Stage, without: str) -> Attempt:
    """A ConfigMap that anybody could still change."""
    name = stage.unique("input")
    path = namespaced(stage.namespace, "configmaps", name)
    stage.undo.append(lambda: stage.cluster.delete(path))
    document = {**immutable(name, SWAPPED), "immutable": False}
    stage.cluster.post(namespaced(stage.namespace, "configmaps"), document)
    run = stage.submit("given", program("read", {"path": INPUT_FILE}), **reading(name))
    return unread("an input that can still be changed", "PolicyRefused", said(stage, run), without)


# ---- an input, between the grant and the start -----------------------------------------------


def swapped(stage: Stage) -> Part:
    """Made anew with other content, after the grant and before the cell; and another, with its own.

    The cells are made as the controller makes them, with its token and while it is stopped: so
    that nothing is a race. A kubelet may still have what was judged, and that is no harm.
    """
    given, kept = (read_only_input(stage, JUDGED) for _ in range(2))
    if not given:
        return []
    pattern, twin = reader(stage, given), reader(stage, kept)
    for run in (pattern, twin):
        stage.until(run, "Completed")
    yield
    make_anew(stage, given, SWAPPED)
    make_anew(stage, kept, JUDGED)
    changed, same = copied(stage, pattern), copied(stage, twin)
    yield
    seen, without = said(stage, changed), said(stage, same)
    held, wanted = seen == "InputMissing" or is_judged(seen), "InputMissing, or what was judged"
    what = "an input that is swapped after the grant"
    return [Attempt(what, wanted, seen, without, held, is_judged(without))]


def reader(stage: Stage, given: str) -> str:
    """A run that reads an input."""
    return stage.submit("given", program("read", {"path": INPUT_FILE}), **reading(given))


def make_anew(stage: Stage, name: str, content: str) -> None:
    """Another ConfigMap of the same name."""
    path = namespaced(stage.namespace, "configmaps")
    stage.cluster.delete(f"{path}/{name}")
    stage.cluster.post(path, immutable(name, content))


def copied(stage: Stage, pattern: str) -> str:
    """A run like an ended one, whose cell has the other's grant, once that cell is over."""
    old, pod = stage.get(pattern), stage.pod_of(pattern)
    task = stage.cluster.get(namespaced(stage.namespace, "configmaps", pod["metadata"]["name"]))
    run = stage.submit("copied", old["spec"]["task"], **reading_as(old))
    uid = str(stage.get(run)["metadata"]["uid"])
    them, name = controller(stage), names.child_name(run, uid)
    for kind, document in (("configmaps", task), ("pods", pod)):
        them.post(namespaced(stage.namespace, kind), adopted(document or {}, name, run, uid))
    cell = namespaced(stage.namespace, "pods", name)

    def is_over() -> bool:
        phase = (stage.cluster.get(cell) or {"status": {}})["status"].get("phase")
        return phase in ("Succeeded", "Failed")

    stage.wait(is_over, "a cell to be over")
    return run


def reading_as(run: Document) -> Document:
    """What another run asked for."""
    return {key: value for key, value in run["spec"].items() if key != "task"}


def adopted(document: Document, name: str, run: str, uid: str) -> Document:
    """An object of one run as another run would own it."""
    found = as_posted(document, name)
    found["metadata"]["ownerReferences"][0] |= {"name": run, "uid": uid}
    found["metadata"]["labels"][names.RUN_LABEL] = uid
    return found


# ---- skills ----------------------------------------------------------------------------------


def skills(stage: Stage) -> Iterator[Attempt]:
    """Skills of our own, which the policy lists for a moment: a liar's, and one that changes."""
    library = namespaced(names.POLICY_NAMESPACE, "agentskills", "", names.API_VERSION)
    liar, honest = (stage.unique(word) for word in ("liar", "honest"))
    for document in (skill(liar, SWAPPED, OTHER_DIGEST), skill(honest, JUDGED)):
        path = f"{library}/{document['metadata']['name']}"
        stage.undo.append(lambda path=path: stage.cluster.delete(path))  # type: ignore[misc]
        stage.cluster.post(library, document)
    rows = [*stage.policy.get("skills", []), listed(skill(liar, SWAPPED, OTHER_DIGEST)),
            listed(skill(honest, JUDGED))]  # fmt: skip
    before = {"spec": {"skills": stage.policy.get("skills")}}
    with undoing.undone(stage, {"spec": {"skills": rows}}, before, undoing.policy(stage)):
        stage.wait(lambda: not dry_run(stage, **asking(honest)).refusal, "skills to be known")
        without = said(stage, read_by_run(stage, honest))
        lied = said(stage, read_by_run(stage, liar))
        stage.cluster.delete(f"{library}/{honest}")
        stage.cluster.post(library, skill(honest, SWAPPED))
        with suppress(GaveUpError):
            stage.wait(lambda: not is_judged(said(stage, read_by_run(stage, honest))), "it", 20)
        changed = said(stage, read_by_run(stage, honest))
    yield unread("a skill whose digest is a lie", "PolicyRefused", lied, without)
    yield unread("a skill that was made anew", "PolicyRefused", changed, without)


def skill(name: str, text: str, claimed: str = "") -> Document:
    """An AgentSkill of one file, with its digest or another."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "AgentSkill",
        "metadata": {"name": name},
        "spec": {
            "description": "To be read by a run that proves something.",
            "files": [{"path": SKILL, "content": text}],
            "digest": claimed or digest.of_texts({SKILL: text}),
        },
    }


def listed(document: Document) -> Document:
    """How a policy lists it."""
    return {"name": document["metadata"]["name"], "digest": document["spec"]["digest"]}


def asking(name: str) -> Document:
    """How a run asks for it."""
    return {"skills": [{"name": name}]}


def read_by_run(stage: Stage, name: str) -> str:
    """A run that reads a skill."""
    path = f"{names.SKILLS_DIRECTORY}/{name}/{SKILL}"
    return stage.submit("skilled", program("read", {"path": path}), **asking(name))


ATTACKS = {"C22": c22}
