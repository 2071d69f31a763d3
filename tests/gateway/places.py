"""Where no agent may get, with a server at each that would answer."""

from __future__ import annotations

from onenode import settings

# Every kind of address, in both families: loopback, unspecified-to-loopback, private, shared,
# link-local, metadata, multicast's neighbours, the node's and the cluster's own.
FORBIDDEN_4 = (
    *("127.0.0.1", "127.1.2.3", "10.1.2.3", "100.64.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "169.254.1.1", "192.0.0.8", "198.18.0.1", "198.51.100.30"),
    *(settings.NODE_ADDRESS, settings.FIRST_SERVICE, settings.DNS_SERVICE),
)
FORBIDDEN_6 = (
    *("::1", "fd00::1", "fd00:ec2::254", "2001:db8::1", "2002:cb00:710a::1", "3fff::1"),
    *("64:ff9b::a9fe:a9fe", "2001::1"),
)
# No server can be bound to these, yet they lead to one: to an IPv4 address in disguise, and to a
# neighbour.
WITHOUT_SERVER = ("::ffff:169.254.169.254", "::ffff:127.0.0.1", "::127.0.0.1", "fe80::1", "0.0.0.0")  # noqa: S104
# The certificate of `world` is for all names of this one.
ZONE = "places.test"
PUBLIC_6 = "2a00:1:2:3::4"
# What a loopback has anyway.
GIVEN = {"127.0.0.1", "127.1.2.3", "::1"}
SERVED = (*FORBIDDEN_4, *FORBIDDEN_6)


def named(address: str) -> str:
    """A name that leads there."""
    return f"at-{address.replace(':', '-').replace('.', '-').strip('-')}.{ZONE}"


# What the name server of the tests says beside `settings.WORLD_NAMES`.
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    **{named(address): ((address,),) for address in (*SERVED, *WITHOUT_SERVER, PUBLIC_6)},
    f"mixed-6.{ZONE}": (("203.0.113.10", "fd00::1"),),
    f"mixed-public-6.{ZONE}": ((PUBLIC_6, "fe80::1"),),
    **{
        f"rebinding-{mode}.{ZONE}": (("203.0.113.10",), ("198.51.100.30",))
        for mode in ("reverse", "connect", "intercept")
    },
}
