"""The real cluster, with Anchorhold installed once and one tenant onboarded.

`make cluster-test` starts the node; everything here talks to it as its users do.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agents import Agents, Controller, condition
from attempts import Attempts
from bad_input import LABELS, SHOWN_LATER, asked
from bed.installation import CLUSTER, SYSTEM, Installation
from bed.kube import Kubectl, wait_for
from onenode import network
from onenode.node import dead_components
from tenants import Tenants, runtime_class, wide_policy
from tiers import TIERS, Tier
from volumes import claim_on, volume

ATTEMPTS = pytest.StashKey[Attempts]()
TENANT, PATIENT, AUTHOR = "team-test", "team-patient", "alice"
GVISOR, GVISOR_TENANT = "gvisor", "team-gvisor"


def pytest_configure(config: pytest.Config) -> None:
    """The table of attempts is there before the first test."""
    config.stash[ATTEMPTS] = Attempts()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was tried, from where, what happened, and what happens without the control."""
    if lines := config.stash[ATTEMPTS].lines():
        terminalreporter.section("attempts")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def attempts(pytestconfig: pytest.Config) -> Attempts:
    """Where a test notes what it tried and saw."""
    return pytestconfig.stash[ATTEMPTS]


@pytest.fixture(scope="session")
def bed() -> Installation:
    """The cluster with the controller installed from this checkout."""
    found = Installation()
    found.controller()
    return found


@pytest.fixture(scope="session")
def kubectl(bed: Installation) -> Kubectl:
    """The cluster as its administrator sees it."""
    return bed.kubectl


@pytest.fixture(scope="session")
def image(bed: Installation) -> str:
    """The test agent's image, by digest."""
    return bed.image("tests/agent", Path(__file__).parent / "agent")


@pytest.fixture(scope="session")
def image_with_volume(bed: Installation) -> str:
    """The same agent in an image that declares a VOLUME."""
    folder = Path(__file__).parent / "agent"
    file = str(folder / "with-volume.Dockerfile")
    return bed.image("tests/agent-with-volume", folder, "--file", file)


@pytest.fixture(scope="session")
def tenant(bed: Installation, image: str) -> str:
    """A namespace that is bound to the AgentPolicy of its own name."""
    written = wide_policy(TENANT, image)
    bed.kubectl.apply(written)
    bed.tenant(TENANT, TENANT, authors=(AUTHOR,))
    return TENANT


@pytest.fixture(scope="session")
def author(kubectl: Kubectl, tenant: str) -> Kubectl:  # onboards the author
    """The cluster as someone who submits runs sees it."""
    return kubectl.acting_as(AUTHOR, "system:authenticated")


@pytest.fixture(scope="session")
def half_made(kubectl: Kubectl, bed: Installation) -> Iterator[None]:  # installs
    """Two namespaces that nobody onboarded properly."""
    for name, labels in LABELS.items():
        kubectl.namespace(name, **labels)
    yield
    for name in LABELS:
        kubectl.delete("namespace", name, "", "--wait=false")


@pytest.fixture(scope="session", autouse=True)
def submitted(
    bed: Installation,
    half_made: None,
    image: str,
) -> Iterator[dict[str, tuple[str, str]]]:
    """Every run whose status must say what is wrong: kind -> namespace and name."""
    kubectl = bed.kubectl
    kubectl.apply(wide_policy(PATIENT, image))
    bed.tenant(PATIENT, PATIENT)
    where = {"name": "mutable", "namespace": PATIENT}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"a": "b"}})
    made: dict[str, tuple[str, str]] = {}
    for row in SHOWN_LATER:
        run = asked(row, PATIENT, image)
        kubectl.delete("agentrun", run["metadata"]["name"], run["metadata"]["namespace"])
        metadata = kubectl.create(run)["metadata"]
        made[row["kind"]] = metadata["namespace"], metadata["name"]
    yield made
    for namespace, name in made.values():
        kubectl.delete("agentrun", name, namespace)


@pytest.fixture(scope="session")
def gvisor(kubectl: Kubectl) -> Iterator[str]:
    """The RuntimeClass of the node's second runtime."""
    kubectl.apply(runtime_class(GVISOR, "runsc"))
    yield GVISOR
    kubectl.delete("runtimeclass", GVISOR)


@pytest.fixture(scope="session")
def gvisor_tenant(bed: Installation, author: Kubectl, image: str, gvisor: str) -> str:
    """A namespace of the same author's, whose policy has gVisor keep its cells apart."""
    written = wide_policy(GVISOR_TENANT, image)
    written["spec"] |= {"isolation": "RuntimeClass", "runtimeClassName": gvisor}
    bed.kubectl.apply(written)
    bed.tenant(GVISOR_TENANT, GVISOR_TENANT, authors=(AUTHOR,))
    Agents(author, bed.kubectl, GVISOR_TENANT, image).until_admitted()
    return GVISOR_TENANT


