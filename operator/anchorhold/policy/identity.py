"""What a run shows at the gateway: its uid, and a code over it that only we can make.

It is derived, so nothing stores it, and whoever repeats it gets the same. Alone it is worth
nothing: the gateway takes it from the address of that run's own Pod, for as long as that lives.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "ah1"
# Bounds what is hashed for somebody who may be anybody.
MAX_TOKEN = 160


def token(key: bytes, uid: str) -> str:
    """The token of the run with this uid."""
    code = hmac.digest(key, f"{PREFIX}.{uid}".encode(), hashlib.sha256)
    return f"{PREFIX}.{uid}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}"


def owner(shown: str, keys: Sequence[bytes]) -> str | None:
    """The uid of the run whose token this is, under any of the keys; None if it is nobody's."""
    prefix, _, rest = shown.partition(".")
    uid, _, code = rest.partition(".")
    if len(shown) > MAX_TOKEN or prefix != PREFIX or not (uid and code) or not shown.isascii():
        return None
    genuine = [hmac.compare_digest(token(key, uid), shown) for key in keys]
    return uid if any(genuine) else None
