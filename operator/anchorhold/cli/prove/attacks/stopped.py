"""Attacks while something of Anchorhold is stopped or taken away; it is put back afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from anchorhold.cli.api import Answer, namespaced
from anchorhold.cli.prove.attacks import asking, given, lying, undoing, walls
from anchorhold.cli.prove.attacks.asked import DRY, as_posted, dry_run, refused, until_denied
from anchorhold.cli.prove.attacks.borrowed import a_cell, controller
from anchorhold.cli.prove.attacks.unled import Part
from anchorhold.cli.prove.attacks.walls import LATE_SECONDS
from anchorhold.cli.prove.props import GaveUpError, condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

DEAF_SECONDS, GONE_SECONDS = 25, 30
SUSPENDED = "403 policy-suspended"


def c03(stage: Stage) -> Part:
    """A run by the user, and its cell by the controller's own token, with no controller."""
    cell, them = a_cell(stage), controller(stage)
    pods = namespaced(stage.namespace, "pods")
    copied = as_posted(cell, stage.unique("copy"))

    both: tuple[Callable[[], Answer], ...] = (
        lambda: dry_run(stage),
        lambda: them.ask("POST", pods, copied, DRY),
    )
    before, found = [ask() for ask in both], []
    yield
    for how, gone in (
        ("suspended", undoing.suspended(stage)),
        ("deleted", undoing.taken_away(stage, undoing.policy(stage))),
    ):
        with gone:
            after = until_denied(stage, *both)
        stage.wait(lambda: not dry_run(stage).refusal, "the policy to hold again")
        found += [
            refused(f"{what} under a policy that is {how}", answer, control)
            for what, answer, control in zip(TWO, after, before, strict=True)
        ]
    return found


TWO = ("submit a run", "create its cell as the controller")


def c16(stage: Stage) -> Part:
    """A short life and a longer one, of an agent that hears nothing, and nobody there to end it."""
    seconds = min(DEAF_SECONDS, stage.policy["limits"]["activeDeadlineSeconds"])
    longer = stage.submit("deaf-longer", program("deaf", {}))
    short = stage.submit("deaf", program("deaf", {}), activeDeadlineSeconds=seconds)
    for name in (longer, short):
        stage.until(name, "Running")
    yield
    over = is_over(stage, short)
    pods = [stage.pod_of(each)["metadata"]["name"] for each in (short, longer)]
    before, alive = (stage.log(stage.namespace, pod) for pod in pods)
    stage.wait(lambda: len(stage.log(stage.namespace, pods[1])) > len(alive), "the other")
    after, still = stage.log(stage.namespace, pods[0]), phases(stage, longer)
    yield
    ended = stage.reason(short)
    stage.remove(short, longer)
    return [
        Attempt("outlive the deadline", "DeadlineExceeded", ended, still,
                ended == "DeadlineExceeded" and over, still == "Running"),
        Attempt("speak after the end", "silent", "silent" if before == after else "speaking",
                "the other one speaks", before == after, "alive" in alive),
    ]  # fmt: skip


def is_over(stage: Stage, run: str) -> bool:
    """Whether the kubelet says, in good time, that every container has ended."""

    def look() -> bool:
        rows = stage.pod_of(run)["status"].get("containerStatuses", [])
        return bool(rows) and all("terminated" in row["state"] for row in rows)

    with suppress(GaveUpError):
        return stage.wait(look, "containers to end", DEAF_SECONDS + 60)
    return False


def c17(stage: Stage) -> Iterator[Attempt]:
    """The kill switch, of the cell."""
    name = stage.submit("revoked", program("deaf", {}))
    before = condition(stage.until(name, "Running"))["reason"]
    shown = before == "Running"
    with undoing.suspended(stage):
        ended = stage.reason(name, GONE_SECONDS)
        left = outlived(stage, name)
    yield Attempt("run on under a suspended policy", "PolicyRevoked", ended, before,
                  ended == "PolicyRevoked", shown)  # fmt: skip
    what = "keep its cell, and what that has open"
    yield Attempt(what, "gone", left or "gone", before, not left, shown)


def outlived(stage: Stage, run: str) -> str:
    """What is left of a run's cells a moment after its end: a deaf agent has its grace."""
    with suppress(GaveUpError):
        stage.wait(lambda: not stage.cells(run), "the cell to be gone", GONE_SECONDS)
    return phases(stage, run)


def shut_out(stage: Stage) -> Part:
    """The same at the gateway: a cell that nobody ends asks on."""
    if "gateway" not in stage.given:
        return []
    rule = asking.own(stage)
    run = asking.asks_on(stage, "asks", asking.allowed(rule), **asking.egress(rule["name"]))
    first = asking.heard(stage, run, bool)
    yield
    with undoing.suspended(stage):
        lines = asking.heard(stage, run, lambda lines: SUSPENDED in lines, GONE_SECONDS)
        alive = phases(stage, run)
    stage.remove(run)
    seen = SUSPENDED if SUSPENDED in lines else "".join(lines[-1:])
    shown = bool(first) and " " not in first[0] and alive == "Running"
    without = f"{''.join(first[:1])} before; the cell is {alive}"
    what = "ask the gateway on, with no controller"
    return [Attempt(what, SUSPENDED, seen, without, seen == SUSPENDED, shown)]


def c24(stage: Stage) -> Part:
    """Two cells live; one run is deleted while there is no controller."""
    doomed, kept = (stage.submit(word, program("deaf", {})) for word in ("doomed", "kept"))
    for name in (doomed, kept):
        stage.until(name, "Running")
    yield
    stage.cluster.delete(stage.runs(doomed))
    with suppress(GaveUpError):
        stage.wait(lambda: not stage.cells(doomed), "the cell to be gone", 60)
    seen, left = phases(stage, doomed), phases(stage, kept)
    stage.cluster.delete(stage.runs(kept))
    return [
        Attempt(
            "outlive its run", "gone", seen or "gone", f"kept: {left}", not seen, left == "Running"
        )
    ]


def phases(stage: Stage, run: str) -> str:
    """What is left of a run's cells."""
    return ", ".join(str(pod["status"].get("phase")) for pod in stage.cells(run))


def c30(stage: Stage) -> list[Attempt]:
    """One agent runs when the enforcer dies, another wants to start."""
    running = stage.submit("before", program("deaf", {}))
    before = condition(stage.until(running, "Running"))["reason"]
    with undoing.no_enforcer(stage):
        ended = stage.reason(running)
        late = stage.submit("meanwhile")
        meanwhile = stage.reason(late, LATE_SECONDS)
    after = condition(stage.end(stage.submit("after")))["reason"]
    stage.remove(running, late)
    return [
        Attempt("run on without it", "BoundaryOpen", ended, before, ended == "BoundaryOpen",
                before == "Running"),
        Attempt("start without it", "not started", meanwhile, after,
                meanwhile not in ("Running", "Completed"), after == "Completed"),
    ]  # fmt: skip


ATTACKS = {"C30": c30, "C17": c17, "C23": walls.c23}
# What needs no controller. Those of a group would disturb each other; the groups do not.
UNLED: tuple[Mapping[str, Callable[[Stage], Part]], ...] = (
    {"C26": lying.lies, "C17": shut_out, "C03": c03, "C22": given.swapped},
    {"C24": c24},
    {"C16": c16},
)
