"""The NetworkPolicy of a run with egress: it adds one opening to the wall of the namespace."""

from anchorhold.cell import metadata
from anchorhold.policy import window
from anchorhold.policy.grant import Grant


def network_policy(grant: Grant) -> metadata.Manifest:
    """Towards the run's own gateway, and nothing else."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.child(grant.request),
        "spec": window.opening(grant.request.uid, grant.gateway),
    }
