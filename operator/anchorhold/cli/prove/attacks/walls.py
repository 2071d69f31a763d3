"""Attacks on a namespace whose wall is taken away, part by part; each comes back afterwards."""

from collections.abc import Iterator

from anchorhold import names
from anchorhold.cli.api import namespaced
from anchorhold.cli.prove.attacks import undoing
from anchorhold.cli.prove.attacks.inside import under_class
from anchorhold.cli.prove.facts import BINDINGS, is_about
from anchorhold.cli.prove.props import condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

WALLS = "networking.k8s.io/v1"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
# A run starts within a few seconds where nothing keeps it from that.
LATE_SECONDS = 8


def c23(stage: Stage) -> Iterator[Attempt]:
    """Each part of the wall is taken away: what ran behind it ends, and nothing starts."""
    for what, path, leans in parts(stage):
        running = stage.submit("inside", program("deaf", {}))
        before = condition(stage.until(running, "Running"))["reason"]
        with undoing.taken_away(stage, path):
            ended = stage.reason(running) if leans else ""
            late = stage.submit("late")
            meanwhile = stage.reason(late, LATE_SECONDS)
        for run in (running, late):
            stage.cluster.delete(stage.runs(run))
        if leans:
            yield Attempt(f"run on without {what}", "PolicyRevoked", ended, before,
                          ended == "PolicyRevoked", before == "Running")  # fmt: skip
        yield Attempt(f"start without {what}", "not started", meanwhile, before,
                      meanwhile not in STARTED, before == "Running")  # fmt: skip
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
    after = condition(stage.end(stage.submit("after")))["reason"]
    return Attempt(what, wanted, seen, after, PROFILE in seen, after == "Completed")


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
