"""Attacks over the network: out of a cell, and from one cell to another."""

from anchorhold.cli.api import Document
from anchorhold.cli.prove import facts
from anchorhold.cli.prove.attacks import tables
from anchorhold.cli.prove.props import condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

CANARY_PORT = 8080
# What the netgate and the sentinels say then.
OPEN = "could reach"
# The reasons of a run that nobody lets start.
HELD = ("BoundaryOpen", "Pending", "Queued")


def c09(stage: Stage) -> list[Attempt]:
    """Every way out to everything; what arrives is counted where it would arrive."""
    apart = "unfenced" in stage.given
    host, _, port = stage.internet.rpartition(":")
    wanted = [*tables.targets(host, int(port)), *tables.nodes(facts.addresses(stage.cluster))]
    canary = stage.start("canary", program("listen", {})) if apart else ""
    if canary:
        wanted += tables.canary(stage.address(canary), CANARY_PORT)
    name = stage.submit("reach", program("reach", {"word": f"in{stage.token}", "targets": wanted}))
    run = stage.wait(lambda: told_or_held(stage, name), f"{name} to end, or be held")
    if condition(run)["reason"] in HELD:
        return [boundary(run, stage.broken)]
    seen = stage.told(name)
    free = outside(stage, wanted) if apart else {}
    found = [way_out(target, seen, free, apart=apart) for target in wanted]
    found += [neighbour(name, seen, free) for name in seen if name.startswith("node by")]
    if canary:
        found.append(arrivals(stage, canary))
    return [*found, boundary(run)]


def told_or_held(stage: Stage, name: str) -> Document | None:
    """A run that has ended; or one that waits because something found the fence open already."""
    run = stage.get(name)
    found = condition(run)
    # What another run has found out is for this very claim to say, also while its own run waits.
    if found["status"] != "Unknown" or OPEN in found["message"] + stage.broken:
        return run
    stage.go_on()
    return None


def outside(stage: Stage, wanted: list[Document]) -> Document:
    """The same without a fence: as anybody, and as root, whom raw sockets are for."""
    settings = {"word": f"out{stage.token}", "targets": wanted}
    anybody, root = (stage.free("reach", settings, root=each) for each in (False, True))
    return {
        name: said if said == "answered" else root.get(name, said) for name, said in anybody.items()
    }


def arrivals(stage: Stage, canary: str) -> Attempt:
    """What arrived, counted outside."""
    log = stage.log(stage.apart, canary)
    came, went = log.count(f"in{stage.token}"), log.count(f"out{stage.token}")
    what = "words that arrive at the canary"
    return Attempt(what, "0", str(came), str(went), held=came == 0, shown=went > 0)


def boundary(run: Document, broken: str = "") -> Attempt:
    """What the netgate saw, before the agent's first instruction; or why no run gets that far."""
    seen = run["status"].get("boundary", {})
    verified = seen.get("verified") is True
    said = "verified" if verified else broken or condition(run)["message"]
    opened = f"open for the first {seen.get('openMilliseconds', '?')} ms"
    return Attempt("run before the fence is up", "verified", said, opened, verified, shown=True)


def way_out(target: Document, seen: Document, free: Document, *, apart: bool) -> Attempt:
    """One target. Without a Pod outside, the probe's own loopback shows that it can try at all."""
    name, kind = target["name"], target["kind"]
    without = free.get(name, "-") if apart else seen.get(f"own {kind}", "-")
    held, shown = seen[name] != "answered", without == "answered"
    optional = bool(target.get("optional")) or (not apart and kind not in ("tcp", "udp"))
    return Attempt(name, "no answer", seen[name], without, held, shown, optional)


def neighbour(name: str, seen: Document, free: Document) -> Attempt:
    """The node by its link-local address, where it has one."""
    others = [said for other, said in free.items() if other.startswith("node by")]
    without = "answered" if "answered" in others else ", ".join(others) or "-"
    held = seen[name] != "answered"
    return Attempt(
        name, "no answer", seen[name], without, held, without == "answered", optional=True
    )


def c19(stage: Stage) -> list[Attempt]:
    """One run listens, another tries to reach it; the same between unfenced Pods."""
    word = f"knock{stage.token}"
    server = stage.submit("server", program("listen", {}))
    stage.until(server, "Running")
    pod = stage.pod_of(server)

    def listening() -> bool:
        return "listening" in stage.log(stage.namespace, pod["metadata"]["name"])

    stage.wait(listening, "a run to listen")
    open_server = stage.start("open", program("listen", {}))
    targets = tables.canary(pod["status"]["podIP"], CANARY_PORT)
    from_cell = stage.inside("reach", "knock", {"word": word, "targets": targets})
    targets = tables.canary(stage.address(open_server), CANARY_PORT)
    outside = stage.free("reach", {"word": word, "targets": targets})
    heard = stage.log(stage.namespace, pod["metadata"]["name"]).count(word)
    without = stage.log(stage.apart, open_server).count(word)
    found = [between(target["name"], from_cell, outside) for target in targets]
    words = Attempt("words that it heard", "0", str(heard), str(without), heard == 0, without > 0)
    stage.cluster.delete(stage.runs(server))
    return [*found, words]


def between(name: str, from_cell: Document, outside: Document) -> Attempt:
    """One way from a run to another, and from a Pod to another."""
    seen, without = from_cell[name], outside[name]
    held, shown, optional = seen != "answered", without == "answered", name.startswith("ping")
    return Attempt(f"another run: {name}", "no answer", seen, without, held, shown, optional)


ATTACKS = {"C09": c09, "C19": c19}
