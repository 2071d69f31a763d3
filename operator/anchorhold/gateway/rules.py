"""Which rule allows a request, if any. Pure.

A request is judged as the upstream will see it: the very host, port and path that are matched are
the ones that are sent on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from anchorhold.api.egress import REVERSE, EgressRule

HTTPS = 443
# The method by which a client asks a proxy for a tunnel.
TUNNEL = "CONNECT"
NO_HOST, OTHER_HOST = "no-host", "not-the-host-of-the-tunnel"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request wants to go. `path` begins with a slash, and may have a query."""

    method: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the upstream is told that it was asked as."""
        return self.host if self.port == HTTPS else f"{self.host}:{self.port}"


def target(method: str, asked: str) -> Target | None:
    """What '/<host>[:<port>]/<path>' means; None if it means nothing."""
    place, _, path = asked.removeprefix("/").partition("/")
    if not asked.startswith("/") or "?" in place or "#" in place:
        return None
    return at(place, method, f"/{path}")


def tunnel(authority: str) -> Target | None:
    """What 'CONNECT <host>:<port>' means; None if it means nothing."""
    return at(authority, TUNNEL, "") if ":" in authority else None


def within(method: str, authority: str, path: str, led: str) -> Target | str:
    """What a request is for that came through a tunnel to `led`: that very host and port."""
    wanted, there = at(authority, method, path), tunnel(led)
    if wanted is None or there is None or not path.startswith("/"):
        return NO_HOST
    same = (wanted.host, wanted.port) == (there.host, there.port)
    return wanted if same and method != TUNNEL else OTHER_HOST


def at(place: str, method: str, path: str) -> Target | None:
    """The target at '<host>[:<port>]'."""
    host, colon, port = place.lower().partition(":")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= len("65535")):
        return None
    return Target(method, host, int(port) if colon else HTTPS, path)


def find(
    rules: Sequence[EgressRule], wanted: Target, modes: Sequence[str] = (REVERSE,)
) -> EgressRule | str:
    """The first rule that allows it, or the reason why none does. Earlier modes go first."""
    near = [rule for rule in rules if reaches(rule, wanted)]
    fitting = [rule for mode in modes for rule in near if rule.mode == mode]
    if not fitting:
        return "mode-not-allowed" if near else "host-not-allowed"
    # What comes through a tunnel is judged then, if it can be.
    allowed = (rule for rule in fitting if wanted.method == TUNNEL or permits(rule, wanted))
    return next(allowed, "method-or-path-not-allowed")


def reaches(rule: EgressRule, wanted: Target) -> bool:
    """Whether a rule is about this host and port. '*' is one label, and no label is empty."""
    labels, pattern = wanted.host.split("."), rule.host.split(".")
    same = len(labels) == len(pattern) and all(map(fits, pattern, labels))
    return same and wanted.port in rule.ports


def permits(rule: EgressRule, wanted: Target) -> bool:
    """Whether a rule has this method, and one of its paths is this one."""
    segments = wanted.path.partition("?")[0].split("/")[1:]
    clean = not any(map(climbs, segments)) and "" not in segments[:-1]
    named = any(leads_to(path.split("/")[1:], segments) for path in rule.paths)
    return wanted.method in rule.methods and clean and named


def leads_to(pattern: list[str], segments: list[str]) -> bool:
    """'*' is one segment, '**' at the end is all that follows, which may be nothing."""
    if pattern[-1] == "**":
        pattern = pattern[:-1]
        segments = segments[: len(pattern)]
    return len(pattern) == len(segments) and all(map(fits, pattern, segments))


def fits(pattern: str, text: str) -> bool:
    """A whole label or segment."""
    return text == pattern or (pattern == "*" and text != "")


def climbs(segment: str) -> bool:
    """Some servers take '..;x' and a backslash for what would leave the path that was judged."""
    return segment.partition(";")[0] in (".", "..") or "\\" in segment or "%5c" in segment.lower()
