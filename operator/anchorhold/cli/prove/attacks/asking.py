"""How attacks ask the gateway: the rules that there are, requests by them, and what comes back."""

from collections.abc import Callable, Mapping
from typing import Any

from anchorhold.api.egress import REVERSE
from anchorhold.cli.api import Document
from anchorhold.cli.prove.props import (
    GaveUpError,
    NothingHereError,
    StoppedError,
    condition,
    program,
)
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# Rules of the policy whose upstreams repeat what they are told; and whose hosts lead inwards.
ECHO, INWARD = "prove-echo", "prove-inward-"
HTTPS = 443
PAUSE_SECONDS = 0.5
# A host, none for the gateway's own address, and a port.
Door = list[Any]
OUTSIDE_THE_RULE, SPENT = "403 method-or-path-not-allowed", "429 budget-exhausted"


def rules(stage: Stage, mode: str = REVERSE, begins: str = "") -> list[Document]:
    """The rules of the first policy in a mode; those that lead where they say, most likely."""
    found = stage.policy.get("egress", {}).get("rules", [])
    wanted = [r for r in found if r.get("mode", REVERSE) == mode and "*" not in r["host"]]
    if begins:
        return [rule for rule in wanted if rule["name"].startswith(begins)]
    return [rule for rule in wanted if not rule["name"].startswith((ECHO, INWARD))]


def own(stage: Stage) -> Document:
    """The rule that the attacks have; what they ask for besides is measured by it."""
    found = rules(stage)
    if not found:
        raise NothingHereError(f"no rule of the mode '{REVERSE}' names one host")
    return found[0]


def inside(rule: Document) -> str:
    """A path that a rule names."""
    return str(rule["paths"][0].replace("**", "prove").replace("*", "prove"))


def allowed(rule: Document) -> Document:
    """A request that a rule names, as its mode has it."""
    host, port = rule["host"], rule.get("ports", [HTTPS])[0]
    if rule.get("mode", REVERSE) != REVERSE:
        return tunnel(f"{host}:{port}", **({"inside": inside(rule)} if "paths" in rule else {}))
    method = "GET" if "GET" in rule["methods"] else rule["methods"][0]
    place = host if port == HTTPS else f"{host}:{port}"
    return request(f"/{place}{inside(rule)}", method)


def request(path: str, method: str = "GET", **more: str) -> Document:
    """A request: by another `token`, with another `host` in its header."""
    return {"method": method, "path": path, **more}


def tunnel(authority: str, **more: str) -> Document:
    """A tunnel: with another `name` in its greeting, and a path and a `host` `inside` of it."""
    return request(authority, "CONNECT", **more)


def asked(
    stage: Stage, requests: Mapping[str, Document], *named: str, ports: list[Door] | None = None
) -> tuple[dict[str, list[Any]], list[bool]]:
    """What a run with these rules was answered, and which ports it found open."""
    settings = {"requests": list(requests.values()), "ports": ports or []}
    told = stage.inside("ask", settings=settings, egress=egress(*named))
    return dict(zip(requests, told["asked"], strict=True)), told["open"]


def egress(*named: str) -> Document:
    """What a run asks for."""
    return {"rules": [{"name": name} for name in dict.fromkeys(named)]}


def word(answer: list[Any]) -> str:
    """The status, and the gateway's reason if there is one."""
    return f"{answer[0]} {answer[1]}".strip()


def passed(answer: list[Any]) -> bool:
    """Whether somebody behind the gateway answered."""
    return bool(answer[0]) and not answer[1]


def refusal(what: str, answer: list[Any], control: list[Any], *wanted: str) -> Attempt:
    """A request that the gateway itself must refuse in these words, where its own rule's passes."""
    held = word(answer) in wanted
    expected = wanted[0] if len(wanted) == 1 else "refused"
    return Attempt(what, expected, word(answer), word(control), held, passed(control))


def asks_on(stage: Stage, what: str, *requests: Document, **asked_for: Any) -> str:  # noqa: ANN401
    """A run that asks for ever, and says what it is answered; it has started."""
    settings = {"requests": list(requests), "pause": PAUSE_SECONDS}
    name = stage.submit(what, program("ask", settings), egress=asked_for)
    stage.until(name, "Running", "BudgetExhausted")
    return name


def heard(
    stage: Stage, run: str, enough: Callable[[list[str]], bool], seconds: float = 60.0
) -> list[str]:
    """What such a run has said, once it is enough or has ended; or all, if it never is."""
    pod = stage.pod_of(run)["metadata"]["name"]
    lines: list[str] = []

    def look() -> bool:
        # Before the log is read: it goes with the Pod, which ends with its run.
        is_over = condition(stage.get(run))["status"] != "Unknown"
        lines.extend(stage.log(stage.namespace, pod).splitlines()[len(lines) :])
        return is_over or enough(lines)

    try:
        stage.wait(look, f"what {run} is answered", seconds)
    except StoppedError:
        raise
    except GaveUpError:
        pass
    return lines


def least(stage: Stage, number: int) -> int:
    """So many requests, or fewer if the policy has no more for a run."""
    found = [policy["spec"].get("egress", {}).get("budget", {}) for policy in stage.policies]
    return min([number, *(int(each["requests"]) for each in found if "requests" in each)])


def apart(stage: Stage) -> bool:
    """Whether there may be Pods without a fence."""
    return "unfenced" in stage.given
