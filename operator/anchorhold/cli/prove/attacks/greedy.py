"""Attacks on limits: one run takes too much, or many come at once, or one will not go."""

from anchorhold.cli.api import Document
from anchorhold.cli.prove.props import condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy import quantity

# More cells than this are no attack but a load.
MOST_AT_ONCE = 10
MOST_FORKS = 4_000
BOMB_SECONDS = 100


def c15(stage: Stage) -> list[Attempt]:
    """Bombs, all at once, beside a neighbour; and the same with a small wish."""
    first = stage.end(stage.submit("neighbour", program("look", {})))
    unbounded = any("processes" in row["what"] for row in first["status"].get("unenforced", []))
    limits = stage.policy["limits"]
    size = min(quantity.mebibytes(limits["workspace"]), 32)
    room: Document = {
        "workspace": {"sizeLimit": f"{size}Mi"},
        "activeDeadlineSeconds": min(BOMB_SECONDS, limits["activeDeadlineSeconds"]),
    }
    bombs = (("memory", 256, "OutOfMemory"), ("disk", size * 4, "DiskExceeded"),
             ("log", size + 128, "DiskExceeded"))  # fmt: skip
    made = [stage.submit(what, wish(what, much), **room) for what, much, _ in bombs]
    small = [stage.submit("little", wish(what, 4), **room) for what, _, _ in bombs]
    neighbour = stage.submit("neighbour", program("look", {}))
    found = [bomb(stage, row, *runs) for row, *runs in zip(bombs, made, small, strict=True)]
    seen = condition(stage.end(neighbour))["reason"]
    found.append(
        Attempt("run beside them", "Completed", seen, "-", seen == "Completed", shown=True)
    )
    if not unbounded or "destructive" in stage.given:
        found.append(forks(stage, unbounded=unbounded))
    return found


def bomb(stage: Stage, row: tuple[str, int, str], run: str, small: str) -> Attempt:
    """One bomb. A kernel that ends one process of a cell and not all is a limit too."""
    what, much, expected = row
    seen, without = (condition(stage.end(each))["reason"] for each in (run, small))
    got = stage.told(run)["got"] if seen == "Completed" else 0
    held = seen == expected or (what == "memory" and seen == "Completed" and got < much)
    shown = without == "Completed"
    return Attempt(f"{much} MiB of {what}", expected, seen, f"4 MiB: {without}", held, shown)


def wish(what: str, much: int) -> str:
    """The program that takes so much of one thing."""
    return program("greedy", {"what": what, "much": much})


def forks(stage: Stage, *, unbounded: bool) -> Attempt:
    """As many processes as the node lets it have."""
    name = stage.submit("forks", wish("forks", MOST_FORKS))
    run = stage.end(name)
    ended = condition(run)["reason"]
    got = stage.told(name)["got"] if ended == "Completed" else 0
    small = stage.inside("greedy", "forks", {"what": "forks", "much": 4})["got"]
    seen = f"{got}" if ended == "Completed" else ended
    held = got < MOST_FORKS or unbounded
    return Attempt(f"{MOST_FORKS} processes", "fewer", seen, f"4: {small}", held, small == 4)  # noqa: PLR2004


def c20(stage: Stage) -> list[Attempt]:
    """Two more than may live at a time."""
    cap = int(stage.policy["limits"]["activeRuns"])
    if cap > MOST_AT_ONCE or int(stage.policy["limits"]["queuedRuns"]) < 2:  # noqa: PLR2004
        return []
    runs = [stage.submit("burst", SLEEP) for _ in range(cap + 2)]
    most = 0

    def over() -> bool:
        nonlocal most
        alive = [pod for pod in stage.cells(*runs) if lives(pod)]
        most = max(most, len(alive))
        return all(condition(stage.get(run))["status"] != "Unknown" for run in runs)

    stage.wait(over, "a burst to be over", 300)
    ends = {condition(stage.get(run))["reason"] for run in runs}
    stage.remove(*runs)
    return [
        Attempt(f"{cap + 2} runs at once", f"at most {cap}", str(most), ", ".join(ends),
                most <= cap, most == cap and ends == {"Completed"})
    ]  # fmt: skip


SLEEP = "import time; time.sleep(6)"


def lives(pod: Document) -> bool:
    """Whether an agent is alive, or about to be; the kubelet tells of a Pod's end a little late."""
    status = pod["status"]
    ended = any("terminated" in row["state"] for row in status.get("containerStatuses", []))
    return status.get("phase") not in ("Succeeded", "Failed") and not ended


ATTACKS = {"C15": c15, "C20": c20}
# Nothing else may run beside these: they count, or they take what others need.
ALONE = ("C15", "C20")
