"""The node's registries: are they there, and putting images into it."""

from __future__ import annotations

import http.client
import json
import tempfile
from pathlib import Path

from onenode import oci, paths, settings, shell, storage
from onenode.faults import Fault


def answer() -> bool:
    """Say whether both registries serve, each as it should."""
    wanted = {
        settings.REGISTRY: http.HTTPStatus.OK,
        settings.PRIVATE_REGISTRY: http.HTTPStatus.UNAUTHORIZED,
    }
    return all(_status(address) == status for address, status in wanted.items())


def _status(address: str) -> int | None:
    host, _, port = address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def push(name: str, archive: Path, tag: str = "latest", *, private: bool = False) -> str:
    """Push an OCI archive; return the reference by digest."""
    if not archive.is_file():
        raise Fault(f"There is no archive {archive}.")
    if not answer():
        raise Fault("The node's registries do not answer; run `python3 -m onenode up` first.")
    target = f"{settings.PRIVATE_REGISTRY if private else settings.REGISTRY}/{name}"
    login = ("--dest-creds", f"{settings.PULLER}:{settings.PULLER_PASSWORD}") if private else ()
    with tempfile.TemporaryDirectory() as folder:
        digest = Path(folder) / "digest"
        copy = storage.skopeo("--policy", str(_policy()), "copy", "--quiet")
        shell.run(*copy, *login, "--dest-tls-verify=false", "--digestfile", digest,
                  f"oci-archive:{archive}", f"docker://{target}:{tag}")  # fmt: skip
        return f"{target}@{digest.read_text().strip()}"


def push_program(program: Path, tag: str) -> str:
    """Push an image of one static program."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        config = {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"}
        oci.archive(oci.program_layer(program), config, archive)
        return push(program.name, archive, tag)


def signatures() -> tuple[str, str]:
    """Return buildah's option to trust the images that we made."""
    return ("--signature-policy", str(_policy()))


def _policy() -> Path:
    # The machine's own may be missing, or trust only what is signed.
    path = paths.cache() / "policy.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    return path
