"""Volumes that an administrator has filled."""

from bed.kube import Document


def volume(name: str, namespace: str, path: str) -> Document:
    """A PersistentVolume that is a folder of the node, for the claim 'tree' of a namespace."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": "tree"},
            "hostPath": {"path": path, "type": "Directory"},
        },
    }


def claim_on(name: str, namespace: str) -> Document:
    """The claim on it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "tree", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
