"""The components' configuration files, as whole literals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onenode import settings
from onenode.paths import CONTAINERD_SOCKET, RUN, Places

PAUSE = f"{settings.REGISTRY}/pause:3"


def kubelet(places: Places) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(places.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(places.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(places.pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.CGROUP}",
        # Hosts with control groups of the first version are refused unless this is said.
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [settings.DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "podPidsLimit": 256,
        "seccompDefault": True,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        # A developer's full disk must not evict Pods or remove images in the middle of a test.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        # How soon a Pod that writes more than it may is noticed.
        "volumeStatsAggPeriod": "10s",
    }


def kube_proxy(places: Places) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": settings.PODS,
        "hostnameOverride": settings.NODE_NAME,
        "clientConnection": {"kubeconfig": str(places.pki / "kube-proxy.kubeconfig")},
        # These limits are the machine's, not the namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def cni(_: Places) -> dict[str, Any]:
    """Return the Pods' network."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": settings.PODS_OF_NODE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": settings.BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ipam,
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def registry(places: Places) -> dict[str, Any]:
    """Return the registry's configuration."""
    return {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(places.data / "registry")}},
        "http": {"addr": settings.REGISTRY},
    }


def private_registry(places: Places) -> dict[str, Any]:
    """Return the configuration of the registry that asks for a password."""
    return {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(places.data / "private-registry")}},
        "http": {"addr": settings.PRIVATE_REGISTRY},
        "auth": {"htpasswd": {"realm": "onenode", "path": f"{places.etc}/htpasswd"}},
    }


def containerd(places: Places, programs: Mapping[str, Path]) -> str:
    """Return containerd's configuration: runc for all Pods but those of gVisor's RuntimeClass.

    `restrict_oom_score_adj`: where CAP_SYS_RESOURCE is missing nobody may lower that value, and no
    container would start. `netns_mounts_under_state_dir`: so that a Pod's network namespace is
    ours by its path. `ignore_image_defined_volumes`: because no limit holds in them. NRI is off
    because its socket would be on the machine.
    """
    return f"""\
version = 3
root = "{places.data}/containerd"
state = "{RUN}/containerd"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  ignore_image_defined_volumes = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{programs["runc"]}"
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
    runtime_type = "io.containerd.runsc.v1"
    runtime_path = "{programs["containerd-shim-runsc-v1"]}"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc.options]
      TypeUrl = "io.containerd.runsc.v1.options"
      ConfigPath = "{places.etc}/runsc.toml"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{places.etc}/cni"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{places.etc}/registries"
"""


def runsc(programs: Mapping[str, Path]) -> str:
    """Return gVisor's configuration.

    `systrap` needs no virtualization. A Pod's seccomp profile is ignored, as is the default: with
    `oci-seccomp` every denied call is answered EPERM, and where the profile answers ENOSYS for
    clone3, so that a C library tries clone, no thread starts any more.
    """
    return f"""\
binary_name = "{programs["runsc"]}"

[runsc_config]
platform = "systrap"
"""


REGISTRY_HOST = """\
server = "http://{0}"

[host."http://{0}"]
  capabilities = ["pull", "resolve"]
"""

_JSON = {
    "kubelet.json": kubelet,
    "kube-proxy.json": kube_proxy,
    "cni/10-pods.conflist": cni,
    "registry.json": registry,
    "private-registry.json": private_registry,
}


def write(places: Places, programs: Mapping[str, Path]) -> None:
    """Write every file."""
    for name, content in _JSON.items():
        _write(places.etc / name, json.dumps(content(places), indent=1))
    _write(places.etc / "containerd.toml", containerd(places, programs))
    _write(places.etc / "runsc.toml", runsc(programs))
    _write(places.etc / "htpasswd", f"{settings.HTPASSWD}\n")
    for host in (settings.REGISTRY, settings.PRIVATE_REGISTRY):
        _write(places.etc / "registries" / host / "hosts.toml", REGISTRY_HOST.format(host))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
