"""Attacks on the gateway: methods, paths, budgets, other ports, tokens of others, credentials."""

from typing import Any

from anchorhold import names
from anchorhold.api.egress import INTERCEPT, REVERSE
from anchorhold.cli.api import Document, namespaced
from anchorhold.cli.prove.attacks.asking import (
    ECHO,
    HTTPS,
    OUTSIDE_THE_RULE,
    SPENT,
    Door,
    allowed,
    apart,
    asked,
    asks_on,
    egress,
    heard,
    least,
    own,
    passed,
    refusal,
    request,
    rules,
    word,
)
from anchorhold.cli.prove.props import program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# What may listen in the gateway's Pod beside what it names itself: Envoy's administration, say.
USUAL_PORTS = (HTTPS, 9901, 15000, 15001, 19000)
GATEWAY_PORT = names.GATEWAY_PORT
# The requests of a budget, the first letters that a gateway leaves, and how to have it in pieces.
BUDGET, SHOWN = 3, 5
PIECES = "cut=5&size=3"


def c12(stage: Stage) -> list[Attempt]:
    """A method and a path that the rule does not name, and one request too many."""
    rule = own(stage)
    mine = allowed(rule)
    method, path = mine["method"], mine["path"]
    up = path.count("/") - 1
    requests: Document = {"own": mine}
    if "DELETE" not in rule["methods"]:
        requests["another method"] = request(path, "DELETE")
    if "/**" not in rule["paths"]:
        first = "/".join(path.split("/")[:2])
        requests["another path"] = request(f"{first}/prove-no-such", method)
        for how, step in (("dots", ".."), ("dots in code", "%2e%2e"), ("other dots", "..;x")):
            climbing = f"{path}{f'/{step}' * up}/prove-no-such"
            requests[f"another path by {how}"] = request(climbing, method)
    found, _ = asked(stage, requests, rule["name"])
    control = found.pop("own")
    outside = [refusal(what, said, control, OUTSIDE_THE_RULE) for what, said in found.items()]
    return [*outside, *spent(stage, rule)]


def spent(stage: Stage, rule: Document) -> list[Attempt]:
    """A run that asks on when its budget is spent."""
    most = least(stage, BUDGET)
    wished = {**egress(rule["name"]), "budget": {"requests": most}}
    run = asks_on(stage, "spends", allowed(rule), **wished)
    lines = heard(stage, run, lambda lines: SPENT in lines)
    ended = stage.reason(run)
    usage = stage.get(run)["status"].get("usage", {})
    passing = [line for line in lines if " " not in line]
    without, shown = f"{len(passing)} passed of {most}", len(passing) >= most
    used = f"{usage.get('requests')} requests, {usage.get('exhausted')} exhausted"
    said = lines[most] if most < len(lines) else "nothing"
    right = f"{most} requests, budget.requests exhausted"
    return [
        Attempt("one request more than its budget", SPENT, said, without,
                said == SPENT and len(passing) <= most, shown),
        Attempt("run on with a spent budget", "BudgetExhausted", ended, without,
                ended == "BudgetExhausted", shown),
        Attempt("keep it from the record", right, used, without, used == right, shown),
    ]  # fmt: skip


def c13(stage: Stage) -> list[Attempt]:
    """Other ports of the gateway, and the tokens of a run that lives and of one that ended."""
    rule = own(stage)
    mine = allowed(rule)
    living = stage.submit("living", program("deaf", {}), egress=egress(rule["name"]))
    ended = stage.submit("ended", "pass", egress=egress(rule["name"]))
    stage.until(living, "Running")
    stage.until(ended, "Completed")
    requests: Document = {
        "own": mine,
        "a token that is made up": {**mine, "token": "made-up"},
        "no token": {**mine, "token": ""},
        "another run's token": {**mine, "token": token(stage, living)},
        "an ended run's token": {**mine, "token": token(stage, ended)},
    }
    ports = doors(stage)
    found, is_open = asked(stage, requests, rule["name"], ports=ports)
    stage.cluster.delete(stage.runs(living))
    control = found.pop("own")
    known = without_fence(stage, [door for door in ports if door[0]])
    return [
        *(refusal(w, said, control, TOKENS.get(w, "401 unknown-run")) for w, said in found.items()),
        *closed(ports, is_open, known),
    ]


