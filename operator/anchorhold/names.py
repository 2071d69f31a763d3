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

# Labels and annotations, on cells and what belongs to them.
RUN_LABEL = f"{GROUP}/run"
GRANT_ANNOTATION = f"{GROUP}/grant"
EFFECTIVE_ANNOTATION = f"{GROUP}/effective"
REQUESTED_BY_ANNOTATION = f"{GROUP}/requested-by"
TENANT_LABEL = f"{GROUP}/tenant"
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

# Inside a cell.
TASK_DIRECTORY = "/run/anchorhold"
TASK_KEY = "task"
INPUTS_DIRECTORY = "/inputs"
WORKSPACE_DIRECTORY = "/workspace"
RESULT_PATH = "/dev/termination-log"
RESULT_VARIABLE = "ANCHORHOLD_RESULT"

# A DNS label has 63 characters; a dash and eight characters of the uid follow the run's name.
MAX_RUN_NAME = 52
UID_CHARACTERS = 8


def child_name(run_name: str, run_uid: str) -> str:
    """The name of everything that a run owns: unique to the run's uid, and a DNS label.

    The uid is part of it, so that a new run never adopts what an old one of its name left.
    """
    return f"{run_name[:MAX_RUN_NAME]}-{run_uid[:UID_CHARACTERS]}"
