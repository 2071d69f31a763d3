"""Signs what agents are shown inside a tunnel that is ours to read: a certificate for one host.

Keys are made here and go to Envoy's memory, and nowhere else. The authority's own key never leaves
this process.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from anchorhold import names
from anchorhold.api.egress import INTERCEPT, EgressRule

# Clocks differ, and Envoy is given a new one long before this one ends.
EARLIER, LIFETIME = timedelta(hours=1), timedelta(days=7)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """Whom agents trust in their tunnels: its certificate, with what vouches for it, and key."""

    chain: bytes
    key: SigningKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its chain, and its key, in PEM."""

    chain: bytes
    key: bytes = field(repr=False)


def authority(folder: Path) -> Authority:
    """The authority as the kubelet mounts it now. Raises OSError, TypeError and ValueError."""
    chain = (folder / names.AUTHORITY_CERTIFICATE).read_bytes()
    key = serialization.load_pem_private_key((folder / names.AUTHORITY_KEY).read_bytes(), None)
    if not isinstance(key, SigningKey):
        raise TypeError(f"the key in '{folder}' must be an RSA or an elliptic curve's key")
    return Authority(chain, key)


def signed(host: str, by: Authority, now: datetime) -> Leaf:
    """A certificate for this host alone. Raises ValueError if the authority's is none."""
    issuer = x509.load_pem_x509_certificate(by.chain)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + LIFETIME)
        # Without a subject, the names are what counts, and say so.
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
    )
    for identifier in identifiers(issuer):
        unsigned = unsigned.add_extension(identifier, critical=False)
    leaf = unsigned.sign(by.key, hashes.SHA256())
    return Leaf(leaf.public_bytes(serialization.Encoding.PEM) + by.chain, in_the_open(key))


def identifiers(issuer: x509.Certificate) -> list[x509.AuthorityKeyIdentifier]:
    """How the issuer names its key, if it does: a name of our own making would be another one."""
    kind = x509.SubjectKeyIdentifier
    named = (e.value for e in issuer.extensions if isinstance(e.value, kind))
    return [x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(n) for n in named]


def in_the_open(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as Envoy reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def minter(
    rules: Callable[[], Iterable[EgressRule]], folder: Path, clock: Callable[[], datetime]
) -> Callable[[str], Leaf | None]:
    """Signs for the hosts that a rule of a policy is to be read for, and for nobody else.

    There are as many of those as admins wrote, whatever agents ask for.
    """

    def mint(host: str) -> Leaf | None:
        if not any(rule.mode == INTERCEPT and rule.host == host for rule in rules()):
            return None
        return signed(host, authority(folder), clock())

    return mint