# A token that is known comes from the wrong place; of the others nobody knows anything.
TOKENS = {"another run's token": "403 wrong-source"}


def doors(stage: Stage) -> list[Door]:
    """Ports of the gateway's Service, and of its Pods themselves where the user may see them."""
    answer = stage.cluster.ask("GET", namespaced(names.GATEWAY_NAMESPACE, "pods"))
    pods = [] if answer.refusal else [p for p in answer.body["items"] if p["status"].get("podIP")]
    found = [["", port] for port in (*USUAL_PORTS, 8081, GATEWAY_PORT)]
    for pod in pods[:2]:
        rows = [row for each in pod["spec"]["containers"] for row in each.get("ports", [])]
        named = {*USUAL_PORTS, *(row["containerPort"] for row in rows)}
        found += [[pod["status"]["podIP"], port] for port in sorted(named)]
    return found


def without_fence(stage: Stage, ports: list[Door]) -> list[Door]:
    """Those that are open to a Pod without a fence, if there may be one."""
    if not (apart(stage) and ports):
        return []
    is_open = stage.free("ask", {"requests": [], "ports": ports})["open"]
    return [door for door, state in zip(ports, is_open, strict=True) if state]


def closed(ports: list[Door], is_open: list[bool], known: list[Door]) -> list[Attempt]:
    """Each port but the agents' own; that one is open at the same address, or nothing is shown.

    `known` are those that a Pod without a fence finds open.
    """
    seen = {(host, port): state for (host, port), state in zip(ports, is_open, strict=True)}
    return [
        Attempt(
            f"port {port} of {f'the Pod {host}' if host else 'the gateway'}", "closed",
            "open" if state else "closed",
            "open to an unfenced Pod" if [host, port] in known else f"port {GATEWAY_PORT} is open",
            not state, seen[host, GATEWAY_PORT],
        )
        for (host, port), state in seen.items() if port != GATEWAY_PORT
    ]  # fmt: skip


def token(stage: Stage, run: str) -> str:
    """The token that a cell has: who may read its Pod may read it there."""
    variables = stage.pod_of(run)["spec"]["containers"][0]["env"]
    return next(str(each["value"]) for each in variables if each["name"] == names.TOKEN_VARIABLE)


def c14(stage: Stage) -> list[Attempt]:
    """Upstreams that repeat what they were told, through the modes that add credentials."""
    echoes = [*rules(stage, REVERSE, ECHO), *rules(stage, INTERCEPT, ECHO)]
    if not echoes:
        return []
    requests = {rule["name"]: with_query(allowed(rule)) for rule in echoes}
    found, _ = asked(stage, requests, *requests)
    return [masked(name, answer) for name, answer in found.items()]


def with_query(row: Document) -> Document:
    """An echo that can repeat in pieces does so."""
    place = "inside" if "inside" in row else "path"
    return {**row, place: f"{row[place]}?{PIECES}"}


def masked(name: str, answer: list[Any]) -> Attempt:
    """The scheme came back, so the upstream had it; what follows is stars but for its beginning."""
    pieces = answer[2]
    held = not [piece for piece in pieces if not piece[SHOWN:] or piece[SHOWN:].strip("*")]
    seen = ", ".join(pieces) or "nothing"
    shown = passed(answer) and bool(pieces)
    return Attempt(f"have a credential repeated: {name}", "masked", seen, word(answer), held, shown)


ATTACKS = {"C12": c12, "C13": c13, "C14": c14}
