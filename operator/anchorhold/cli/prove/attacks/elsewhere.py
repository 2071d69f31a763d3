"""Attacks through the gateway on what no rule names: hosts, addresses, names that lead inwards."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from anchorhold.api.egress import CONNECT, INTERCEPT, REVERSE
from anchorhold.cli.api import Document
from anchorhold.cli.prove import facts
from anchorhold.cli.prove.attacks import asking, canary
from anchorhold.cli.prove.attacks.asking import (
    ECHO,
    INWARD,
    allowed,
    asked,
    passed,
    refusal,
    request,
    rules,
    tunnel,
    word,
)
from anchorhold.cli.prove.attacks.canary import Canary
from anchorhold.cli.prove.props import NothingHereError
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# A host of no rule, unless somebody's policy is about examples; and a port that nobody names.
STRANGER, OTHER_PORT = "prove.example.org", 8080
NOT_LISTED, NOBODY, NOBODY_AT_ALL = "403 host-not-allowed", "401 unknown-run", "407 unknown-run"
NOT_PUBLIC, OTHER_HOST, CUT = "403 address-not-public", "421 not-the-host-of-the-tunnel", "0 cut"
# A spelling that is no host at all is refused as such, by Envoy or by the decider.
NO_ADDRESS = (NOT_LISTED, "403 no-host", asking.OUTSIDE_THE_RULE, "400")
UNOPENED, OTHER_MODE = "a tunnel to its host, by a rule of another mode", "403 mode-not-allowed"
METADATA = "169.254.169.254"
INSIDE = (
    "127.0.0.1", "2130706433", "0", "localhost", "[::1]", "[::]", "10.96.0.1",
    "kubernetes.default.svc", "metadata.google.internal",
)  # fmt: skip
MODES = (REVERSE, CONNECT, INTERCEPT)
# At most so many rules are asked for at a time, beside others.
MOST_INWARD = 10


def c10(stage: Stage) -> list[Attempt]:
    """Hosts of no rule, and of rules that the run did not ask for; one of them counts who comes."""
    mine = asking.own(stage)
    keyed = rules(stage, REVERSE, ECHO)[:1]
    bird = canary.start(stage) if asking.apart(stage) else None
    wanted = strange(mine, STRANGER) | strange(mine, stage.internet.rpartition(":")[0])
    about: dict[str, str] = {}
    for place in bird.places if bird else ():
        ways = strange(mine, place)
        wanted, about = wanted | ways, about | dict.fromkeys(ways, place)
    others = {f"the rule {r['name']}, not asked for": allowed(r) for r in not_asked(stage, mine)}
    headers = in_headers([mine, *keyed], bird.address if bird else STRANGER)
    controls = {f"own {rule['name']}": allowed(rule) for rule in (mine, *keyed)}
    requests = {**wanted, **others, **headers, **controls, UNOPENED: unopened(mine)}
    found, _ = asked(stage, requests, mine["name"], *(rule["name"] for rule in keyed))
    control = found[f"own {mine['name']}"]
    attempts = [
        refusal(what, found[what], control, refused_as(requests[what]))
        for what in (*wanted, *others)
    ]
    attempts += [
        kept(what, found[what], found[its_own])
        for what, its_own in zip(headers, controls, strict=True)
    ]
    attempts.append(refusal(UNOPENED, found[UNOPENED], control, OTHER_MODE))
    if bird is None:
        return attempts
    return counted(stage, bird, attempts, about | dict.fromkeys(headers, bird.address))


def strange(mine: Document, place: str) -> dict[str, Document]:
    """Every way to ask for a host that no rule names, with the run's token and without one."""
    path = asking.inside(mine)
    found = {
        place: request(f"/{place}{path}"),
        f"{place}:{OTHER_PORT}": request(f"/{place}:{OTHER_PORT}{path}"),
        f"{place} as a whole URL": request(f"http://{place}{path}"),
        f"a tunnel to {place}": tunnel(f"{place}:{asking.HTTPS}"),
        f"a tunnel to {place}:{OTHER_PORT}": tunnel(f"{place}:{OTHER_PORT}"),
    }
    return found | {f"{what}, without a token": {**r, "token": ""} for what, r in found.items()}


def refused_as(asked_for: Document) -> str:
    """In which words the gateway refuses a host of no rule, and a run of no token."""
    if asked_for.get("token") is None:
        return NOT_LISTED
    return NOBODY_AT_ALL if asked_for["method"] == "CONNECT" else NOBODY


def not_asked(stage: Stage, mine: Document) -> list[Document]:
    """The rules of other hosts, in every mode."""
    named = [rule for mode in MODES for kind in ("", INWARD) for rule in rules(stage, mode, kind)]
    reached = {mine["host"], *(rule["host"] for rule in rules(stage, REVERSE, ECHO)[:1])}
    return [rule for rule in named if rule["host"] not in reached]


def in_headers(mine: list[Document], place: str) -> dict[str, Document]:
    """Paths of rules, where one adds a credential, under another host's name."""
    return {
        f"{place} in the Host header, by the rule {rule['name']}": {**allowed(rule), "host": place}
        for rule in mine
    }


def kept(what: str, answer: list[Any], control: list[Any]) -> Attempt:
    """Whatever the header says, it is the rule's own host that answers, or nobody."""
    held = word(answer) in (word(control), "400")
    return Attempt(what, "as without it", word(answer), word(control), held, passed(control))


