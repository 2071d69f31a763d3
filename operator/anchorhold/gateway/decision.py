"""Decides about one request: whose it is, whether a rule allows it, and which address it gets."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from anchorhold.api import egress
from anchorhold.api.egress import Budget, EgressRule
from anchorhold.gateway import addresses, credentials, rules
from anchorhold.gateway.credentials import Header, Keeping
from anchorhold.gateway.usage import budget
from anchorhold.policy import identity
from anchorhold.policy.budgets import UNLIMITED

# Where clients put what they take for a password or an API key. None of it goes upstream.
TOKEN_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
PROXY_HEADERS = ("proxy-authorization",)
SECRET_HEADERS = (*TOKEN_HEADERS, *PROXY_HEADERS, "cookie")
# Envoy routes by this header and takes it off; it takes it off the agents' requests too.
ROUTE_HEADER = "x-anchorhold-route"
REVERSE, CONNECT, INTERCEPT = "reverse", "connect", "intercept"
# The last hop of a tunnel that is read, and where Envoy puts what only Envoy can have said there.
INSIDE, TOLD_BY = "inside", "envoy.filters.listener.proxy_protocol"
GREETING = "greeting"
SPENT, BUSY, UNRECORDED = "budget-exhausted", "budget-in-use", "usage-not-recorded"
# What is nobody's refusal: something that is needed is not there.
FAULTS = {
    addresses.NO_ANSWER: HTTPStatus.BAD_GATEWAY,
    credentials.MISSING: HTTPStatus.SERVICE_UNAVAILABLE,
    rules.OTHER_HOST: HTTPStatus.MISDIRECTED_REQUEST,
    SPENT: HTTPStatus.TOO_MANY_REQUESTS,
    BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    UNRECORDED: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A run that lives at this moment, and what it may reach.

    `policies` are the names of those it is under; `suspended` says that one of them is. `daily`
    are what these allow all their runs together, by name.
    """

    run: str
    uid: str
    address: str
    policies: tuple[str, ...]
    rules: tuple[EgressRule, ...]
    suspended: bool
    budget: Budget = UNLIMITED
    daily: tuple[tuple[str, Budget], ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What was set apart for a request: `rid` names it in Envoy's reports. Or why nothing was.

    `budget` is the one that is spent, or has nothing left at this moment.
    """

    rid: str = ""
    fault: str = ""
    budget: str = ""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What a request came through: a tunnel of this run, to this host and port."""

    uid: str
    host: str
    port: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as Envoy read it. `source` is the address that it came from.

    `authority` is the host that it says it is for. `through` is the tunnel that it came through,
    if we opened that to read what is in it.
    """

    source: str
    method: str
    path: str
    headers: Mapping[str, str]
    authority: str = ""
    through: Tunnel | None = None

    @property
    def tunnels(self) -> bool:
        """Whether a tunnel is asked for, as one asks a proxy."""
        return self.method == rules.TUNNEL


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request. `address` is where it goes; empty: it goes nowhere.

    `secret` is the header that is added on the way, `way` the one that Envoy takes, `held` what was
    set apart for it.
    """

    status: int
    reason: str
    cell: Cell | None = None
    target: rules.Target | None = None
    rule: str = ""
    address: str = ""
    secret: Header | None = None
    way: str = REVERSE
    held: Held = Held()


@dataclass(frozen=True, slots=True)
class Judge:
    """All that a decision hangs on.

    `cell_of` knows the living runs by uid, `keys` those that sign tokens, `kept` the Secrets by
    name; `resolve` gives an address that may be dialled, or nothing and a word why not. `reserve`
    sets apart what a request may cost; the flag says whether tokens are among it.
    """

    keys: Callable[[], Sequence[bytes]]
    cell_of: Callable[[str], Cell | None]
    kept: Callable[[str], Keeping | None]
    resolve: Callable[[str], Awaitable[tuple[str, str]]]
    reserve: Callable[[Cell, bool], Awaitable[Held]]

    async def decide(self, asked: Asked) -> Verdict:
        """The verdict; whatever is not allowed is refused."""
        uid = whose(asked, self.keys())
        cell = self.cell_of(uid) if uid is not None else None
        if cell is None:
            return Verdict(unknown(asked), "unknown-run")
        if (reason := objection(cell, asked)) is not None:
            return Verdict(HTTPStatus.FORBIDDEN, reason, cell)
        if asked.path == "/" and not (asked.tunnels or asked.through):
            return Verdict(HTTPStatus.OK, GREETING, cell)
        target = target_of(asked)
        if isinstance(target, str):
            return Verdict(FAULTS.get(target, HTTPStatus.FORBIDDEN), target, cell)
        return await self._judge(cell, target, asked)

    async def _judge(self, cell: Cell, target: rules.Target, asked: Asked) -> Verdict:
        rule = rules.find(cell.rules, target, modes(asked))
        if isinstance(rule, str):
            return Verdict(HTTPStatus.FORBIDDEN, rule, cell, target)
        if asked.tunnels and rule.mode == egress.INTERCEPT:
            # It ends with us, where each request in it is judged and paid for: nobody is dialled,
            # and its far end is the cell's own. (Envoy dies where the ends are of two families.)
            return Verdict(HTTPStatus.OK, "", cell, target, rule.name, cell.address, way=INTERCEPT)
        secret = None if asked.tunnels else self._secret(cell, rule)
        if isinstance(secret, str):
            return Verdict(status(secret), secret, cell, target, rule.name)
        address, fault = await self.resolve(target.host)
        if fault:
            return Verdict(status(fault), fault, cell, target, rule.name)
        # Last, so that only what will pass is paid for.
        held = await self.reserve(cell, budget.may_cost_tokens(asked.method, asked.headers))
        if held.fault:
            return Verdict(status(held.fault), held.fault, cell, target, rule.name, held=held)
        way = CONNECT if asked.tunnels else REVERSE
        return Verdict(HTTPStatus.OK, "", cell, target, rule.name, address, secret, way, held)

    def _secret(self, cell: Cell, rule: EgressRule) -> Header | str | None:
        """The header that the rule adds, if any, or why it can't."""
        if rule.credential is None:
            return None
        return credentials.header(rule, cell.policies, self.kept(rule.credential.secret_name))


def status(fault: str) -> int:
    """What a fault is over HTTP: a refusal, if it is nothing that may pass."""
    return FAULTS.get(fault, HTTPStatus.FORBIDDEN)


def objection(cell: Cell, asked: Asked) -> str | None:
    """Why a run that showed its token is not heard all the same."""
    if asked.source != cell.address:
        return "wrong-source"
    return "policy-suspended" if cell.suspended else None


def target_of(asked: Asked) -> rules.Target | str:
    """Where a request or a tunnel is to go, or why it can't."""
    if (through := asked.through) is not None:
        led = f"{through.host}:{through.port}"
        return rules.within(asked.method, asked.authority, asked.path, led)
    if asked.tunnels:
        return rules.tunnel(asked.authority) or rules.NO_HOST
    return rules.target(asked.method, asked.path) or rules.NO_HOST


def modes(asked: Asked) -> Sequence[str]:
    """The modes of the rules that may allow it, the strictest first."""
    if asked.through is not None:
        return (egress.INTERCEPT,)
    return (egress.INTERCEPT, egress.CONNECT) if asked.tunnels else (egress.REVERSE,)


def whose(asked: Asked, keys: Sequence[bytes]) -> str | None:
    """The uid of the run that asks: by its token, or as Envoy knows it from the tunnel."""
    if asked.through is not None:
        return asked.through.uid
    return identity.owner(token(asked), keys)


def unknown(asked: Asked) -> int:
    """What somebody hears whom nobody knows: a client shows a proxy nothing before it asks."""
    if asked.tunnels:
        return HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    return HTTPStatus.UNAUTHORIZED


def token(asked: Asked) -> str:
    """The token: to a proxy it is shown as one shows it to proxies, and only so."""
    return shown(asked.headers, PROXY_HEADERS if asked.tunnels else TOKEN_HEADERS)


def shown(headers: Mapping[str, str], places: Sequence[str] = TOKEN_HEADERS) -> str:
    """The token that a request shows, in whichever way its client does that."""
    value = next((headers[name] for name in places if name in headers), "")
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "bearer" | "token":
            return rest
        case "basic":
            return password(rest)
        case _:
            return value


def password(encoded: str) -> str:
    """The password of HTTP's Basic scheme, or nothing."""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
