"""Envoy's own judgement of an address, and the words in which Envoy wants things said."""

from collections.abc import Callable, Sequence
from typing import Any

from anchorhold.gateway import addresses

Config = dict[str, Any]


def typed(kind: str, **fields: Any) -> Config:  # noqa: ANN401
    """A configuration of one of Envoy's types."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def part(name: str, kind: str, **fields: Any) -> Config:  # noqa: ANN401
    """An extension by name."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def second_layer(reachable: Sequence[addresses.Network]) -> Config:
    """Envoy's own judgement of the address. An address that is not known is in no range."""
    policy = {"principals": [{"any": True}], "permissions": [public(reachable, upstream_in)]}
    return part(
        "envoy.filters.http.upstream_rbac",
        "extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": {"public": policy}},
    )


# Whether an address is in the range that begins so, with so many bits.
Matcher = Callable[[str, int], Config]


def public(reachable: Sequence[addresses.Network], matcher: Matcher) -> Config:
    """Whether an address may be dialled, whichever address it is that is matched."""

    def among(networks: Sequence[object]) -> Config:
        ranges = (str(network).partition("/") for network in networks)
        return any_of(*(matcher(at, int(length)) for at, _, length in ranges))

    def outside(networks: Sequence[object]) -> Config:
        return {"not_rule": among(networks)}

    anywhere = any_of(
        both(among(["0.0.0.0/0"]), outside(addresses.SPECIAL_4)),
        both(among([addresses.GLOBAL_6]), outside(addresses.SPECIAL_6)),
    )
    listed = [both(among(reachable), outside(addresses.NEVER))] if reachable else []
    return any_of(anywhere, *listed)


def upstream_in(at: str, length: int) -> Config:
    """Whether the upstream's address is in a range."""
    kind = "extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
    name = "envoy.rbac.matchers.upstream_ip_port"
    upstream_ip = {"address_prefix": at, "prefix_len": length}
    return {"matcher": part(name, kind, upstream_ip=upstream_ip)}


def both(*rules: Config) -> Config:
    """All must hold."""
    return {"and_rules": {"rules": list(rules)}}


def any_of(*rules: Config) -> Config:
    """One must hold."""
    return {"or_rules": {"rules": list(rules)}}
