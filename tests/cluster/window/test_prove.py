"""The product's own proof: green here, and red at the right claim for each fence that is broken."""

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from anchorhold import names
from anchorhold.cli.prove.claims import claims
from anchorhold.cli.prove.command import INTERRUPTED
from attempts import Attempts
from bed.installation import CHECKOUT, GATEWAY, SYSTEM, Installation
from bed.kube import Document, Kubectl, wait_for
from enforcement import blind_sentinel
from proving.place import EVERYTHING, TIERS, Place, built, runtime_class
from sabotage import EDITS, SABOTAGES, Edit, Sabotage
from window import GOOD, world_log

# What is over in a minute; the rest says nothing of the fences that are broken here.
QUICK = "C01,C02,C04,C05,C06,C07,C08,C09,C22,C25,C26,C27,C28,C29,A02"
EVERY = ",".join(claim.id for claim in claims())
# What an agent meets in its cell; the rest is the same API server, and the same gateway.
BY_TIER = "C01,C07,C08,C09,C15,C18,C19,C25,C31,A01,A02,A03"
# And what hangs on the gateway.
GATED = "C10,C11,C12,C13,C14,C17,C26"
pytestmark = pytest.mark.usefixtures("nobody_waits")


@pytest.fixture(scope="module")
def places(gateway: Installation) -> Iterator[dict[str, Place]]:
    """A namespace of each tier; those that were onboarded are removed after this module."""
    found = {namespace: Place(gateway, namespace) for namespace in TIERS}
    yield found
    for place in found.values():
        place.remove()


@pytest.fixture(scope="module")
def place(places: dict[str, Place]) -> Place:
    """A namespace of the first tier."""
    found = places["prove-users"]
    found.onboard()
    return found


def outcomes(found: Document) -> dict[str, list[str]]:
    """The claims by their verdicts."""
    by: dict[str, list[str]] = {}
    for claim in found["claims"]:
        by.setdefault(claim["outcome"], []).append(claim["id"])
    return by


def reasons(found: Document) -> dict[str, str]:
    """Why each claim did not pass."""
    return {c["id"]: c["reason"] for c in found["claims"] if c["outcome"] != "PASS"}


def leftovers(kubectl: Kubectl, namespace: str) -> list[str]:
    """What `prove` has left, but for what is on its way out."""
    ours = ("-l", "app.kubernetes.io/created-by=anchorhold-prove")
    inside = [*kubectl.items("agentruns", namespace), *kubectl.items("configmaps", namespace)]
    made = [each for each in inside if each["metadata"]["name"].startswith("prove-")]
    found = [*made, *kubectl.items("namespaces", "", *ours)]
    return [f["metadata"]["name"] for f in found if "deletionTimestamp" not in f["metadata"]]


def dialled(kubectl: Kubectl, since: int) -> set[str]:
    """Where the gateway has been since a place in the world's log, as the world saw it."""
    pod = kubectl.get("pod", "gateway-0", GATEWAY)
    assert pod is not None
    begins = f"{pod['status']['podIP']} connected to "
    return {line.removeprefix(begins) for line in world_log()[since:] if line.startswith(begins)}


def controllers(kubectl: Kubectl) -> list[Document]:
    """The controller's Pods."""
    pods = kubectl.items("pods", SYSTEM)
    return [pod for pod in pods if pod["metadata"]["name"].startswith(names.CONTROLLER)]


@pytest.mark.parametrize(
    ("namespace", "only"),
    [
        ("prove-users", EVERY),
        ("prove-gvisor", BY_TIER),
        pytest.param("prove-gvisor", EVERY, marks=pytest.mark.long),
    ],
    ids=["user-namespace", "what gVisor changes", "gvisor"],
)
@pytest.mark.timeout(600)
def test_every_claim_holds_in_every_tier(
    places: dict[str, Place], namespace: str, only: str, kubectl: Kubectl
):
    place = places[namespace]
    place.onboard()
    before = len(world_log())

    status, found = place.prove("--only", only, *EVERYTHING)

    assert reasons(found) == {}
    assert status == 0
    assert dialled(kubectl, before) == {f"{GOOD}:443"}
    assert [claim["id"] for claim in found["claims"]] == only.split(",")
    assert leftovers(kubectl, namespace) == []


