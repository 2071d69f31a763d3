"""Attacks on the gateway: what no rule names, names that lead elsewhere, tokens of others."""

from anchorhold import names
from anchorhold.cli.api import Document
from anchorhold.cli.prove.props import program
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# A rule of the policy whose upstream repeats what it is told; and those whose hosts lead inwards.
ECHO, INWARD = "prove-echo", "prove-inward-"
# What listens in the gateway's Pod and is nobody's in a cell: health, metrics, Envoy's usual ones.
PORTS = [8081, 9901, 15000, 15001, 19000, 443]
SHOWN = 5
GATEWAY_PORT = names.GATEWAY_PORT
FORMS = (
    "169.254.169.254", "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]",
    "[::ffff:169.254.169.254]", "metadata.google.internal", "kubernetes.default.svc", "10.96.0.1",
)  # fmt: skip


def rules(stage: Stage) -> list[Document]:
    """The rules of the first policy that lead where they say, most likely."""
    found = stage.policy.get("egress", {}).get("rules", [])
    return [r for r in found if "*" not in r["host"] and not r["name"].startswith((ECHO, INWARD))]


def allowed(rule: Document) -> tuple[str, str]:
    """A method and a path that a rule names."""
    path = rule["paths"][0].replace("**", "prove").replace("*", "prove")
    method = "GET" if "GET" in rule["methods"] else rule["methods"][0]
    return method, f"/{rule['host']}{path}"


def asked(stage: Stage, requests: Document, *named: str, ports: tuple[int, ...] = ()) -> Document:
    """What a run with these rules was answered."""
    egress = {"rules": [{"name": name} for name in named]}
    settings = {"requests": requests, "ports": list(ports)}
    return dict(stage.inside("ask", settings=settings, egress=egress))


def refusal(what: str, answer: list[object], control: list[object], *reasons: str) -> Attempt:
    """A request that the gateway must refuse itself, where its own rule's passes."""
    seen, without = (f"{each[0]} {each[1]}".strip() for each in (answer, control))
    held = answer[1] in reasons if reasons else bool(answer[1]) or answer[0] in (400, 404)
    return Attempt(what, " or ".join(reasons) or "refused", seen, without, held, passed(control))


def passed(answer: list[object]) -> bool:
    """Whether somebody behind the gateway answered."""
    return bool(answer[0]) and not answer[1]


def c10(stage: Stage) -> list[Attempt]:
    """Hosts of no rule, and of a rule that the run did not ask for."""
    rule, *others = rules(stage)
    method, path = allowed(rule)
    requests: Document = {
        "own": [method, path, ""],
        "a host of no rule": ["GET", "/example.org/", ""],
    }
    requests["a host in the Host header"] = ["GET", path, "", "example.org"]
    for other in others[:2]:
        if other["host"] != rule["host"]:
            requests[f"the host of the rule {other['name']}, not asked for"] = [*allowed(other), ""]
    found = asked(stage, requests, rule["name"])["asked"]
    own = found.pop("own")
    header = found.pop("a host in the Host header")
    kept = Attempt("another host in the Host header", "the rule's own host answers, or a refusal",
                   f"{header[0]} {header[1]}", str(own[0]), header[0] in (own[0], 400, 403, 404),
                   passed(own))  # fmt: skip
    return [*(refusal(what, said, own, "host-not-allowed") for what, said in found.items()), kept]


