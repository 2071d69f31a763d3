"""Attacks from inside a cell, and the same from outside of any fence."""

import json

from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks import tables
from anchorhold.cli.prove.props import condition, program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# Users of the node itself have lower numbers.
FIRST_OTHER = 65_536
TOO_LONG = 20_000


def under_class(stage: Stage) -> bool:
    """Whether cells are behind a RuntimeClass."""
    return bool(stage.policy.get("isolation", "UserNamespace") == "RuntimeClass")


def c01(stage: Stage) -> list[Attempt]:
    """Search a cell for what opens something."""
    seen = stage.inside("look")
    found = ", ".join(f"{what} in {path}" for what, path in seen["found"]) or "nothing"
    whole = seen["planted"] and seen["whole"]
    planted = "found" if whole else "not found, or too much to look through"
    tried = f"search {seen['looked']} files and processes for credentials"
    searched = Attempt(tried, "nothing", found, f"planted: {planted}", not seen["found"], whole)
    account = Attempt(
        "find a ServiceAccount's folder", "False", str(seen["accounts"]), f"planted: {planted}",
        not seen["accounts"], whole,
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
        fact(name, value, process[name], without[name])
        for name, value in wanted.items()
    ]  # fmt: skip
    guest = under_class(stage)
    tried = [n for n in inside if n != "there" and not (guest and n in tables.OF_THE_GUEST)]
    opened = [n for n in looked["openers"] if not (guest and n in tables.DOORS_OF_THE_GUEST)]
    answers = tables.REFUSED + (tables.REFUSED_BY_A_GUEST if guest else ())
    calls = [call(name, inside[name], outside.get(name, "-"), answers) for name in tried]
    doors = Attempt(
        "open what public escapes begin with",
        "none",
        ", ".join(opened) or "none",
        ", ".join(free["openers"]) or "none",
        held=not opened,
        shown=bool(free["openers"]),
        optional=True,
    )
    said = inside["there"]
    works = Attempt("getpid", "works", said, outside["there"], held=True, shown=said == "works")
    return [*facts, *calls, doors, works, enough(calls)]


# What a kernel says that has no such thing, or no way to it in this probe.
LACKING = ("ENODEV", "SIGSEGV", "-")


def enough(calls: list[Attempt]) -> Attempt:
    """The control as a whole: a kernel refuses some calls to everybody, and never most of them."""
    shown = sum(each.shown for each in calls)
    said = f"{shown} of {len(calls)} got through"
    return Attempt(
        "most calls", "refused", "see above", said, held=True, shown=shown * 2 > len(calls)
    )


def fact(name: str, wanted: str, seen: str, without: str) -> Attempt:
    """What the kernel says of a process, and of one that is not confined."""
    return Attempt(name, wanted, seen, without, seen == wanted, without != wanted)


def call(name: str, seen: str, without: str, answers: tuple[str, ...]) -> Attempt:
    """One call. What a kernel refuses to everybody, nobody need be kept from."""
    refused, everybody = seen in answers, without in (*tables.REFUSED, *LACKING)
    return Attempt(name, "refused", seen, without, refused, not everybody, optional=everybody)


def read_only_input(stage: Stage, content: str = "content") -> str:
    """A ConfigMap of our own as an input, where the policy allows any; else nothing."""
    allowed = [row["name"] for row in stage.policy.get("inputs", {}).get("configMaps", [])]
    if "*" not in allowed:
        return ""
    name = stage.unique("input")
    stage.undo.append(lambda: stage.cluster.delete(namespaced(stage.namespace, "configmaps", name)))
    stage.cluster.post(namespaced(stage.namespace, "configmaps"), immutable(name, content))
    return name


def immutable(name: str, content: str) -> Document:
    """A ConfigMap that can be an input."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "immutable": True,
        "data": {"file": content},
    }


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
    apart, shown = are_others(seen["users"]), not are_others(free["users"])
    return [Attempt("read /proc/self/uid_map", "others", users, without, apart, shown)]


def are_others(users: list[str]) -> bool:
    """Whether a uid_map makes root, and everybody beside it, somebody else on the node."""
    rows = list(zip(*[iter(map(int, users))] * 3, strict=True))
    return bool(rows) and all(outside >= FIRST_OTHER for _, outside, _ in rows)


ATTACKS = {"C01": c01, "C07": c07, "C18": c18, "C21": c21, "C25": c25}