def test_without_anything_allowed_nothing_is_called_proved_that_was_not(place: Place):
    """The controls that need an unfenced Pod or the controller's token are missing: no PASS."""
    status, found = place.prove("--only", QUICK)

    assert status == 2
    untested = {"C02", "C05", "C06", "C07", "C25", "C26", "A02"}
    assert untested == set(outcomes(found)["NOT TESTED"])
    assert "FAIL" not in outcomes(found)


def test_who_is_interrupted_leaves_nothing_behind(place: Place, kubectl: Kubectl):
    """In the middle of an attack with the controller stopped and Pods without a fence."""
    with place.start("--only", "C24", *EVERYTHING) as running:
        wait_for(lambda: not controllers(kubectl), 120, "the controller to be stopped")
        running.send_signal(signal.SIGINT)
        assert running.wait(120) == INTERRUPTED

    assert leftovers(kubectl, place.namespace) == []
    wait_for(lambda: controllers(kubectl), 60, "the controller to be back")


def test_helm_test_attacks_with_an_authors_rights(
    place: Place, gateway: Installation, kubectl: Kubectl
):
    command = gateway.image("anchorhold/cli", CHECKOUT, "--file", str(CHECKOUT / "Dockerfile.cli"))
    values = {"prove.image": command, "prove.agentImage": built(gateway)}
    gateway.tenant(place.namespace, place.namespace, **values)

    said = gateway.helm("test", place.namespace, "--namespace", SYSTEM, "--logs")

    assert "11 PASS, 0 FAIL, 0 NOT TESTED" in said
    assert leftovers(kubectl, place.namespace) == []
    gateway.tenant(place.namespace, place.namespace)


@pytest.mark.long
@pytest.mark.parametrize("sabotage", SABOTAGES, ids=str)
def test_prove_turns_red_at_the_right_claim_and_nowhere_else(
    place: Place, kubectl: Kubectl, sabotage: Sabotage, attempts: Attempts
):
    with sabotage.breaks(kubectl, place.namespace):
        status, found = place.prove("--only", QUICK, *EVERYTHING)
    place.until_whole()

    red = outcomes(found).get("FAIL", [])
    attempts.record(
        "prove", sabotage.what, "an administrator", f"red: {', '.join(red)}", "green before"
    )
    assert " ".join(red) == sabotage.red, reasons(found)
    assert status == 1


@pytest.mark.long
def test_a_sentinel_that_looks_at_nothing_is_found(place: Place, kubectl: Kubectl):
    with blind_sentinel(kubectl):
        status, found = place.prove("--only", "C30", *EVERYTHING)
    place.until_whole()

    assert (status, outcomes(found)) == (1, {"FAIL": ["C30"]}), reasons(found)


@pytest.mark.long
def test_a_runtime_class_that_is_no_wall_is_found(places: dict[str, Place], kubectl: Kubectl):
    """The policy says RuntimeClass, and what the class names is the runtime of everybody."""
    kubectl.apply({**runtime_class(), "metadata": {"name": "plain"}, "handler": "runc"})
    place = places["prove-gvisor"]
    place.onboard(runtimeClassName="plain")

    status, found = place.prove("--only", QUICK, *EVERYTHING)

    place.onboard()
    kubectl.delete("runtimeclass", "plain")
    assert (status, outcomes(found).get("FAIL")) == (1, ["C25"]), reasons(found)


@dataclass(frozen=True)
class Edited(Installation):
    """The same from a changed checkout."""

    checkout: Path

    @property
    def controller_image(self) -> str:
        return self.image("anchorhold/edited", self.checkout)


def edited(edit: Edit, checkout: Path) -> Edited:
    """What makes the image, with one edit."""
    for name in ("operator/anchorhold", "requirements", "build/wheels"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__py*"))
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(CHECKOUT / name, checkout / name)
    file = checkout / "operator" / "anchorhold" / "gateway" / edit.file
    text = file.read_text(encoding="utf-8")
    assert text.count(edit.old) == 1
    file.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return Edited(checkout)


@pytest.mark.long
@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_prove_turns_red_at_the_right_claim_for_a_gateway_that_is_wrong(
    place: Place, gateway: Installation, edit: Edit, tmp_path: Path
):
    edited(edit, tmp_path).gateway()

    status, found = place.prove("--only", GATED, *EVERYTHING)

    gateway.gateway()
    assert (status, " ".join(outcomes(found).get("FAIL", []))) == (1, edit.red), reasons(found)


def test_every_tier_has_a_place():
    assert set(TIERS) == {"prove-users", "prove-gvisor"}
