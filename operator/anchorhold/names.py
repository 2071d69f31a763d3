"""Every string that Anchorhold writes into a cluster, or looks for in one.

An auditor who wants to know what the operator can touch starts here.
"""

GROUP = "anchorhold.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SYSTEM_NAMESPACE = "anchorhold-system"
POLICY_NAMESPACE = "anchorhold-policies"
CONTROLLER = "anchorhold-controller"
CANARY = "anchorhold-canary"
GATEWAY_NAMESPACE = "anchorhold-gateway"
GATEWAY_ACCOUNT = "anchorhold-gateway"
# The StatefulSet; each of its Pods has a Service of the Pod's own name.
GATEWAY = "gateway"
GATEWAY_PORT = 8080
COMPONENT_LABEL = f"{GROUP}/component"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
SENTINEL_NAMESPACE = "anchorhold-sentinel"
SENTINEL = "anchorhold-sentinel"

# What the sentinels are found by, and the containers of each.
SENTINEL_LABEL = f"{GROUP}/component=sentinel"
SENTINEL_CONTAINER = "sentinel"
SURVEY_CONTAINER = "survey"

# Labels and annotations, on cells and what belongs to them.
RUN_LABEL = f"{GROUP}/run"
GRANT_ANNOTATION = f"{GROUP}/grant"
EFFECTIVE_ANNOTATION = f"{GROUP}/effective"
RULES_ANNOTATION = f"{GROUP}/rules"
REQUESTED_BY_ANNOTATION = f"{GROUP}/requested-by"
REVIEWED_BY_ANNOTATION = f"{GROUP}/reviewed-by"
TENANT_LABEL = f"{GROUP}/tenant"
# Kubernetes sets it on every namespace, and nobody can change it.
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "anchorhold"

# The ServiceAccount of every cell: it has no rights and no token.
CELL_SERVICE_ACCOUNT = "anchorhold-run"
AGENT_CONTAINER = "agent"
NETGATE_CONTAINER = "netgate"

# The NetworkPolicy that closes a run namespace both ways, from onboarding on.
DEFAULT_DENY = "anchorhold-default-deny"

# The admission policies that make the fence of a run namespace. Those in LIMITS take the
# AgentPolicy as their parameter, those in FLOOR hold whatever the policy says.
LIMITS_POLICIES = ("anchorhold-run-limits", "anchorhold-pod-limits")
FLOOR_POLICIES = (
    "anchorhold-pod-floor",
    "anchorhold-run-integrity",
    "anchorhold-network-floor",
    "anchorhold-no-interactive",
)

# On a Secret in `anchorhold-gateway`: what it may serve, as words. Without both it serves nothing.
HOSTS_ANNOTATION = f"{GROUP}/hosts"
POLICIES_ANNOTATION = f"{GROUP}/policies"

# The key that signs the runs' tokens, where the controller and the gateway have it mounted: two
# files, the second only while a key is being replaced. Both are a Secret of this name.
SIGNING_KEY = "anchorhold-signing-key"
KEYS_DIRECTORY = "/run/anchorhold/keys"
CURRENT_KEY, PREVIOUS_KEY = "current", "previous"

# The authority that signs what agents see in tunnels of the mode Intercept: a Secret of this name
# for the gateway, and a ConfigMap with its certificate alone for the controller.
AUTHORITY = "anchorhold-intercept"
AUTHORITY_DIRECTORY = "/run/anchorhold/authority"
AUTHORITY_CERTIFICATE, AUTHORITY_KEY = "tls.crt", "tls.key"

# Inside a cell.
TASK_DIRECTORY = "/run/anchorhold"
TASK_KEY = "task"
# Beside the task, where a rule is to be read: what the agent's programs are told to trust.
CELL_AUTHORITY = "gateway-ca.crt"
INPUTS_DIRECTORY = "/inputs"
SKILLS_DIRECTORY = "/skills"
SKILLS_INDEX = "INDEX.md"
WORKSPACE_DIRECTORY = "/workspace"
RESULT_PATH = "/dev/termination-log"
RESULT_VARIABLE = "ANCHORHOLD_RESULT"
GATEWAY_VARIABLE = "ANCHORHOLD_GATEWAY"
TOKEN_VARIABLE = "ANCHORHOLD_TOKEN"  # noqa: S105  # a name

# A DNS label has 63 characters; a dash and eight characters of the uid follow the run's name.
MAX_RUN_NAME = 52
UID_CHARACTERS = 8


def child_name(run_name: str, run_uid: str) -> str:
    """The name of everything that a run owns: unique to the run's uid, and a DNS label.

    The uid is part of it, so that a new run never adopts what an old one of its name left.
    """
    return f"{run_name[:MAX_RUN_NAME]}-{run_uid[:UID_CHARACTERS]}"
