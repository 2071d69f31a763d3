"""What holds a cell where a NetworkPolicy does not: each wall shown alone, with and without it."""

from collections.abc import Iterator

import pytest

from attempts import Attempts
from bed.kube import Kubectl, wait_for
from enforcement import ipv6
from onenode import network
from unfenced import NAMESPACE, PORT, Unfenced, unfenced

# The sentinel gets out as well, and ends what is there.
pytestmark = pytest.mark.usefixtures("nobody_waits")
# Says where it is found over IPv6, and takes whoever comes, over IPv4 too.
LISTEN = f"""
import socket
server = socket.create_server(('::', {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
rows = [line.split() for line in open('/proc/net/if_inet6')]
found = next(row[0] for row in rows if row[5] == 'eth0')
print(':'.join(found[at:at + 4] for at in range(0, 32, 4)), flush=True)
while True:
    server.accept()[0].close()
"""


@pytest.fixture
def fenced(kubectl: Kubectl, image: str) -> Iterator[Unfenced]:
    """A namespace that a NetworkPolicy closes both ways, and where nothing else protects."""
    with unfenced(kubectl, image) as found:
        found.fence()
        yield found


def says(kubectl: Kubectl, name: str) -> str:
    """The first line that a Pod prints."""
    look = ("logs", name, "-n", NAMESPACE)
    return wait_for(lambda: kubectl.run(*look).stdout, 60, f"{name} to speak").split()[0]


@pytest.mark.long
def test_fenced_pods_reach_nobody_over_ipv6(fenced: Unfenced, kubectl: Kubectl, attempts: Attempts):
    """Under default deny both ways, with the runtime's own seccomp profile and no netgate.

    The NetworkPolicy holds over IPv4, in the very same Pod that gets out over IPv6.
    """
    fenced.start("listener", LISTEN, {})
    neighbour, node = says(kubectl, "listener"), network.link_local()
    targets = {
        "the neighbour over IPv4": (fenced.status("listener")["podIP"], PORT),
        "a neighbour": (f"{neighbour}%eth0", PORT),
        "the API server": (f"{node}%eth0", 6443),
        "the kubelet": (f"{node}%eth0", 10250),
    }

    _, closed = fenced.reaches(targets, "with-the-rule")
    with ipv6():
        _, opened = fenced.reaches(targets, "without-it")

    over_ipv4 = {"the neighbour over IPv4": False}
    assert closed == dict.fromkeys(targets, False)
    assert opened == {**dict.fromkeys(targets, True), **over_ipv4}
    for name in set(targets) - set(over_ipv4):
        tried = f"TCP to {name} at its link-local address"
        attempts.record(
            "the node drops its Pods' IPv6", tried, "a fenced Pod, RuntimeDefault, no netgate",
            "no answer", "connected",
        )  # fmt: skip
