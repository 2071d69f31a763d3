"""Names and addresses of the node; all of them exist on this machine only."""

from __future__ import annotations

NODE_NAME = "node1"
NODE_NETWORK = "anchorhold-node"
WORLD_NETWORK = "anchorhold-world"
HOST_LINK = "anchorhold0"
CGROUP = "anchorhold-onenode"
BRIDGE = "cni0"

HOST_ADDRESS = "172.31.255.1"
NODE_ADDRESS = "172.31.255.2"
REGISTRY = f"{NODE_ADDRESS}:5000"
# This one asks for a password, and the hash (bcrypt) is of that password.
PRIVATE_REGISTRY = f"{NODE_ADDRESS}:5001"
PULLER, PULLER_PASSWORD = "puller", "not-a-secret"  # nothing outside can reach it
HTPASSWD = f"{PULLER}:$2b$05$anchorholdonenodeteste4xv5YwIBQWajLwpqhkYjMV/38MNJzcC"
API_SERVER = f"https://{NODE_ADDRESS}:6443"

PODS = "10.244.0.0/16"
PODS_OF_NODE = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"

# Documentation ranges and the cloud metadata address: what an unfenced Pod finds outside.
WORLD_GATEWAY = "203.0.113.1"
WORLD_SERVERS = (("203.0.113.10", 8080), ("169.254.169.254", 80), ("198.51.100.20", 443))
