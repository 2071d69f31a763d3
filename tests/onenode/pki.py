"""A certificate authority for one node, a certificate and a kubeconfig for each component."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from onenode import settings
from onenode.shell import run

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = "30"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate is for."""

    name: str
    subject: str
    names: str = "DNS:localhost"


_API_NAMES = (
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,"
    f"IP:{settings.FIRST_SERVICE},IP:{settings.NODE_ADDRESS}"
)
_NODE_NAMES = f"DNS:{settings.NODE_NAME},IP:{settings.NODE_ADDRESS}"
_WORLD_NAMES = ",".join(f"DNS:{name}" for name in (*settings.WORLD_NAMES, "*.places.test"))

IDENTITIES = (
    Identity("world", "/CN=world", _WORLD_NAMES),
    Identity("apiserver", "/CN=kube-apiserver", _API_NAMES),
    Identity("kubelet", f"/O=system:nodes/CN=system:node:{settings.NODE_NAME}", _NODE_NAMES),
    Identity("admin", "/O=system:masters/CN=admin"),
    Identity("kube-controller-manager", "/CN=system:kube-controller-manager"),
    Identity("kube-scheduler", "/CN=system:kube-scheduler"),
    Identity("kube-proxy", "/CN=system:kube-proxy"),
    Identity("kube-router", "/O=system:masters/CN=kube-router"),
)


def create(folder: Path) -> None:
    """Write keys, certificates and kubeconfigs into an empty folder that only root may enter."""
    folder.mkdir(parents=True, mode=0o700)
    run("openssl", "req", "-x509", *_EC, "-keyout", "ca.key", "-out", "ca.crt",
        "-subj", "/CN=anchorhold-onenode", "-days", _DAYS, cwd=folder)  # fmt: skip
    run("openssl", "genrsa", "-out", "sa.key", "2048", cwd=folder)
    run("openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub", cwd=folder)
    for identity in IDENTITIES:
        _issue(folder, identity)
        text = json.dumps(kubeconfig(folder, identity.name), indent=1)
        (folder / f"{identity.name}.kubeconfig").write_text(text)


def authority(folder: Path) -> None:
    """Write an authority of its own into an empty folder, as a TLS Secret has it."""
    folder.mkdir(parents=True, mode=0o700)
    run("openssl", "req", "-x509", *_EC, "-keyout", "tls.key", "-out", "tls.crt",
        "-subj", "/CN=anchorhold-intercept", "-days", _DAYS, cwd=folder)  # fmt: skip


def _issue(folder: Path, identity: Identity) -> None:
    name = identity.name
    run("openssl", "req", *_EC, "-keyout", f"{name}.key", "-out", f"{name}.csr",
        "-subj", identity.subject, cwd=folder)  # fmt: skip
    extensions = f"subjectAltName={identity.names}\nextendedKeyUsage=clientAuth,serverAuth\n"
    (folder / f"{name}.ext").write_text(extensions)
    run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-out", f"{name}.crt", "-days", _DAYS, "-extfile", f"{name}.ext",
        cwd=folder)  # fmt: skip


def kubeconfig(folder: Path, name: str) -> dict[str, object]:
    """Return a kubeconfig that is complete in itself."""
    authority = _encoded(folder / "ca.crt")
    user = {
        "client-certificate-data": _encoded(folder / f"{name}.crt"),
        "client-key-data": _encoded(folder / f"{name}.key"),
    }
    cluster = {"server": settings.API_SERVER, "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "onenode", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "onenode", "context": {"cluster": "onenode", "user": name}}],
        "current-context": "onenode",
    }


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
