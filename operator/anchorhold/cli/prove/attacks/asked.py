"""Attacks on the API server's word with the user's own identity: dry runs that make nothing."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from anchorhold import names
from anchorhold.cli.api import Answer, Document, namespaced
from anchorhold.cli.prove.props import PYTHON, GaveUpError
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy import quantity

DRY = {"dryRun": "All"}
# Unauthorized, Forbidden, and Invalid, which admission and schemas answer with.
DENIED = (401, 403, 422)
OTHER_DIGEST = "sha256:" + "0" * 64
GREATEST_TASK = 65_536
KNOWN_SECONDS = 30
SERVERS_OWN = ("nodeName", "priority", "preemptionPolicy", "tolerations", "schedulerName")


def refused(what: str, answer: Answer, control: Answer, *words: str) -> Attempt:
    """An attempt that must be denied in these words, where its twin is admitted.

    Any other error tells nothing: what was not found, for one, was allowed to be looked for.
    """
    said = answer.refusal
    if said and answer.status not in DENIED:
        raise GaveUpError(f"{what}: {answer.status} {shortened(said)}")
    held = bool(said) and all(word in said for word in words)
    seen = shortened(said) or "admitted"
    wanted = f"refused, naming {' '.join(words)}" if words else "refused"
    without = shortened(control.refusal) or "admitted"
    return Attempt(what, wanted, seen, without, held, not control.refusal)


def shortened(text: str) -> str:
    """What a refusal says, without who says it."""
    text = text.rpartition("denied request: ")[2]
    return text if len(text) <= 160 else f"{text[:159]}…"  # noqa: PLR2004  # a line


def dry_run(stage: Stage, **spec: Any) -> Answer:  # noqa: ANN401
    """Submit a run without making it."""
    document = stage.run("asked")
    document["spec"] |= spec
    return stage.cluster.ask("POST", stage.runs(), document, DRY)


def until_denied(stage: Stage, *asks: Callable[[], Answer]) -> list[Answer]:
    """The answers, once all are denied: the API server learns of a rule a moment later.

    If it never does, they come after half a minute: that is what was to be seen.
    """
    with suppress(GaveUpError):
        stage.wait(lambda: all(ask().refusal for ask in asks), "it to be known", KNOWN_SECONDS)
    return [ask() for ask in asks]


def until_known(stage: Stage) -> None:
    """Wait until the API server knows the namespace's policy, which may be of a moment ago."""
    resources = {"memory": more_memory(stage.policy["limits"]["memory"])}
    until_denied(stage, lambda: dry_run(stage, resources=resources))


def c04(stage: Stage) -> list[Attempt]:
    """Each limit, and one more."""
    until_known(stage)
    limits = stage.policy["limits"]
    seconds = limits["activeDeadlineSeconds"]
    cpu, memory = limits["cpu"], limits["memory"]
    rows: tuple[tuple[str, Callable[[Any], Document], Any, Any], ...] = (
        ("activeDeadlineSeconds", lambda v: {"activeDeadlineSeconds": v}, seconds, seconds + 1),
        ("resources.cpu", lambda v: {"resources": {"cpu": v}}, cpu, more_cpu(cpu)),
        ("resources.memory", lambda v: {"resources": {"memory": v}}, memory, more_memory(memory)),
        (
            "workspace.sizeLimit",
            lambda v: {"workspace": {"sizeLimit": v}},
            limits["workspace"],
            more_memory(limits["workspace"]),
        ),
    )
    found = []
    for field, spec, limit, above in rows:
        attempt, control = dry_run(stage, **spec(above)), dry_run(stage, **spec(limit))
        found.append(refused(f"{field} of {above}", attempt, control, f"`{field}`"))
    rule = {"egress": {"rules": [{"name": "no-such-rule"}]}}
    found.append(refused("a rule of no policy", dry_run(stage, **rule), dry_run(stage), "egress"))
    return found


def more_cpu(cpu: str) -> str:
    """A thousandth of a CPU more."""
    return f"{quantity.millicores(cpu) + 1}m"


def more_memory(memory: str) -> str:
    """A mebibyte more."""
    return f"{quantity.mebibytes(memory) + 1}Mi"


def unlisted(stage: Stage) -> list[Attempt]:
    """What is not what the policy lists by its digest."""
    until_known(stage)
    repository, control = stage.image.partition("@")[0], dry_run(stage)
    mutable = {"inputs": [{"name": "input", "configMap": {"name": "kube-root-ca.crt-not"}}]}
    rows = (
        ("an image by tag", {"image": f"{repository}:latest"}, "sha256:"),
        ("the image with another digest", {"image": f"{repository}@{OTHER_DIGEST}"}, "`image`"),
        ("a skill of no policy", {"skills": [{"name": "no-such-skill"}]}, "`skills"),
        ("an image of no policy as input",
         {"inputs": [{"name": "input", "image": {"reference": f"{repository}-x@{OTHER_DIGEST}"}}]},
         "`inputs"),
    )  # fmt: skip
    allowed = [row["name"] for row in stage.policy.get("inputs", {}).get("configMaps", [])]
    found = [refused(what, dry_run(stage, **spec), control, word) for what, spec, word in rows]
    if "*" not in allowed:
        found.append(
            refused("a ConfigMap of no policy", dry_run(stage, **mutable), control, "`inputs")
        )
    return found