def counted(
    stage: Stage, bird: Canary, attempts: list[Attempt], about: Mapping[str, str]
) -> list[Attempt]:
    """The same, where a Pod without a fence does reach the canary, and how many have come there.

    `about` are the attempts that ask for the canary, and by which of its places.
    """
    free = canary.without_fence(stage, bird)
    found = [
        beside(each, free[about[each.what]], named=about[each.what] == bird.name)
        if each.what in about
        else each
        for each in attempts
    ]
    return [*found, canary.arrivals(stage, bird, len(about))]


def beside(each: Attempt, free: str, *, named: bool) -> Attempt:
    """An attempt beside what an unfenced Pod gets there.

    The canary's name is worth something only where Pods have name servers.
    """
    without, shown = f"{each.without}; unfenced: {free}", each.shown and free == "answered"
    return Attempt(each.what, each.expected, each.seen, without, each.held, shown, optional=named)


def c11(stage: Stage) -> Iterator[Attempt]:
    """Addresses in every spelling, in every mode; and names of the policy that lead inwards."""
    mine = asking.own(stage)
    bird = canary.start(stage) if asking.apart(stage) else None
    spelled = spellings(bird.address, mine) if bird else {}
    about = dict.fromkeys(spelled, bird.address if bird else "")
    spelled |= spellings(METADATA, mine) | elsewhere(stage)
    named = [r for mode in MODES for r in rules(stage, mode, INWARD)][:MOST_INWARD]
    inward = {f"the host of {rule['name']}": allowed(rule) for rule in named}
    tunnels = [*rules(stage, CONNECT)[:1], *rules(stage, INTERCEPT)[:1]]
    controls = {"own": allowed(mine)} | {f"own {r['name']}": allowed(r) for r in tunnels}
    led = {what: row for rule in tunnels for what, row in misled(rule).items()}
    led |= {} if tunnels else {UNOPENED: ("own", unopened(mine), OTHER_MODE)}
    requests = {**spelled, **inward, **controls, **{what: row[1] for what, row in led.items()}}
    found, _ = asked(stage, requests, *(rule["name"] for rule in (mine, *named, *tunnels)))
    control = found["own"]
    attempts = [
        *(refusal(what, found[what], control, *NO_ADDRESS) for what in spelled),
        *(refusal(what, found[what], control, NOT_PUBLIC) for what in inward),
        *(refusal(what, found[what], found[its], words) for what, (its, _, words) in led.items()),
    ]
    yield from counted(stage, bird, attempts, about) if bird else attempts
    if not inward:
        # Without these half of the sentence is untried, and no PASS may be said of it: nobody but
        # the policy's author can have a name that leads inwards asked for.
        raise NothingHereError(
            f"names were not tried: no rule '{INWARD}…' of the policy has a host that leads inwards"
        )


def elsewhere(stage: Stage) -> dict[str, Document]:
    """The loopback, the cluster and its nodes, as one says them."""
    nodes = facts.addresses(stage.cluster)
    found = {place: request(f"/{place}/") for place in (*INSIDE, *nodes)}
    return found | {f"a tunnel to {place}": tunnel(f"{place}:443") for place in (*INSIDE, *nodes)}


def spellings(address: str, mine: Document) -> dict[str, Document]:
    """Everything that some program takes for this address, or for a way around the rule's host."""
    number = int(IPv4Address(address))
    octets = address.split(".")
    low, host = number & 0xFFFF, mine["host"]
    forms = (
        address, f"{address}.", f"{address}:443", f"{address}:{OTHER_PORT}", str(number),
        hex(number), f"0{number:o}", ".".join(f"0{int(each):o}" for each in octets),
        ".".join(hex(int(each)) for each in octets), f"{octets[0]}.{octets[1]}.{low}",
        f"[::ffff:{address}]", f"[::ffff:{number >> 16:x}:{low:x}]", f"[64:ff9b::{address}]",
        address.replace(".", "%2e"), f"%{ord(address[0]):x}{address[1:]}", f"/{address}",
        f"{host}@{address}", f"{host}:443@{address}", f"{host}%40{address}", f"{host}%23@{address}",
        f"{host}%5c{address}", f"{host}%00.{address}", f"{host}/../{address}", f"{host}//{address}",
        f"{host}/%2e%2e/{address}", f"http://{address}", f"https:/{address}",
    )  # fmt: skip
    found = {f"/{form}/": request(f"/{form}/") for form in forms}
    found[f"http://{address}/x"] = request(f"http://{address}/x")
    for form in (address, str(number), hex(number), f"[::ffff:{address}]", f"{host}@{address}"):
        found[f"a tunnel to {form}"] = tunnel(f"{form}:443")
    return found


def misled(rule: Document) -> dict[str, tuple[str, Document, str]]:
    """A tunnel that is allowed, and led elsewhere: each with its control, and how it is refused."""
    mine, name, host = allowed(rule), rule["name"], rule["host"]
    found = {
        "a greeting for another host": ({**mine, "name": STRANGER}, CUT),
        "another port": ({**mine, "path": f"{host}:{OTHER_PORT}"}, NOT_LISTED),
    }
    if rule["mode"] == INTERCEPT:
        found |= {
            f"{place} in the Host header": ({**mine, "host": place}, OTHER_HOST)
            for place in (STRANGER, METADATA)
        }
        found["another path"] = ({**mine, "inside": "/prove-no-such"}, asking.OUTSIDE_THE_RULE)
    return {f"{name}: {what}": (f"own {name}", *row) for what, row in found.items()}


def unopened(mine: Document) -> Document:
    """A tunnel to the host of a rule of another mode."""
    return tunnel(f"{mine['host']}:{mine.get('ports', [asking.HTTPS])[0]}")


ATTACKS = {"C10": c10, "C11": c11}
