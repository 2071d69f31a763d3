"""Certificates for what agents see in tunnels that are read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtensionOID

from anchorhold.api.egress import EgressRule
from anchorhold.gateway import leaves
from factories import RULE
from onenode import pki

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READ = EgressRule.parse({**RULE, "mode": "Intercept"})
HOST = READ.host


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority as the kubelet mounts it."""
    made = tmp_path_factory.mktemp("authority") / "pki"
    pki.authority(made)
    return made


def test_a_certificate_is_for_one_host_for_a_week_and_signs_nothing(folder: Path):
    by = leaves.authority(folder)

    leaf = leaves.signed(HOST, by, NOW)

    first, second = x509.load_pem_x509_certificates(leaf.chain)
    first.verify_directly_issued_by(second)
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    constraints = first.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    assert first.not_valid_before_utc == NOW - timedelta(hours=1)
    assert first.not_valid_after_utc == NOW + timedelta(days=7)
    key = serialization.load_pem_private_key(leaf.key, None)
    assert key.public_key() == first.public_key()
    assert "PRIVATE" not in repr(leaf) + repr(by)


def identified(key_identifier: bytes | None, folder: Path, to: Path) -> Path:
    """The same authority under a certificate that gives its key this identifier, or none."""
    by = leaves.authority(folder)
    name = x509.load_pem_x509_certificate(by.chain).subject
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(by.key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if key_identifier is not None:
        made = made.add_extension(x509.SubjectKeyIdentifier(key_identifier), critical=False)
    signed = made.sign(by.key, hashes.SHA256())
    (to / "tls.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (to / "tls.key").write_bytes((folder / "tls.key").read_bytes())
    return to


@pytest.mark.parametrize("identifier", [b"x" * 20, None])
def test_a_certificate_names_its_issuer_s_key_as_the_issuer_does(
    folder: Path, tmp_path: Path, identifier: bytes | None
):
    """Go's identifiers are of SHA-256 since 1.25: whoever derives them by SHA-1 finds no issuer."""
    by = leaves.authority(identified(identifier, folder, tmp_path))

    leaf, _ = x509.load_pem_x509_certificates(leaves.signed(HOST, by, NOW).chain)

    found = [e.value for e in leaf.extensions if e.oid == ExtensionOID.AUTHORITY_KEY_IDENTIFIER]
    assert [value.key_identifier for value in found] == ([identifier] if identifier else [])


def test_two_certificates_share_no_key(folder: Path):
    by = leaves.authority(folder)

    assert leaves.signed(HOST, by, NOW).key != leaves.signed(HOST, by, NOW).key


@pytest.mark.parametrize(
    ("rules", "host", "made"),
    [
        ([READ], HOST, True),
        ([EgressRule.parse(RULE)], HOST, False),
        ([EgressRule.parse({"name": "c", "host": HOST, "mode": "Connect"})], HOST, False),
        ([READ], f"x.{HOST}", False),
        ([], HOST, False),
    ],
)
def test_nobody_is_vouched_for_but_the_hosts_of_rules(
    folder: Path, rules: list[EgressRule], host: str, *, made: bool
):
    mint = leaves.minter(lambda: rules, folder, lambda: NOW)

    assert (mint(host) is not None) == made


def test_an_authority_with_a_key_of_another_kind_is_none(folder: Path, tmp_path: Path):
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "tls.crt").write_bytes((folder / "tls.crt").read_bytes())

    with pytest.raises(TypeError, match="must be an RSA or an elliptic curve's key"):
        leaves.authority(tmp_path)
