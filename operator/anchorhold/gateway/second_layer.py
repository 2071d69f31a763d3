"""Envoy's own judgement of an address, and the words in which Envoy wants things said."""

from collections.abc import Sequence
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
    public = any_of(
        both(among(["0.0.0.0/0"]), outside(addresses.SPECIAL_4)),
        both(among([addresses.GLOBAL_6]), outside(addresses.SPECIAL_6)),
    )
    listed = [both(among(reachable), outside(addresses.NEVER))] if reachable else []
    policy = {"principals": [{"any": True}], "permissions": [any_of(public, *listed)]}
    return part(
        "envoy.filters.http.upstream_rbac",
        "extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": {"public": policy}},
    )


def among(networks: Sequence[object]) -> Config:
    """In one of the ranges."""
    kind = "extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher"
    name = "envoy.rbac.matchers.upstream_ip_port"
    ranges = (str(network).partition("/") for network in networks)
    return any_of(
        *(
            {"matcher": part(name, kind, upstream_ip={"address_prefix": at, "prefix_len": int(n)})}
            for at, _, n in ranges
        )
    )


def outside(networks: Sequence[object]) -> Config:
    """In none of the ranges."""
    return {"not_rule": among(networks)}


def both(*rules: Config) -> Config:
    """All must hold."""
    return {"and_rules": {"rules": list(rules)}}


def any_of(*rules: Config) -> Config:
    """One must hold."""
    return {"or_rules": {"rules": list(rules)}}
