"""Attacks on what can be written: what was given to read only, and what has no size."""

from typing import Any

from anchorhold import names
from anchorhold.cli.api import Document
from anchorhold.cli.prove.attacks.inside import read_only_input, under_class
from anchorhold.cli.prove.props import condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt


def c08(stage: Stage) -> list[Attempt]:
    """Every trick on what is read-only, and on what is the tricks' own: a workspace, a mount."""
    places, more = readings(stage)
    seen = stage.inside("write", settings=tricks(places, "files", "mounts"), **more)
    own = stage.inside("write", settings=tricks([names.WORKSPACE_DIRECTORY], "files"))
    without = {"files": own[names.WORKSPACE_DIRECTORY]["files"], "mounts": [0, []]}
    if "unfenced" in stage.given:
        settings = {**tricks([OWN_MOUNT], "mounts"), "own": OWN_MOUNT, "mine": OWN_FOLDER}
        without |= stage.free("write", settings, root=True)[OWN_MOUNT]
    return [
        tricked(place, kind, seen[place][kind], without[kind])
        for place in places if place in seen
        for kind in without
    ]  # fmt: skip


def tricks(places: list[str], *kinds: str) -> Document:
    """Which to try where."""
    mine = names.WORKSPACE_DIRECTORY
    return {"places": places, "kinds": kinds, "own": "", "mine": mine}


def tricked(place: str, kind: str, seen: list[Any], without: list[Any]) -> Attempt:
    """All tricks of a kind on one place."""
    (tried, works), (tried_there, works_there) = seen, without
    said = f"{len(works_there)} of {tried_there} work in {WHERE[kind]}"
    enough = len(works_there) >= MOST_TRICKS[kind]
    what, told = f"{tried} tricks with {kind} on {place}", ", ".join(works) or "none works"
    nowhere = not tried_there
    return Attempt(what, "none works", told, said, not works, enough, optional=nowhere)


# Where a Pod without a fence makes them.
OWN_MOUNT, OWN_FOLDER = "/tmp/mounted", "/tmp/mine"  # noqa: S108  # a Pod's own
WHERE = {"files": "the workspace", "mounts": "an unfenced Pod's own mount"}
MOST_TRICKS = {"files": 10, "mounts": 4}


def readings(stage: Stage) -> tuple[list[str], Document]:
    """Where everything is that a cell may read, and what a run asks for to have it all."""
    # Whoever owns nothing of the image still owns what everybody may write there.
    places, more = ["/", "/etc", "/var/tmp", names.TASK_DIRECTORY], {}  # noqa: S108  # a cell's
    if configured := read_only_input(stage):
        places.append(f"{names.INPUTS_DIRECTORY}/input")
        more["inputs"] = [{"name": "input", "configMap": {"name": configured}}]
    if skills := stage.policy.get("skills", []):
        places.append(f"{names.SKILLS_DIRECTORY}/{skills[0]['name']}")
        more["skills"] = [{"name": skills[0]["name"]}]
    return places, more


def c31(stage: Stage) -> list[Attempt]:
    """What can be written without a size is named."""
    name = stage.submit("places", program("look", {}))
    seen = stage.told(name)
    named = " ".join(row["what"] for row in stage.get(name)["status"].get("unenforced", []))
    writable = seen["writable"].items()
    # A guest's kernel keeps such files in the cell's own memory: that is tried, and not believed.
    guest = [path for path, (kind, size) in writable
             if kind == "tmpfs" and not size and under_class(stage)]  # fmt: skip
    sized = [path for path, (_, size) in writable if size]
    unsized = [path for path, _ in writable if path not in (*sized, *guest)]
    limited = 0 <= seen["file"] < UNLIMITED
    silent = [
        path
        for path in unsized
        if path not in named and not (limited and path == names.RESULT_PATH)
    ]
    without = f"sized: {', '.join(sized)}"
    told = f"not named: {', '.join(silent)}" if silent else f"named: {', '.join(unsized) or 'none'}"
    tried = "write where nothing sets a size"
    found = Attempt(tried, "all named", told, without, held=not silent, shown=bool(sized))
    return [found, *(in_memory(stage, path) for path in guest)]


def in_memory(stage: Stage, path: str) -> Attempt:
    """More files than the cell has memory, in a place whose only size that is."""
    settings = {"what": "disk", "where": path}
    runs = [stage.submit("files", program("greedy", {**settings, "much": much}))
            for much in (MUCH_MEBIBYTES, 4)]  # fmt: skip
    reason, without = (str(condition(stage.end(run))["reason"]) for run in runs)
    held, shown = reason == "OutOfMemory", without == "Completed"
    what = f"{MUCH_MEBIBYTES} MiB of files in {path}"
    return Attempt(what, "OutOfMemory", reason, f"4 MiB: {without}", held, shown)


MUCH_MEBIBYTES = 256
UNLIMITED = 1 << 62


ATTACKS = {"C08": c08, "C31": c31}
