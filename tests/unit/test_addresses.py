"""Which addresses the gateway may dial."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorhold.gateway.addresses import SPECIAL_4, may_be_dialled, networks

OURS = networks("10.1.2.0/24 127.0.0.0/8 169.254.0.0/16 fd00:1::/64 ::1/128")


@pytest.mark.parametrize("address", ["9.9.9.9", "1.1.1.1", "2606:4700::1111"])
def test_a_public_address_may_be_dialled(address: str):
    assert may_be_dialled(address, ())


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
        *("172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::ffff:9.9.9.9", "::9.9.9.9", "64:ff9b::9.9.9.9"),
        *("100::1", "2001::1", "2001:db8::1", "2002:909:909::1", "3fff::1", "fc00::1", "fd00::1"),
        *("fe80::1", "fec0::1", "ff02::1"),
    ],
)
def test_no_other_may(address: str):
    assert not may_be_dialled(address, ())


@pytest.mark.parametrize("address", ["10.1.2.3", "fd00:1::5"])
def test_an_admin_may_add_to_them(address: str):
    assert may_be_dialled(address, OURS)
    assert not may_be_dialled(address, ())


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.1.3.1"])
def test_but_neither_the_node_nor_metadata_nor_what_is_beside(address: str):
    assert not may_be_dialled(address, OURS)


@given(st.ip_addresses(v=4))
def test_what_python_calls_special_is_never_dialled(address: ipaddress.IPv4Address):
    """Two lists that were written by different people."""
    if not address.is_global or address.is_multicast:
        assert not may_be_dialled(str(address), ())


def test_the_third_layer_has_the_same_list():
    """The gateway's NetworkPolicy leaves out what the decider and Envoy leave out."""
    from charts import ROOT  # noqa: PLC0415

    text = (ROOT / "charts/anchorhold/templates/gateway.yaml").read_text(encoding="utf-8")

    assert f"except: [{', '.join(map(str, SPECIAL_4))}]" in text
