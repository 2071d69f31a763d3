"""Attacks from inside a cell, and the same from outside of any fence."""

import json

from anchorhold import names
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks import tables
from anchorhold.cli.prove.stage import GaveUpError, Stage, condition, program
from anchorhold.cli.prove.verdict import Attempt

CANARY_PORT, CANARY = 8080, "the canary"
SAME_AS_ROOT = ["0", "0", "4294967295"]
TOO_LONG = 20_000


def under_class(stage: Stage) -> bool:
    """Whether cells are behind a RuntimeClass."""
    return bool(stage.policy.get("isolation", "UserNamespace") == "RuntimeClass")


def c01(stage: Stage) -> list[Attempt]:
    """Search a cell for what opens something."""
    seen = stage.inside("look")
    found = ", ".join(f"{what} in {path}" for what, path in seen["found"]) or "nothing"
    planted = "found" if seen["planted"] else "not found"
    tried = f"search {seen['looked']} files and processes for credentials"
    searched = Attempt(
        tried, "nothing", found, f"planted: {planted}", not seen["found"], seen["planted"]
    )
    account = Attempt(
        "find a ServiceAccount's folder", "no", said(seen["accounts"]), f"planted: {planted}",
        not seen["accounts"], seen["planted"],
    )  # fmt: skip
    return [searched, account]


def c07(stage: Stage) -> list[Attempt]:
    """Every dangerous call, every door, in a cell and as root without a filter."""
    settings = {"calls": tables.CALLS}
    looked, inside = stage.inside("look", "doors"), stage.inside("calls", settings=settings)
    outside, free = stage.free("calls", settings, root=True), stage.free("look", root=True)
    process, without = looked["process"], free["process"]
    wanted = {"CapEff": "0" * 16, "NoNewPrivs": "1"}
    if not under_class(stage):
        wanted["Seccomp"] = "2"
    facts = [
        Attempt(name, value, process[name], without[name], process[name] == value, without[name] != value)
        for name, value in wanted.items()
    ]  # fmt: skip
    tried = [name for name in inside if name != "there"]
    if under_class(stage):
        tried = [name for name in tried if name in tables.OF_THE_NODE]
    calls = [call(name, inside[name], outside.get(name, "-")) for name in tried]
    doors = Attempt(
        "open what public escapes begin with", "none", ", ".join(looked["openers"]) or "none",
        ", ".join(free["openers"]) or "none", not looked["openers"], bool(free["openers"]),
    )  # fmt: skip
    works = Attempt(
        "getpid", "works", inside["there"], outside["there"], True, inside["there"] == "works"
    )
    return [*facts, *calls, doors, works]


def call(name: str, seen: str, without: str) -> Attempt:
    """One call. Kernels lack some of them: then there is nothing to be kept from."""
    refused = seen in tables.REFUSED
    absent = without in ("ENOSYS", "EAFNOSUPPORT", "-")
    return Attempt(name, "refused", seen, without, refused, without != seen and not absent, absent)


def c08(stage: Stage) -> list[Attempt]:
    """Every trick on what is read-only, and on the cell's own workspace."""
    configured = read_only_input(stage)
    places = ["/", "/etc", names.TASK_DIRECTORY, *(["/inputs/input"] if configured else [])]
    settings = {
        "places": [*places, names.WORKSPACE_DIRECTORY],
        "mine": "/workspace",
        "mounts": False,
    }
    settings_of_mounts = {**settings, "places": places, "mounts": True}
    more: Document = (
        {"inputs": [{"name": "input", "configMap": {"name": configured}}]} if configured else {}
    )
    own = stage.inside("write", settings=settings, **more)
    seen = stage.inside("write", settings=settings_of_mounts, **more)
    works = own[names.WORKSPACE_DIRECTORY]
    without = f"{len(works)} of {own[names.WORKSPACE_DIRECTORY + '#tried']} work in the workspace"
    return [
        Attempt(
            f"{seen[place + '#tried']} tricks on {place}", "none works",
            ", ".join(seen[place]) or "none works", without, not seen[place], len(works) >= MOST_TRICKS,
        )
        for place in places
    ]  # fmt: skip


MOST_TRICKS = 10


def read_only_input(stage: Stage) -> str:
    """A ConfigMap of our own as an input, where the policy allows any; else nothing."""
    allowed = [row["name"] for row in stage.policy.get("inputs", {}).get("configMaps", [])]
    if "*" not in allowed:
        return ""
    name = stage.unique("input")
    path = namespaced(stage.namespace, "configmaps", name)
    document = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "immutable": True,
        "data": {"file": "content"},
    }  # fmt: skip
    stage.undo.append(lambda: stage.cluster.delete(path))
    stage.cluster.post(namespaced(stage.namespace, "configmaps"), document)
    return name


