"""Which addresses the gateway may dial: public ones, and those that the platform's admin lists.

Envoy has the same ranges as a second layer of its own, so that a mistake in one is no hole.
"""

import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

# Why a name leads nowhere.
NOT_PUBLIC, NO_ANSWER = "address-not-public", "dns-failure"

Network: TypeAlias = IPv4Network | IPv6Network

# IANA special-purpose registries (RFC 6890 and later), with what only leads elsewhere.
SPECIAL_4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        ),
    )
)
# IPv6 is the other way round: only this is public, but for what tunnels or documents.
GLOBAL_6 = IPv6Network("2000::/3")
SPECIAL_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# Not even an admin opens these: the node itself, and the cloud's metadata.
NEVER = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/16", "fe80::/10"),
    )
)


def may_be_dialled(address: str, reachable: Iterable[Network]) -> bool:
    """Whether an address is public, or one that the admin lists. Raises ValueError."""
    found = ipaddress.ip_address(address)
    if any(found in network for network in NEVER):
        return False
    if any(found in network for network in reachable):
        return True
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in SPECIAL_4)
    return found in GLOBAL_6 and not any(found in network for network in SPECIAL_6)


def networks(text: str) -> tuple[Network, ...]:
    """Ranges as words of a text. Raises ValueError."""
    return tuple(ipaddress.ip_network(word) for word in text.split())
