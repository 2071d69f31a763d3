"""Two network namespaces: the node's, which has no way out, and `world`, which plays its internet.

Nothing that a test lets loose can leave the machine: the node's default route ends in `world`, and
the only route of `world` leads back.
"""

from __future__ import annotations

from pathlib import Path

from onenode import settings
from onenode.shell import run, succeeds

NAMED = Path("/run/netns")


def path(network: str) -> Path:
    """Return the file that holds a namespace open."""
    return NAMED / network


def inside(network: str) -> tuple[str, str]:
    """Return the command to enter a namespace.

    Not `ip netns exec`: that mounts another /sys and so hides the control groups from the kubelet.
    """
    return ("nsenter", f"--net={path(network)}")


def create() -> None:
    """Make both namespaces and the links between them and this machine."""
    for network in (settings.NODE_NETWORK, settings.WORLD_NETWORK):
        _namespace(network)
    _link_to_machine()
    _link_to_world()
    _node_rules()


def _namespace(network: str) -> None:
    # `ip netns add` would leave a mount of /run/netns over itself behind.
    NAMED.mkdir(exist_ok=True)
    path(network).touch()
    run("unshare", f"--net={path(network)}", "true")
    run(*inside(network), "ip", "link", "set", "lo", "up")


def _link_to_machine() -> None:
    node = inside(settings.NODE_NETWORK)
    run("ip", "link", "add", settings.HOST_LINK, "type", "veth",
        "peer", "name", "uplink", "netns", settings.NODE_NETWORK)  # fmt: skip
    run("ip", "address", "add", f"{settings.HOST_ADDRESS}/30", "dev", settings.HOST_LINK)
    run("ip", "link", "set", settings.HOST_LINK, "up")
    run(*node, "ip", "address", "add", f"{settings.NODE_ADDRESS}/30", "dev", "uplink")
    run(*node, "ip", "link", "set", "uplink", "up")


def _link_to_world() -> None:
    node, world = inside(settings.NODE_NETWORK), inside(settings.WORLD_NETWORK)
    gateway, first = settings.WORLD_GATEWAY, settings.WORLD_SERVERS[0][0]
    run(*node, "ip", "link", "add", "world", "type", "veth",
        "peer", "name", "eth0", "netns", settings.WORLD_NETWORK)  # fmt: skip
    run(*node, "ip", "address", "add", f"{gateway}/24", "dev", "world")
    run(*node, "ip", "link", "set", "world", "up")
    for address, _ in settings.WORLD_SERVERS:
        length = 24 if address == first else 32
        run(*world, "ip", "address", "add", f"{address}/{length}", "dev", "eth0")
    run(*world, "ip", "link", "set", "eth0", "up")
    run(*world, "ip", "route", "add", "default", "via", gateway)
    run(*node, "ip", "route", "add", "default", "via", first)


def _node_rules() -> None:
    node = inside(settings.NODE_NETWORK)
    run(*node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    # A module of the kernel, which some machines load only when asked.
    if not Path("/proc/sys/net/bridge").exists():
        run("modprobe", "br_netfilter")
    # Without it, the traffic between two Pods on one bridge would pass no rule at all.
    run(*node, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    # In `raw`, which is before the paths to the node and to other Pods part: both are closed by it.
    run(*node, "sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=1")
    close_ipv6()
    # Only the node reaches this machine, Pods never do; `raw` is before any rule that accepts.
    run(*node, "iptables", "-w", "-t", "raw", "-A", "PREROUTING", "!", "-i", "uplink",
        "-d", settings.HOST_ADDRESS, "-j", "DROP")  # fmt: skip


def _ipv6(action: str) -> tuple[str, ...]:
    rule = ("PREROUTING", "-i", settings.BRIDGE, "-j", "DROP")
    node = inside(settings.NODE_NETWORK)
    return (*node, "ip6tables", "-w", "-t", "raw", action, *rule)


def close_ipv6() -> None:
    """Drop every IPv6 packet of a Pod.

    Every interface has a link-local address, and the enforcer's rules for a Pod hang on the IPv4
    address that Kubernetes knows: over IPv6, a Pod that is closed both ways would reach the node
    and its neighbours.
    """
    run(*_ipv6("-A"))


def open_ipv6() -> None:
    """Let IPv6 through, as a node does that nobody told otherwise."""
    run(*_ipv6("-D"))


def ipv6_is_closed() -> bool:
    """Say whether the Pods' IPv6 is dropped."""
    return succeeds(*_ipv6("-C"))


def link_local() -> str:
    """Return the node's own address on the link that it shares with the Pods."""
    node = inside(settings.NODE_NETWORK)
    shown = run(*node, "ip", "-6", "-o", "address", "show", "dev", settings.BRIDGE, "scope", "link")
    return shown.split()[3].split("/")[0]


def missing() -> tuple[str, ...]:
    """Return the folder of named namespaces, if this machine has none yet."""
    return () if NAMED.exists() else (str(NAMED),)


def exists() -> bool:
    """Say whether any part of it is there."""
    parts = [path(settings.NODE_NETWORK), path(settings.WORLD_NETWORK)]
    return any(p.exists() for p in parts) or Path("/sys/class/net", settings.HOST_LINK).exists()


def remove() -> None:
    """Remove what `create` made, or what there is of it; the links go with their namespaces."""
    if Path("/sys/class/net", settings.HOST_LINK).exists():
        run("ip", "link", "delete", settings.HOST_LINK)
    for network in (settings.NODE_NETWORK, settings.WORLD_NETWORK):
        if path(network).exists():
            succeeds("umount", path(network))
            path(network).unlink()