def c11(stage: Stage) -> list[Attempt]:
    """Addresses in every spelling; and names of the policy that lead inwards, if any."""
    rule = rules(stage)[0]
    method, path = allowed(rule)
    requests: Document = {form: ["GET", f"/{form}/", ""] for form in FORMS}
    requests |= {"up": ["GET", f"/{rule['host']}/../169.254.169.254/", ""]}
    requests |= {"user": ["GET", f"/{rule['host']}@169.254.169.254/", ""]}
    requests |= {"whole": ["GET", "http://169.254.169.254/latest/", ""], "own": [method, path, ""]}
    inward = [r for r in stage.policy["egress"]["rules"] if r["name"].startswith(INWARD)][:10]
    requests |= {r["host"]: [*allowed(r), ""] for r in inward}
    found = asked(stage, requests, rule["name"], *(r["name"] for r in inward))["asked"]
    own, named = found.pop("own"), {r["host"] for r in inward}
    return [
        refusal(f"ask for {what}", said, own, *(("address-not-public",) if what in named else ()))
        for what, said in found.items()
    ]


def c12(stage: Stage) -> list[Attempt]:
    """A method and a path that the rule does not name."""
    rule = rules(stage)[0]
    method, path = allowed(rule)
    requests: Document = {"own": [method, path, ""]}
    if "DELETE" not in rule["methods"]:
        requests["another method"] = ["DELETE", path, ""]
    if "/**" not in rule["paths"]:
        requests["another path"] = [method, f"/{rule['host']}/prove-no-such-path", ""]
        requests["another path by dots"] = [method, f"{path}/../../../prove-no-such-path", ""]
        requests["another path in code"] = [method, f"{path}/%2e%2e/%2e%2e/%2e%2e/no-such", ""]
    found = asked(stage, requests, rule["name"])["asked"]
    own = found.pop("own")
    return [refusal(what, said, own) for what, said in found.items()]


def c13(stage: Stage) -> list[Attempt]:
    """Other ports of the gateway, and the tokens of a run that lives and of one that ended."""
    rule = rules(stage)[0]
    method, path = allowed(rule)
    egress = {"rules": [{"name": rule["name"]}]}
    living = stage.submit("living", program("deaf", {}), egress=egress)
    ended = stage.submit("ended", "pass", egress=egress)
    stage.until(living, "Running")
    stage.until(ended, "Completed")
    requests: Document = {
        "own": [method, path, ""],
        "a token that is made up": [method, path, "made-up"],
    }
    for what, run in (("another run's token", living), ("an ended run's token", ended)):
        requests[what] = [method, path, token(stage, run)]
    found = asked(stage, requests, rule["name"], ports=(*PORTS, GATEWAY_PORT))
    stage.cluster.delete(stage.runs(living))
    own, reached = found["asked"].pop("own"), set(found["open"])
    shown = GATEWAY_PORT in reached
    closed = [
        Attempt(f"port {port} of the gateway", "closed", "open" if port in reached else "closed",
                f"port {GATEWAY_PORT}: {'open' if shown else 'closed'}", port not in reached, shown)
        for port in PORTS
    ]  # fmt: skip
    return [*(refusal(what, said, own) for what, said in found["asked"].items()), *closed]


def token(stage: Stage, run: str) -> str:
    """The token that a cell has: who may read its Pod may read it there."""
    variables = stage.pod_of(run)["spec"]["containers"][0]["env"]
    return next(str(each["value"]) for each in variables if each["name"] == names.TOKEN_VARIABLE)


def c14(stage: Stage) -> list[Attempt]:
    """An upstream that repeats what it was told."""
    found = [rule for rule in stage.policy["egress"]["rules"] if rule["name"] == ECHO]
    if not found:
        return []
    said = asked(stage, {"echo": [*allowed(found[0]), ""]}, ECHO)["asked"]["echo"]
    # The scheme came back, so the upstream had it; what follows is stars but for its beginning.
    repeated = said[2].removeprefix("Bearer ").split('"')[0]
    masked = bool(repeated[SHOWN:]) and not repeated[SHOWN:].strip("*")
    return [
        Attempt("have a credential repeated", "masked", repeated or "nothing", f"{said[0]}",
                masked, passed(said) and said[2].startswith("Bearer "))
    ]  # fmt: skip


ATTACKS = {"C10": c10, "C11": c11, "C12": c12, "C13": c13, "C14": c14}
