"""The one hole in a run's wall: from its own Pod to its own gateway's Pod, one port.

NetworkPolicies add up, so this is all that the network lets pass. Who makes it and who looks for
holes in the wall build it here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anchorhold import names


@dataclass(frozen=True, slots=True)
class Window:
    """How a cell reaches its gateway: 'address:port', and what it shows there. Empty: it doesn't.

    The token is no part of the Grant, so that no record of a Grant ever holds one.
    """

    address: str = ""
    token: str = field(default="", repr=False)


CLOSED = Window()


def gateway_of(uid: str, gateways: int) -> str:
    """Which gateway a run has: the same one all its life, evenly spread."""
    ordinal = int(hashlib.sha256(uid.encode()).hexdigest(), 16) % gateways
    return f"{names.GATEWAY}-{ordinal}"


def opening(uid: str, gateway: str) -> dict[str, Any]:
    """The spec of the NetworkPolicy that opens it, as the API server stores it."""
    labels = {names.COMPONENT_LABEL: names.GATEWAY, names.POD_NAME_LABEL: gateway}
    peer = {
        "namespaceSelector": {"matchLabels": {names.NAMESPACE_LABEL: names.GATEWAY_NAMESPACE}},
        "podSelector": {"matchLabels": labels},
    }
    port = {"protocol": "TCP", "port": names.GATEWAY_PORT}
    return {
        "podSelector": {"matchLabels": {names.RUN_LABEL: uid}},
        "egress": [{"ports": [port], "to": [peer]}],
        "policyTypes": ["Egress"],
    }


def is_opening(spec: Mapping[str, Any]) -> bool:
    """Whether a NetworkPolicy opens exactly this, for whichever run and gateway."""
    run = spec.get("podSelector", {}).get("matchLabels") or {}
    peers = [peer for rule in spec.get("egress") or () for peer in rule.get("to") or ()]
    gateways = [peer.get("podSelector", {}).get("matchLabels") or {} for peer in peers]
    uid = run.get(names.RUN_LABEL, "")
    wanted = [opening(uid, labels.get(names.POD_NAME_LABEL, "")) for labels in gateways]
    return bool(uid) and wanted == [spec]
