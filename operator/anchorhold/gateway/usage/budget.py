"""What a run has used, or all runs of a policy on one day, and what that leaves. Pure.

Reserve before, settle after: a request is taken for what it may cost until its reply says better,
and what never says so stays taken. So nobody gains by hanging up before the bill.

A record is written ahead of use: it says what is used and what is set apart, and a gateway that
starts again counts both as used. So it never gives out twice, and loses a small part at most.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from anchorhold.api.egress import Budget
from anchorhold.api.usage import Usage
from anchorhold.policy.budgets import KINDS

# What a request may cost in tokens, as long as nobody knows; and what a reply costs by its size.
TOKENS = 4_096
BYTES_OF_A_TOKEN = 4
# A budget is written ahead in so many steps: as many writes, and no more than that part is lost.
STEPS = 20
# The replies of models: JSON, streams of events, gRPC.
MODELS = ("json", "event", "grpc", "proto")
READING = ("GET", "HEAD", "OPTIONS")
RUN, DAY = "budget", "dailyBudget"

Limits = Mapping[str, int]


@dataclass(slots=True)
class Account:
    """What is used. `tokens` are settled, `held` those of requests that are in flight.

    `leased` is up to where the record says that each kind is used; `exhausted` is the budget that
    ended it; `day` is for accounts that last one.
    """

    requests: int = 0
    refused: int = 0
    sent: int = 0
    received: int = 0
    tokens: int = 0
    held: int = 0
    exhausted: str = ""
    day: str = ""
    leased: dict[str, int] = field(default_factory=dict)

    def used(self, kind: str) -> int:
        """How much of a kind is used for certain."""
        return self.sent + self.received if kind == "bytes" else int(getattr(self, kind))

    def taken(self, kind: str) -> int:
        """How much is used, or held by requests in flight."""
        return self.used(kind) + (self.held if kind == "tokens" else 0)


@dataclass(frozen=True, slots=True)
class Report:
    """What Envoy says of a request: so many bytes until now.

    At its end also the tokens that its reply reported, if it did and was read to its end; `free`
    says that it can't have cost any.
    """

    rid: str
    uid: str
    sent: int
    received: int
    ended: bool = False
    tokens: int | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """How a request ended, as far as that tells whether a model may have worked for it.

    `tunnel`: nobody saw what was said.
    """

    status: int
    whole: bool
    connected: bool
    content_type: str
    tunnel: bool = False


def limits(budget: Budget, parts: int = 1) -> Limits:
    """The limits of a budget, or of one of its equal parts."""
    given = budget.model_dump(exclude_none=True)
    return {kind: amount // parts for kind, amount in given.items()}


def spent(account: Account, limits: Limits) -> str:
    """A kind of which nothing is left; empty: there is some of each."""
    return next((k for k, limit in limits.items() if account.used(k) >= limit), "")


def to_hold(books: Sequence[tuple[Account, Limits]]) -> int | None:
    """How many tokens a request holds: what it may cost, or all that is left. None: no limit."""
    left = [limits["tokens"] - a.taken("tokens") for a, limits in books if "tokens" in limits]
    return min(TOKENS, *left) if left else None


def is_covered(account: Account, limits: Limits, requests: int, tokens: int) -> bool:
    """Whether the record already says that so much more is used."""
    return all(account.leased.get(k, 0) >= n for k, n in wanted(account, limits, requests, tokens))


def lease(account: Account, limits: Limits, requests: int, tokens: int) -> dict[str, int]:
    """Up to where the record should say that each kind is used: as wanted, and one step ahead."""
    ahead = {
        kind: max(amount, min(limits[kind], amount + limits[kind] // STEPS))
        for kind, amount in wanted(account, limits, requests, tokens)
    }
    return {k: max(ahead.get(k, 0), account.leased.get(k, 0)) for k in KINDS}


def wanted(account: Account, limits: Limits, requests: int, tokens: int) -> list[tuple[str, int]]:
    """What of each limited kind would be taken with so much more."""
    more = {"requests": requests, "bytes": 0, "tokens": tokens}
    return [(kind, account.taken(kind) + more[kind]) for kind in limits]


def may_cost_tokens(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a model could answer: it is asked by what is more than reading, or by a WebSocket."""
    return method not in READING or "upgrade" in headers


def is_free(reply: Reply) -> bool:
    """Whether no model can have worked: nobody was reached, or a whole reply is none of a model.

    Whoever hung up is not believed: the model may have worked for them. And so in a tunnel.
    """
    if reply.tunnel:
        return False
    if not reply.connected:
        return True
    model = any(word in reply.content_type for word in MODELS) or reply.status < HTTPStatus.OK
    return reply.whole and (reply.status >= HTTPStatus.BAD_REQUEST or not model)


def cost(report: Report, held: int) -> int:
    """The tokens of a request that ended. One that held some and reports none is estimated."""
    if report.tokens is not None:
        return report.tokens
    if held == 0 or report.free:
        return 0
    return max(held, TOKENS, (report.sent + report.received) // BYTES_OF_A_TOKEN)


def record(account: Account, leased: Mapping[str, int]) -> dict[str, Any]:
    """What is written down, and given back by `restored`."""
    ahead = {k: max(leased.get(k, 0), account.taken(k)) - account.used(k) for k in KINDS}
    usage = {
        "requests": account.requests,
        "refused": account.refused,
        "bytesSent": account.sent,
        "bytesReceived": account.received,
        "tokens": account.tokens,
        "reserved": ahead,
        "exhausted": account.exhausted,
    }
    return {"day": account.day, **usage} if account.day else usage


def restored(document: Mapping[str, Any]) -> Account:
    """The account of a record: what was set apart counts as used. Raises ValidationError."""
    fields = {name: value for name, value in document.items() if name != "day"}
    usage = Usage.parse(fields)
    ahead = usage.reserved
    found = Account(
        requests=usage.requests + ahead.requests,
        refused=usage.refused,
        sent=usage.bytes_sent,
        received=usage.bytes_received + ahead.bytes,
        tokens=usage.tokens + ahead.tokens,
        exhausted=usage.exhausted,
        day=str(document.get("day", "")),
    )
    found.leased = {kind: found.used(kind) for kind in KINDS}
    return found
