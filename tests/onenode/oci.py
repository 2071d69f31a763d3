"""Making an image of one layer, without any builder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

_TYPE = "application/vnd.oci.image"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return this machine's architecture as images call it."""
    return _MACHINES.get(platform.machine(), platform.machine())


def program_layer(program: Path) -> bytes:
    """Return a layer whose only file is the program; equal input, equal bytes."""
    return _tar({program.name: program.read_bytes()}, mode=0o755)


def archive(layer: bytes, config: dict[str, Any], target: Path) -> None:
    """Write an OCI archive of one layer, in one step."""
    packed = gzip.compress(layer, compresslevel=6, mtime=0)
    image = _json({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    })  # fmt: skip
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": f"{_TYPE}.manifest.v1+json",
        "config": _descriptor(f"{_TYPE}.config.v1+json", image),
        "layers": [_descriptor(f"{_TYPE}.layer.v1.tar+gzip", packed)],
    })  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [_descriptor(f"{_TYPE}.manifest.v1+json", manifest)]}
    blobs = {f"blobs/sha256/{_digest(b)[7:]}": b for b in (packed, image, manifest)}
    layout = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    half = target.with_suffix(".half")
    half.write_bytes(_tar({**layout, **blobs}))
    half.replace(target)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
