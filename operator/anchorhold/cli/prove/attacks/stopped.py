"""Attacks while something of Anchorhold is stopped or taken away; it is put back afterwards."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from anchorhold import names
from anchorhold.cli.api import Answer, namespaced
from anchorhold.cli.prove.attacks import given, undoing
from anchorhold.cli.prove.attacks.asked import DRY, as_posted, dry_run, refused, until_denied
from anchorhold.cli.prove.attacks.borrowed import a_cell, controller
from anchorhold.cli.prove.attacks.inside import under_class
from anchorhold.cli.prove.facts import BINDINGS, is_about
from anchorhold.cli.prove.props import GaveUpError, condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

WALLS = "networking.k8s.io/v1"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
# A run starts within a few seconds where nothing keeps it from that.
DEAF_SECONDS, LATE_SECONDS = 30, 8


def c03(stage: Stage) -> list[Attempt]:
    """A run by the user, and its cell by the controller's own token, with no controller."""
    cell, them = a_cell(stage), controller(stage)
    pods = namespaced(stage.namespace, "pods")
    copied = as_posted(cell, stage.unique("copy"))

    both: tuple[Callable[[], Answer], ...] = (
        lambda: dry_run(stage),
        lambda: them.ask("POST", pods, copied, DRY),
    )
    before, found = [ask() for ask in both], []
    with undoing.no_controller(stage):
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


def c16(stage: Stage) -> list[Attempt]:
    """A short life and a longer one, of an agent that hears nothing, and nobody there to end it."""
    seconds = min(DEAF_SECONDS, stage.policy["limits"]["activeDeadlineSeconds"])
    longer = stage.submit("deaf-longer", program("deaf", {}))
    stage.until(longer, "Running")
    short = stage.submit("deaf", program("deaf", {}), activeDeadlineSeconds=seconds)
    stage.until(short, "Running")
    with undoing.no_controller(stage):
        over = is_over(stage, short)
        pods = [stage.pod_of(each)["metadata"]["name"] for each in (short, longer)]
        before, alive = (stage.log(stage.namespace, pod) for pod in pods)
        stage.wait(lambda: len(stage.log(stage.namespace, pods[1])) > len(alive), "the other")
        after, still = stage.log(stage.namespace, pods[0]), phases(stage, longer)
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


def c17(stage: Stage) -> list[Attempt]:
    """The kill switch."""
    name = stage.submit("revoked", program("deaf", {}))
    before = condition(stage.until(name, "Running"))["reason"]
    with undoing.suspended(stage):
        ended = stage.reason(name)
    return [
        Attempt("run on under a suspended policy", "PolicyRevoked", ended, before,
                ended == "PolicyRevoked", before == "Running")
    ]  # fmt: skip


def c23(stage: Stage) -> Iterator[Attempt]:
    """Each part of the wall is taken away: what ran behind it ends, and nothing starts."""
    for what, path, leans in parts(stage):
        running = stage.submit("inside", program("deaf", {})) if leans else ""
        before = condition(stage.until(running, "Running"))["reason"] if leans else ""
        with undoing.taken_away(stage, path):
            ended = stage.reason(running) if leans else ""
            late = stage.submit("late")
            meanwhile = stage.reason(late, LATE_SECONDS)
        stage.remove(*filter(None, (running, late)))
        if leans:
            yield Attempt(f"run on without {what}", "PolicyRevoked", ended, before,
                          ended == "PolicyRevoked", before == "Running")  # fmt: skip
        yield start(stage, f"start without {what}", meanwhile, held=meanwhile not in STARTED)
    if not under_class(stage):
        yield profile(stage)


def parts(stage: Stage) -> list[tuple[str, str, bool]]:
    """What makes the wall of a namespace: what it is, where, and whether what runs leans on it."""
    bindings = stage.cluster.get(BINDINGS) or {"items": []}
    wanted = names.LIMITS_POLICIES[1]
    found = [
        (
            "its NetworkPolicy",
            namespaced(stage.namespace, "networkpolicies", names.DEFAULT_DENY, WALLS),
            True,
        )
    ]
    found += [
        (f"the binding of {wanted}", f"{BINDINGS}/{each['metadata']['name']}", True)
        for each in bindings["items"]
        if is_about(each["spec"], stage.namespace, wanted)
    ]
    if under_class(stage):
        name = stage.policy["runtimeClassName"]
        found.append((f"the RuntimeClass {name}", f"{CLASSES}/{name}", False))
    return found


def start(stage: Stage, what: str, seen: str, *, held: bool) -> Attempt:
    """A run that must not start, where the next one completes."""
    after = condition(stage.end(stage.submit("after")))["reason"]
    return Attempt(what, "not started", seen, after, held, after == "Completed")


STARTED = ("Running", "Completed", "AgentFailed")


def profile(stage: Stage) -> Attempt:
    """The profile of system calls is taken off the node, and its installer kept away."""
    what, wanted = "start on a node without the profile of system calls", "not started"
    if lacking := no_way_to_the_profile(stage):
        return Attempt(what, wanted, lacking, "-", held=True, shown=False, optional=True)
    run = stage.until(stage.submit("pattern"), "Completed")
    name = str(run["status"]["effective"]["seccomp"])
    with undoing.no_profile(stage, name.rpartition("/")[2]):
        late = stage.submit("late")
        seen = stage.wait(lambda: kept_back(stage, late), "a cell to start, or to be kept back")
        stage.remove(late)
    return start(stage, what, seen, held=PROFILE in seen)


# What the kubelet says of it; the controller waits for a minute before it ends the run for that.
PROFILE = "seccomp profile"


def kept_back(stage: Stage, run: str) -> str:
    """What the kubelet says of a container that it cannot make; or that the run went on."""
    pods = [pod["status"] for pod in stage.cells(run)]
    rows = [row for status in pods for row in status.get("initContainerStatuses", [])]
    told = [str(row["state"].get("waiting", {}).get("message", "")) for row in rows]
    reason = str(condition(stage.get(run))["reason"])
    return next((each for each in told if PROFILE in each), "" if reason == "Pending" else reason)


def no_way_to_the_profile(stage: Stage) -> str:
    """Why the profile cannot be taken away here for a moment, if so."""
    if "unfenced" not in stage.given:
        return "not tried: it takes --allow-unfenced"
    answer = stage.cluster.ask("GET", "/api/v1/nodes")
    nodes = [] if answer.refusal else answer.body["items"]
    if len([node for node in nodes if not node["spec"].get("unschedulable")]) != 1:
        return "not tried: it takes a cluster of one node, so that nobody else's runs there"
    return "" if undoing.profile_folder(stage) else "not tried: nobody is there to put it back"


def c24(stage: Stage) -> list[Attempt]:
    """Two cells live; one run is deleted while there is no controller."""
    doomed, kept = (stage.submit(word, program("deaf", {})) for word in ("doomed", "kept"))
    for name in (doomed, kept):
        stage.until(name, "Running")
    with undoing.no_controller(stage):
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


def c30(stage: Stage) -> list[Attempt]:
    """One agent runs when the enforcer dies, another wants to start."""
    running = stage.submit("before", program("deaf", {}))
    before = condition(stage.until(running, "Running"))["reason"]
    with undoing.no_enforcer(stage):
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


ATTACKS = {"C30": c30, "C03": c03, "C16": c16, "C17": c17, "C22": given.c22, "C23": c23, "C24": c24}
