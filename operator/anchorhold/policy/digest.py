"""One way to put a digest on a value: SHA-256 over canonical JSON (RFC 8259, keys sorted)."""

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


def of_config_map(document: Mapping[str, Any]) -> str:
    """The digest of what a ConfigMap holds: its data, not its metadata."""
    return of_value([document.get("data") or {}, document.get("binaryData") or {}])
