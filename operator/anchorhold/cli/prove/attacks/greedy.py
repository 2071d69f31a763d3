"""Attacks on limits: one run takes too much, or many come at once, or one will not go."""

from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.props import condition, program, smaller
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt
from anchorhold.policy import quantity

# More cells than this are no attack but a load.
MOST_AT_ONCE = 10
# What nobody needs, and what everybody may have.
FORKS = (4_000, 4)
BOMB_SECONDS = 100


def c15(stage: Stage) -> list[Attempt]:
    """Bombs, all at once, beside a neighbour; and the same with a small wish."""
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
    beside = stage.end(neighbour)
    unbounded = any("processes" in row["what"] for row in beside["status"].get("unenforced", []))
    forking = not unbounded or "destructive" in stage.given
    forked = [stage.submit("forks", wish("forks", n)) for n in FORKS] if forking else []
    found = [bomb(stage, row, *runs) for row, *runs in zip(bombs, made, small, strict=True)]
    seen = condition(beside)["reason"]
    found.append(
        Attempt("run beside them", "Completed", seen, "-", seen == "Completed", shown=True)
    )
    return [*found, forks(stage, *forked, unbounded=unbounded)] if forking else found


def bomb(stage: Stage, row: tuple[str, int, str], run: str, small: str) -> Attempt:
    """One bomb. A kernel that ends one process of a cell and not all keeps the limit too."""
    what, much, expected = row
    seen, without = (condition(stage.end(each))["reason"] for each in (run, small))
    held, shown = seen == expected, without == "Completed"
    if what == "memory":
        least = quantity.mebibytes(stage.get(run)["spec"]["resources"]["memory"])
        got = stage.told(run)["got"] if seen == "Completed" else 0
        expected = f"{expected}, or at most {least} MiB"
        held, seen = held or 0 < got <= least, f"{seen} with {got} MiB" if got else seen
    return Attempt(f"{much} MiB of {what}", expected, seen, f"4 MiB: {without}", held, shown)


def wish(what: str, much: int) -> str:
    """The program that takes so much of one thing."""
    return program("greedy", {"what": what, "much": much})


def forks(stage: Stage, run: str, small: str, *, unbounded: bool) -> Attempt:
    """As many processes as the node lets it have."""
    seen, without = (gotten(stage, each) for each in (run, small))
    # Where nothing bounds them, the run's status has said so: that was seen before.
    held, wanted = (
        seen != str(FORKS[0]) or unbounded,
        "named in the status" if unbounded else "fewer",
    )
    what, shown = f"{FORKS[0]} processes", without == str(FORKS[1])
    return Attempt(what, wanted, seen, f"{FORKS[1]}: {without}", held, shown)


def gotten(stage: Stage, run: str) -> str:
    """How much of it a run got, or why it ended."""
    ended = condition(stage.end(run))["reason"]
    return str(stage.told(run)["got"]) if ended == "Completed" else str(ended)


def c20(stage: Stage) -> list[Attempt]:
    """Two more than may live at a time."""
    cap = int(stage.policy["limits"]["activeRuns"])
    if cap > MOST_AT_ONCE or int(stage.policy["limits"]["queuedRuns"]) < 2:  # noqa: PLR2004
        return []
    # A deaf cell outlives its run for a while, and takes a place as long.
    stage.wait(lambda: not alive(stage), "earlier cells to be gone")
    # A small node shall have room for all of them.
    room = {"resources": smaller(stage.policy["limits"], cpu=A_TENTH)}
    runs = [stage.submit("burst", SLEEP, **room) for _ in range(cap + 2)]
    ends = {condition(stage.end(run))["reason"] for run in runs}
    spans = [span(pod) for pod in stage.cells(*runs)]
    most = most_at_once(spans)
    stage.remove(*runs)
    return [
        Attempt(f"{cap + 2} runs at once", f"at most {cap}", str(most), ", ".join(ends),
                most <= cap, len(spans) == cap + 2 and most == cap and ends == {"Completed"})
    ]  # fmt: skip


def alive(stage: Stage) -> list[Document]:
    """The Pods of the namespace that have not ended, whosever they are."""
    pods = (stage.cluster.get(namespaced(stage.namespace, "pods")) or {})["items"]
    return [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]


SLEEP, A_TENTH = "import time; time.sleep(2)", "100m"


def span(pod: Document) -> tuple[str, str]:
    """From when to when a cell lived, as the kubelet wrote it down: a phase is told late."""
    status = pod["status"]
    (agent,) = status["containerStatuses"]
    return str(status["startTime"]), str(agent["state"]["terminated"]["finishedAt"])


def most_at_once(spans: list[tuple[str, str]]) -> int:
    """How many lived at the same time, at most; it is known to the second."""
    starts = [start for start, _ in spans]
    return max((sum(start <= at < end for start, end in spans) for at in starts), default=0)


ATTACKS = {"C15": c15, "C20": c20}
# Nothing else may run beside these: they count, or they take what others need.
ALONE = ("C15", "C20")
