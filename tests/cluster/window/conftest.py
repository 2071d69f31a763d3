"""A gateway for the tests of this folder, and a tenant whose runs may ask for every rule."""

from collections.abc import Iterator

import pytest

from agents import Agents
from bed.installation import Installation
from tenants import Tenants, wide_policy
from window import RULES, TENANT, sdks


@pytest.fixture(scope="package")
def gateway(bed: Installation) -> Iterator[Installation]:
    """The installation with a gateway; it is gone after the last of them."""
    bed.gateway()
    yield bed
    bed.controller()


@pytest.fixture(scope="module")
def windowed(gateway: Installation, tenants: Tenants, image: str) -> Agents:
    """The tenant of a module, some of which have one of their own."""
    written = wide_policy(TENANT, image)
    written["spec"]["egress"] = {"rules": RULES}
    written["spec"]["images"].append({"reference": sdks(gateway)})
    tenants.policy(written)
    return tenants.onboard(TENANT, TENANT)


@pytest.fixture
def window(windowed: Agents) -> Iterator[Agents]:
    """The same, less what a test submitted there."""
    yield windowed
    windowed.remove_all()
    windowed.submitted.clear()
