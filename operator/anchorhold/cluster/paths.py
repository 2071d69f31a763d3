"""Where each kind of object lives in the Kubernetes API.

Names come from objects that other people wrote, so no name becomes part of a path unchecked.
A plural takes a namespace, or nothing for all of them; a singular takes a namespace and a name.
"""

import re
from functools import partial

from anchorhold import names

CORE = "/api/v1"
OURS = f"/apis/{names.API_VERSION}"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NETWORKING = "/apis/networking.k8s.io/v1"

# What Kubernetes calls a DNS subdomain: it holds no slash, no question mark and no "..".
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST_NAME = 253


def _many(api: str, plural: str, namespace: str | None = None) -> str:
    inside = "" if namespace is None else f"/namespaces/{_checked(namespace)}"
    return f"{api}{inside}/{plural}"


def _one(api: str, plural: str, namespace: str, name: str) -> str:
    return f"{_many(api, plural, namespace)}/{_checked(name)}"


def _checked(name: str) -> str:
    """Return the name; raises ValueError when it could not be the name of an object."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ValueError(f"{name[:_LONGEST_NAME]!r} must be a DNS subdomain in lower case.")
    return name


namespaces = partial(_many, CORE, "namespaces", None)
pods, pod = partial(_many, CORE, "pods"), partial(_one, CORE, "pods")
config_maps, config_map = partial(_many, CORE, "configmaps"), partial(_one, CORE, "configmaps")
secrets = partial(_many, CORE, "secrets")
services, service = partial(_many, CORE, "services"), partial(_one, CORE, "services")
events = partial(_many, CORE, "events")
network_policies = partial(_many, NETWORKING, "networkpolicies")
network_policy = partial(_one, NETWORKING, "networkpolicies")
admission_policies = partial(_many, ADMISSION, "validatingadmissionpolicies", None)
policy_bindings = partial(_many, ADMISSION, "validatingadmissionpolicybindings", None)
agent_runs, agent_run = partial(_many, OURS, "agentruns"), partial(_one, OURS, "agentruns")
agent_policies = partial(_many, OURS, "agentpolicies")
agent_policy = partial(_one, OURS, "agentpolicies")
agent_skills, agent_skill = partial(_many, OURS, "agentskills"), partial(_one, OURS, "agentskills")


def agent_run_status(namespace: str, name: str) -> str:
    """The status of one AgentRun: the only part of a run that we write."""
    return f"{agent_run(namespace, name)}/status"


def resource(path: str) -> str:
    """What a path is about, as metrics name it: `pods`, `agentruns/status`, `namespaces`.

    It never holds the name of an object, so that the number of metrics is bounded.
    """
    parts = path.split("/")[3 if path.startswith("/api/") else 4 :]
    if parts[0] == "namespaces" and parts[2:]:
        parts = parts[2:]
    return "/".join(parts[::2])