def c27(stage: Stage) -> list[Attempt]:
    """Keep a run from being deleted, or its cell from going along."""
    name = stage.submit("kept")
    path, ask = stage.runs(name), stage.cluster.ask
    label = ask("PATCH", path, {"metadata": {"labels": {"color": "blue"}}}, DRY)
    finalizer = ask("PATCH", path, {"metadata": {"finalizers": ["example.com/forever"]}}, DRY)
    gone, orphaned = (
        ask("DELETE", path, {"dryRun": ["All"], "propagationPolicy": policy})
        for policy in ("Background", "Orphan")
    )
    stage.cluster.delete(path)
    return [
        refused("add a finalizer", finalizer, label, "`metadata.finalizers`"),
        refused("delete it and leave the cell", orphaned, gone, "`propagationPolicy`"),
    ]


def c28(stage: Stage) -> list[Attempt]:
    """One character, variable, argument or input more than there may be."""
    until_known(stage)
    at_most = dry_run(stage, task="x" * GREATEST_TASK)
    env = [{"name": f"V{number}", "value": ""} for number in range(33)]
    rows: tuple[tuple[str, Document], ...] = (
        ("a task of 64 KiB and one character", {"task": "x" * (GREATEST_TASK + 1)}),
        ("33 variables", {"env": env}),
        ("an argument of 1,025 characters", {"args": ["x" * 1_025]}),
        ("33 arguments", {"args": ["x"] * 33}),
    )
    found = [refused(what, dry_run(stage, **spec), at_most) for what, spec in rows]
    name = "x" * 53
    long_named = stage.run("long")
    long_named["metadata"]["name"] = name
    answer = stage.cluster.ask("POST", stage.runs(), long_named, DRY)
    found.append(refused("a name of 53 characters", answer, at_most))
    return [*found, *quota(stage)]


def quota(stage: Stage) -> list[Attempt]:
    """Whether anybody counts them, and what they come to. Who may read no quota learns nothing."""
    answer = stage.cluster.ask("GET", namespaced(stage.namespace, "resourcequotas"))
    items = answer.body.get("items", []) if not answer.refusal else []
    hard = {key: int(value) for item in items for key, value in item["spec"]["hard"].items()
            if key in COUNTED}  # fmt: skip
    missing = sorted(set(COUNTED) - hard.keys())
    seen = "counted" if not missing else f"not counted: {', '.join(missing)}"
    counted = Attempt(
        "objects without number", "counted", seen if not answer.refusal else answer.refusal,
        "the quota is there to be read", bool(answer.refusal) or not missing,
        shown=not answer.refusal, optional=True,
    )  # fmt: skip
    return [counted] if missing else [counted, filled(stage, hard)]


RUNS, PODS, CONFIG_MAPS = COUNTED = (f"count/agentruns.{names.GROUP}", "count/pods", "configmaps")
# What etcd takes by default, and the most that Kubernetes takes of one ConfigMap.
ETCD_BYTES, CONFIG_MAP_BYTES, MEBIBYTE = 2 << 30, 1 << 20, 1 << 20
# It takes six bytes of JSON, as which etcd has a run.
LONGEST_CHARACTER = "\x01"


def filled(stage: Stage, hard: dict[str, int]) -> Attempt:
    """A run as large as can be, made and completed; and as many of them as may be."""
    word = LONGEST_CHARACTER * 1_024
    name = stage.submit(
        "largest", LONGEST_CHARACTER * GREATEST_TASK, command=[*PYTHON, "pass", *[word] * 3],
        args=[word] * 32,
        env=[{"name": f"V{number:02}".ljust(128, "x"), "value": word} for number in range(32)],
    )  # fmt: skip
    run, pod = stage.until(name, "Completed"), stage.pod_of(name)
    sizes = {RUNS: as_stored(run), PODS: as_stored(pod), CONFIG_MAPS: CONFIG_MAP_BYTES}
    total = sum(hard[kind] * size for kind, size in sizes.items())
    said = " + ".join(f"{hard[kind]} x {size >> 10} KiB" for kind, size in sizes.items())
    return Attempt(
        "as many runs, cells and ConfigMaps as may be, of the greatest size",
        f"less than {ETCD_BYTES // MEBIBYTE} MiB, which etcd takes by default",
        f"{said} = {total // MEBIBYTE} MiB", f"one of {sizes[RUNS] >> 10} KiB was made",
        held=total < ETCD_BYTES, shown=sizes[RUNS] > 6 * GREATEST_TASK,
    )  # fmt: skip


def as_stored(document: Document) -> int:
    """How many bytes of JSON an object is, with its status."""
    return len(json.dumps(document, separators=(",", ":")))


def c29(stage: Stage) -> list[Attempt]:
    """Ask to be forgotten too soon."""
    least = int(stage.policy.get("minRetentionSeconds", 0))
    if not least:
        return []
    until_known(stage)
    early, exact = (dry_run(stage, ttlSecondsAfterFinished=ttl) for ttl in (least - 1, least))
    return [refused(f"to go after {least - 1} s", early, exact, "`ttlSecondsAfterFinished`")]


def as_posted(cell: Document, name: str) -> Document:
    """A cell, or what goes with it, as the controller posts it."""
    found: Document = json.loads(json.dumps(cell))
    found.pop("status", None)
    keep = ("namespace", "labels", "annotations", "ownerReferences")
    found["metadata"] = {k: v for k, v in found["metadata"].items() if k in keep} | {"name": name}
    spec = found.get("spec", {})
    for added in SERVERS_OWN:
        spec.pop(added, None)
    for volume in spec.get("volumes", ()):
        if volume["name"] == "task":
            volume["configMap"]["name"] = name
    return found


ATTACKS = {"C04": c04, "C27": c27, "C28": c28, "C29": c29}