@pytest.fixture
def agents(
    author: Kubectl, kubectl: Kubectl, tenant: str, image: str, request: pytest.FixtureRequest
) -> Iterator[Agents]:
    """Submits runs, and removes them after the test; `both_tiers` says under which isolation."""
    under_gvisor = getattr(request, "param", "UserNamespace") == "RuntimeClass"
    namespace = request.getfixturevalue("gvisor_tenant") if under_gvisor else tenant
    found = Agents(author, kubectl, namespace, image)
    yield found
    found.remove_all()


@pytest.fixture
def under_gvisor(
    author: Kubectl, kubectl: Kubectl, gvisor_tenant: str, image: str
) -> Iterator[Agents]:
    """Submits runs that gVisor keeps apart, and removes them after the test."""
    found = Agents(author, kubectl, gvisor_tenant, image)
    yield found
    found.remove_all()


@pytest.fixture
def controller(kubectl: Kubectl) -> Iterator[Controller]:
    """The controller's Deployment; it runs again after the test."""
    found = Controller(kubectl, SYSTEM)
    yield found
    found.start()


@pytest.fixture(autouse=True)
def _every_component_lives() -> Iterator[None]:
    """A dead enforcer or kubelet says nothing by itself, and would make tests pass for nothing."""
    yield
    assert dead_components() == []
    assert network.ipv6_is_closed()


@pytest.fixture(scope="session")
def settings(author: Kubectl, tenant: str, gvisor_tenant: str) -> Iterator[str]:
    """An immutable ConfigMap of the author's, in each of his namespaces."""
    for namespace in (tenant, gvisor_tenant):
        made = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": namespace},
            "immutable": True,
            "data": {"key": "value"},
        }
        author.apply(made)
    yield "settings"
    for namespace in (tenant, gvisor_tenant):
        author.delete("configmap", "settings", namespace)


@pytest.fixture(scope="session")
def claim(kubectl: Kubectl, tenant: str, gvisor_tenant: str) -> Iterator[str]:
    """A claim on a volume that an administrator has filled, in each of the author's namespaces."""
    folder = CLUSTER / "volumes" / "test-tree"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_text("content\n", encoding="utf-8")
    for namespace in (tenant, gvisor_tenant):
        kubectl.apply(volume(f"tree-of-{namespace}", namespace, str(folder)))
        kubectl.apply(claim_on(f"tree-of-{namespace}", namespace))
    yield "tree"
    for namespace in (tenant, gvisor_tenant):
        kubectl.delete("persistentvolumeclaim", "tree", namespace, "--wait=false")
        kubectl.delete("persistentvolume", f"tree-of-{namespace}", "", "--wait=false")


@pytest.fixture(scope="module")
def tenants(bed: Installation, image: str) -> Iterator[Tenants]:
    """Onboards namespaces for one test module, and removes them after it."""
    found = Tenants(bed, image)
    yield found
    found.remove_all()


@pytest.fixture(
    scope="session", params=[TIERS[0], pytest.param(TIERS[1], marks=pytest.mark.long)], ids=str
)
def tier(request: pytest.FixtureRequest) -> Tier:
    """How cells are kept apart from their node: what is tried holds in every tier."""
    found: Tier = request.param
    return found


@pytest.fixture(scope="session")
def hostile(
    tier: Tier, bed: Installation, image: str, image_with_volume: str, gvisor: str
) -> Iterator[Agents]:
    """Agents of one tier, in a namespace of their own; a module removes what it submits."""
    tenants = Tenants(bed, image)
    name = f"hostile-{tier}"
    tenants.policy(tier.policy(name, image, image_with_volume))
    yield tenants.onboard(name, name)
    tenants.remove_all()


@pytest.fixture
def place(onboarded: Agents) -> Iterator[Agents]:
    """The namespace that a module calls `onboarded`, less what a test submitted there."""
    yield onboarded
    onboarded.remove_all()
    onboarded.submitted.clear()


@pytest.fixture(scope="session")
def nobody_waits(kubectl: Kubectl, submitted: dict[str, tuple[str, str]]) -> None:
    """What `submitted` holds has ended: damage to the whole cluster would end it otherwise."""

    def ended(namespace: str, name: str) -> bool:
        run = kubectl.get("agentrun", name, namespace)
        assert run is not None
        return bool(condition(run)["status"] != "Unknown")

    for namespace, name in submitted.values():
        wait_for(partial(ended, namespace, name), 300, f"{name} to end")