def c09(stage: Stage) -> list[Attempt]:
    """Every way out to everything; what arrives is counted where it would arrive."""
    apart = "unfenced" in stage.given
    host, _, port = stage.internet.rpartition(":")
    wanted = tables.targets(host, int(port))
    canary = ""
    if apart:
        canary = stage.start("canary", program("listen", {}))
        wanted += tables.canary(stage.address(canary), CANARY_PORT)
    name = stage.submit("reach", program("reach", {"word": f"in{stage.token}", "targets": wanted}))
    seen = stage.told(name)
    free = stage.free("reach", {"word": f"out{stage.token}", "targets": wanted}) if apart else {}
    found = [way_out(target, seen, free, apart=apart) for target in wanted]
    found += [neighbour(name, seen, free) for name in seen if name.startswith("node by")]
    if apart:
        log = stage.log(stage.apart, canary)
        came, went = log.count(f"in{stage.token}"), log.count(f"out{stage.token}")
        found.append(
            Attempt(
                "words that arrive at the canary", "0", str(came), str(went), came == 0, went > 0
            )
        )
    boundary = stage.get(name)["status"].get("boundary", {})
    opened = boundary.get("openMilliseconds", "?")
    verified = boundary.get("verified") is True
    first = "the netgate before the agent's first instruction"
    found.append(
        Attempt(first, "verified", "verified" if verified else "not verified",
                f"open for the first {opened} ms", verified, True)
    )  # fmt: skip
    return found


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


def c18(stage: Stage) -> list[Attempt]:
    """Leave a marker everywhere; the next run looks for it."""
    marker = stage.token + "fade"
    first = stage.inside("persist", settings={"marker": marker, "leave": True})
    second = stage.inside("persist", settings={"marker": marker, "leave": False})
    found, own = second["found"], first["found"]
    tried = f"leave a marker in {first['left']} places"
    without = f"its own run finds {len(own)}"
    return [
        Attempt(
            tried, "found by nobody", ", ".join(found) or "nothing", without, not found, bool(own)
        )
    ]


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
    cases = {
        "cell": (pod["status"]["podIP"], stage.inside),
        "pod": (stage.address(open_server), stage.free),
    }
    seen = {}
    for where, (address, act) in cases.items():
        targets = tables.canary(address, CANARY_PORT)
        seen[where] = act("reach", settings={"word": word, "targets": targets})
    heard = stage.log(stage.namespace, pod["metadata"]["name"]).count(word)
    without = stage.log(stage.apart, open_server).count(word)
    found = [
        Attempt(f"another run: {name}", "no answer", said, seen["pod"][name], said != "answered",
                seen["pod"][name] == "answered")
        for name, said in seen["cell"].items() if not name.startswith(("own", "node by"))
    ]  # fmt: skip
    words = Attempt("words that it heard", "0", str(heard), str(without), heard == 0, without > 0)
    stage.cluster.delete(stage.runs(server))
    return [*found, words]


def c21(stage: Stage) -> list[Attempt]:
    """Ten megabytes, no text, orders to a terminal, and a status of its own."""
    plain = stage.end(stage.submit("plain", program("shout", {"word": "plainly"})))
    run = stage.end(stage.submit("shout", program("shout", {"word": ""})))
    shown = plain["status"].get("result", {}).get("message") == '"plainly"'
    result = run["status"].get("result", {})
    message, found = str(result.get("message", "")), condition(run)
    controls = sorted({f"{ord(c):#x}" for c in message if not (c.isprintable() or c in "\n\t")})
    without = f"a plain word: {plain['status'].get('result', {}).get('message')}"
    named = json.dumps([found["reason"], found["status"], run["status"].get("exitCode")])
    rows = (
        ("return 10 MB", f"at most {TOO_LONG}", str(len(message)), 0 < len(message) <= TOO_LONG),
        (
            "say that it is cut",
            "True",
            str(result.get("truncated")),
            result.get("truncated") is True,
        ),
        ("return orders to a terminal", "escaped", ", ".join(controls) or "escaped", not controls),
        ("return a status", "Completed", named, found["reason"] == "Completed"),
    )
    return [Attempt(what, wanted, seen, without, held, shown) for what, wanted, seen, held in rows]


def c25(stage: Stage) -> list[Attempt]:
    """Whose users and whose kernel."""
    seen, free = stage.inside("look", "walls"), stage.free("look")
    users, kernel = " ".join(seen["users"]), seen["kernel"]
    without = " ".join(free["users"])
    if under_class(stage):
        other, shown = kernel != free["kernel"], bool(free["kernel"])
        return [
            Attempt("read /proc/version", "another kernel", kernel, free["kernel"], other, shown)
        ]
    apart, shown = seen["users"] != SAME_AS_ROOT, free["users"] == SAME_AS_ROOT
    return [Attempt("read /proc/self/uid_map", "others", users, without, apart, shown)]


def c31(stage: Stage) -> list[Attempt]:
    """What can be written without a size is named."""
    name = stage.submit("places", program("look", {}))
    seen = stage.told(name)
    named = " ".join(row["what"] for row in stage.get(name)["status"].get("unenforced", []))
    writable = seen["writable"]
    if not writable:
        raise GaveUpError("the look found no place that can be written")
    sized = [path for path, (_, size) in writable.items() if size]
    found = []
    for path, (kind, size) in writable.items():
        if size or kind == "devtmpfs":
            continue
        limited = path == names.RESULT_PATH and 0 <= seen["file"] < UNLIMITED
        what = f"write to {path}, which has no size"
        told = "named" if path in named else "limited" if limited else "not named"
        found.append(
            Attempt(
                what, "named", told, f"sized: {', '.join(sized)}", told != "not named", bool(sized)
            )
        )
    return found


UNLIMITED = 1 << 62


def said(yes: bool) -> str:  # noqa: FBT001
    """In words."""
    return "yes" if yes else "no"


ATTACKS = {
    "C01": c01, "C07": c07, "C08": c08, "C09": c09, "C18": c18, "C19": c19, "C21": c21, "C25": c25,
    "C31": c31,
}  # fmt: skip
