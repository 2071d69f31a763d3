"""Decides about one request: whose it is, whether a rule allows it, and which address it gets."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from anchorhold.api.egress import EgressRule
from anchorhold.gateway import rules
from anchorhold.policy import identity

# Where clients put what they take for a password or an API key. None of it goes upstream.
TOKEN_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
SECRET_HEADERS = (*TOKEN_HEADERS, "proxy-authorization", "cookie")
GREETING = "greeting"


@dataclass(frozen=True, slots=True)
class Cell:
    """A run that lives at this moment, and what it may reach.

    `suspended` says that one of its policies is.
    """

    run: str
    uid: str
    address: str
    rules: tuple[EgressRule, ...]
    suspended: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as Envoy read it. `source` is the address that it came from."""

    source: str
    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request. `address` is where it goes; empty: it goes nowhere."""

    status: int
    reason: str
    cell: Cell | None = None
    target: rules.Target | None = None
    rule: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Judge:
    """All that a decision hangs on.

    `cell_of` knows the living runs by uid, `keys` those that sign tokens; `resolve` gives an
    address that may be dialled, or None and a word why not.
    """

    keys: Callable[[], Sequence[bytes]]
    cell_of: Callable[[str], Cell | None]
    resolve: Callable[[str], Awaitable[tuple[str, str]]]

    async def decide(self, asked: Asked) -> Verdict:
        """The verdict; whatever is not allowed is refused."""
        uid = identity.owner(shown(asked.headers), self.keys())
        cell = self.cell_of(uid) if uid is not None else None
        if cell is None:
            return Verdict(HTTPStatus.UNAUTHORIZED, "unknown-run")
        if (reason := objection(cell, asked)) is not None:
            return Verdict(HTTPStatus.FORBIDDEN, reason, cell)
        if asked.path == "/":
            return Verdict(HTTPStatus.OK, GREETING, cell)
        target = rules.target(asked.method, asked.path)
        if target is None:
            return Verdict(HTTPStatus.FORBIDDEN, "no-host", cell)
        return await self._judge(cell, target)

    async def _judge(self, cell: Cell, target: rules.Target) -> Verdict:
        rule = rules.find(cell.rules, target)
        if isinstance(rule, str):
            return Verdict(HTTPStatus.FORBIDDEN, rule, cell, target)
        address, fault = await self.resolve(target.host)
        if fault == "dns-failure":
            return Verdict(HTTPStatus.BAD_GATEWAY, fault, cell, target, rule.name)
        if fault:
            return Verdict(HTTPStatus.FORBIDDEN, fault, cell, target, rule.name)
        return Verdict(HTTPStatus.OK, "", cell, target, rule.name, address)


def objection(cell: Cell, asked: Asked) -> str | None:
    """Why a run that showed its token is not heard all the same."""
    if asked.source != cell.address:
        return "wrong-source"
    return "policy-suspended" if cell.suspended else None


def shown(headers: Mapping[str, str]) -> str:
    """The token that a request shows, in whichever way its client does that."""
    value = next((headers[name] for name in TOKEN_HEADERS if name in headers), "")
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
