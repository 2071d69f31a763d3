"""One way to put a digest on a value: SHA-256 over canonical JSON (RFC 8259, keys sorted)."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def of_text(text: str) -> str:
    """The digest of a text's UTF-8 bytes, in OCI notation. A lone surrogate is replaced."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def of_value(value: object) -> str:
    """The digest of a JSON value: equal values have equal digests, whatever their key order."""
    return of_text(canonical(value))


def canonical(value: object) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def of_files(files: Mapping[str, bytes]) -> str:
    """The digest of a folder's content: of its paths and of the bytes of each file.

    The netgate, which shares no code with this, computes the same from what it finds mounted.
    """
    return of_value({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})


def of_texts(files: Mapping[str, str]) -> str:
    """The same of a folder of texts."""
    return of_files({path: text.encode("utf-8", "replace") for path, text in files.items()})


def of_config_map(document: Mapping[str, Any]) -> str:
    """The digest of what a ConfigMap holds, as the folder that it is mounted as."""
    text: Mapping[str, str] = document.get("data") or {}
    binary: Mapping[str, str] = document.get("binaryData") or {}
    return of_files(
        {name: value.encode("utf-8", "replace") for name, value in text.items()}
        | {name: base64.b64decode(value) for name, value in binary.items()}
    )
