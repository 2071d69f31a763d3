"""What the gateway adds to a request, and whether it may: the Secret itself must agree. Pure.

A policy says which Secret a rule uses, and the Secret says which hosts and policies it serves: so
that whoever writes a policy can't send somebody else's key to a host of their own.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchorhold import names
from anchorhold.api.egress import EgressRule

MISSING, NOT_BOUND = "credential-missing", "credential-not-bound"


@dataclass(frozen=True, slots=True)
class Keeping:
    """A Secret: whom it serves, and its values, which no log shows."""

    hosts: frozenset[str]
    policies: frozenset[str]
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """A header with a secret in it; `secret` is the bare value, which must not come back."""

    name: str
    value: str = field(repr=False)
    secret: str = field(repr=False)


def read(document: Mapping[str, Any]) -> Keeping:
    """The view of a Secret; one without our annotations serves nobody, and is not looked into."""
    annotations = document["metadata"].get("annotations") or {}
    hosts = frozenset(annotations.get(names.HOSTS_ANNOTATION, "").split())
    policies = frozenset(annotations.get(names.POLICIES_ANNOTATION, "").split())
    if not (hosts and policies):
        return Keeping(hosts, policies, {})
    found = {name: text(data) for name, data in (document.get("data") or {}).items()}
    return Keeping(hosts, policies, {name: value for name, value in found.items() if value})


def text(encoded: str) -> str:
    """A value as a header can carry it; nothing if it can't."""
    try:
        value = base64.b64decode(encoded).decode("ascii").strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return value if value.isprintable() else ""


def header(rule: EgressRule, policies: Sequence[str], kept: Keeping | None) -> Header | str:
    """The header that the rule's credential makes, or the reason why there is none."""
    wanted = rule.credential
    if wanted is None or kept is None:
        return MISSING
    if rule.host not in kept.hosts or not kept.policies.issuperset(policies):
        return NOT_BOUND
    value = kept.values.get(wanted.key, "")
    if not value:
        return MISSING
    return Header(wanted.header, wanted.format.replace("{value}", value), value)
