"""Two tenants: neither sees, reaches or starves the other, and each can be taken away whole."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import Agents, Controller, cell_of, condition
from anchorhold import names
from bed.installation import CLUSTER, POLICIES, SYSTEM, Installation
from bed.kube import Document, Kubectl, RefusedError, wait_for
from damage import bindings_of
from onenode import settings
from tenants import Tenants, wide_policy
from unfenced import LISTEN, PORT, REACH, Unfenced, unfenced

ADA, BOB, LEAVING = "team-ada", "team-bob", "team-leaving"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def onboarded(tenants: Tenants, image: str) -> dict[str, Agents]:
    """Two tenants."""
    for name in (ADA, BOB):
        tenants.policy(wide_policy(name, image))
    return {name: tenants.onboard(name, name) for name in (ADA, BOB)}


@pytest.fixture
def both(onboarded: dict[str, Agents]) -> Iterator[tuple[Agents, Agents]]:
    """The two; what a test submitted there is removed after it."""
    yield onboarded[ADA], onboarded[BOB]
    for agents in onboarded.values():
        agents.remove_all()
        agents.submitted.clear()


@pytest.fixture
def outside(kubectl: Kubectl, image: str) -> Iterator[Unfenced]:
    """A namespace without any fence."""
    with unfenced(kubectl, image) as found:
        yield found


# ---- what a tenant sees ----------------------------------------------------------------------

RUNS, CORE = f"/apis/{names.API_VERSION}/namespaces/{{0}}/agentruns", "/api/v1/namespaces/{0}"
SEEN = {
    "list runs": RUNS,
    "watch runs": RUNS + "?watch=1&timeoutSeconds=1",
    "get a run": RUNS + "/{1}",
    "list Pods": CORE + "/pods",
    "watch Pods": CORE + "/pods?watch=1&timeoutSeconds=1",
    "get a Pod": CORE + "/pods/{2}",
    "read a log": CORE + "/pods/{2}/log",
    "list ConfigMaps": CORE + "/configmaps",
    "get the task": CORE + "/configmaps/{2}",
    "list Events": CORE + "/events",
    "get the policy": f"/apis/{names.API_VERSION}/namespaces/{POLICIES}/agentpolicies/{{0}}",
}
# What nobody but an administrator sees, of any tenant.
UNSEEN = {
    "list all runs": f"/apis/{names.API_VERSION}/agentruns",
    "list all Pods": "/api/v1/pods",
    "list policies": f"/apis/{names.API_VERSION}/namespaces/{POLICIES}/agentpolicies",
    "list Secrets": CORE + "/secrets",
    "list Services": CORE + "/services",
    "list namespaces": "/api/v1/namespaces",
}


def test_a_tenant_sees_its_own_and_nothing_of_another(both: tuple[Agents, Agents]):
    """Runs, Pods, logs, tasks, Events and policies: the same requests, by either author."""
    ada, bob = both
    name = ada.completes()["metadata"]["name"]
    pod = ada.pods(name)[0]["metadata"]["name"]
    paths = {what: path.format(ADA, name, pod) for what, path in SEEN.items()}

    def allowed(who: Kubectl, asked: dict[str, str]) -> list[str]:
        return [what for what, path in asked.items() if not denied(who, path)]

    assert allowed(ada.author, paths) == list(SEEN), "the control: they are there to be seen"
    assert allowed(bob.author, paths) == []
    unseen = {what: path.format(ADA) for what, path in UNSEEN.items()}
    assert allowed(ada.admin, unseen) == list(UNSEEN)
    assert allowed(ada.author, unseen) == allowed(bob.author, unseen) == []


def denied(who: Kubectl, path: str) -> bool:
    """Whether a request is forbidden; it fails for no other reason."""
    done = who.run("get", "--raw", path)
    assert done.returncode == 0 or "forbidden" in done.stderr, done.stderr
    return done.returncode != 0


def test_a_tenant_changes_nothing_of_another(both: tuple[Agents, Agents]):
    """Submit, cancel, delete: what ada may do with her run, bob may not."""
    ada, bob = both
    name = ada.running()
    cancel = (
        "patch",
        "agentrun",
        name,
        "-n",
        ADA,
        "--type=merge",
        "-p",
        '{"spec":{"cancel":true}}',
    )

    with pytest.raises(RefusedError, match="forbidden"):
        bob.author.create(ada.document(""))
    with pytest.raises(RefusedError, match="forbidden"):
        bob.author(*cancel)
    with pytest.raises(RefusedError, match="forbidden"):
        bob.author("delete", "agentrun", name, "-n", ADA)

    assert condition(ada.get(name))["reason"] == "Running"
    ada.author(*cancel)
    assert condition(ada.end(name))["reason"] == "Cancelled"
    ada.author("delete", "agentrun", name, "-n", ADA)


def test_no_cell_reaches_another(both: tuple[Agents, Agents], outside: Unfenced):
    """Neither of its own tenant nor of another, nor anybody else; an unfenced Pod is reached."""
    ada, bob = both
    cell = ada.running(LISTEN)
    address = ada.pods(cell)[0]["status"]["podIP"]
    targets = {
        "the cell": (address, PORT),
        "an unfenced Pod": outside.listener(),
        "the world": settings.WORLD_SERVERS[0],
        "the API server": (settings.FIRST_SERVICE, 443),
        "the kubelet": (settings.NODE_ADDRESS, 10250),
    }
    env = [{"name": "TARGETS", "value": json.dumps(targets)}]

    seekers = [(agents, agents.submit(REACH, env=env)) for agents in (ada, bob)]
    found = [
        json.loads(agents.end(name)["status"]["result"]["message"]) for agents, name in seekers
    ]
    _, unfenced_found = outside.reaches(targets)

    assert condition(ada.get(cell))["reason"] == "Running", "the cell still listened"
    assert found == [dict.fromkeys(targets, False)] * 2
    assert unfenced_found == {**dict.fromkeys(targets, True), "the cell": False}


# ---- what a tenant may fill ------------------------------------------------------------------


def secret(namespace: str, name: str = "password") -> Document:
    """A Secret."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}}


def service(namespace: str) -> Document:
    """A Service."""
    metadata = {"name": "way-in", "namespace": namespace}
    spec = {"ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def test_a_run_namespace_holds_no_secret_and_no_service(
    both: tuple[Agents, Agents], outside: Unfenced
):
    """Refused by the quota even to an administrator, who may have them elsewhere."""
    admin = both[0].admin
    for make in (secret, service):
        with pytest.raises(RefusedError, match="exceeded quota: anchorhold"):
            admin.create(make(ADA))
        admin.create(make("throw-away"))


def test_the_quota_counts_runs_and_config_maps(tenants: Tenants, image: str):
    """One tenant cannot fill etcd: beyond its quota nothing is stored, and it says so."""
    tenants.policy(wide_policy("team-small", image))
    small = {"quota.agentRuns": "2", "quota.configMaps": "3"}
    agents = tenants.onboard("team-small", "team-small", **small)

    for _ in range(2):
        agents.completes()
    with pytest.raises(RefusedError, match=r"exceeded quota.*count/agentruns.anchorhold.dev=1"):
        agents.submit("")

    metadata = {"name": "filler", "namespace": "team-small"}
    filler = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    with pytest.raises(RefusedError, match=r"exceeded quota.*configmaps=1"):
        # Two are the runs' tasks, and one is Kubernetes' own (kube-root-ca.crt).
        agents.author.create(filler)
    agents.remove_all()
    agents.submitted.clear()
    agents.until_admitted()
    agents.completes()


# ---- the tenant's release --------------------------------------------------------------------


def test_a_second_install_takes_another_policy_and_ends_nothing(tenants: Tenants, image: str):
    """`helm upgrade`: a new run is held by the new policy, and what the new one allows goes on."""
    first, second = wide_policy("policy-one", image), wide_policy("policy-two", image)
    second["spec"]["limits"]["memory"] = "128Mi"
    tenants.policy(first)
    tenants.policy(second)
    agents = tenants.onboard("team-moving", "policy-one")
    running = agents.running()
    assert agents.refusal(resources={"memory": "256Mi"}) is None

    tenants.onboard("team-moving", "policy-two")
    refusal = wait_for(lambda: agents.refusal(resources={"memory": "256Mi"}), 30, "it to hold")
    later = agents.completes()

    assert "(AgentPolicy 'policy-two')" in refusal
    assert [p["name"] for p in later["status"]["policies"]] == ["policy-two"]
    still = agents.get(running)
    assert condition(still)["reason"] == "Running"
    assert [p["name"] for p in still["status"]["policies"]] == ["policy-one"]
    assert not denied(agents.author, SEEN["get the policy"].format("policy-two"))
    assert denied(agents.author, SEEN["get the policy"].format("policy-one"))


ESCAPE = """
import socket, time
time.sleep(6)
while True:
    try:
        socket.create_connection(('203.0.113.10', 8080), timeout=0.3).close()
    except OSError:
        time.sleep(0.05)
"""


def visits(source: str, since: int) -> list[str]:
    """What the world wrote down of an address, from a place in its log on."""
    log = (CLUSTER / "log" / "world.log").read_text(encoding="utf-8")[since:]
    return [line for line in log.splitlines() if line.startswith(f"{source} connected")]


def world_now() -> int:
    """The place in the world's log where it ends now."""
    return len((CLUSTER / "log" / "world.log").read_text(encoding="utf-8"))


@pytest.fixture
def leaving(tenants: Tenants, image: str) -> Iterator[Agents]:
    """A tenant that is about to be uninstalled; installed again, it works as before."""
    tenants.policy(wide_policy(LEAVING, image))
    agents = tenants.onboard(LEAVING, LEAVING)
    yield agents
    tenants.onboard(LEAVING, LEAVING)
    agents.completes()
    agents.admin.delete("agentruns", "--all", LEAVING)
    agents.submitted.clear()


@pytest.mark.parametrize("down", [False, True], ids=["at once", "by a controller that was down"])
def test_an_uninstall_ends_what_runs_and_keeps_its_walls(
    tenants: Tenants, leaving: Agents, controller: Controller, *, down: bool
):
    """The agent tries to get out all the time: it never does, to its last moment."""
    # Until the NetworkPolicy holds, a Pod gets out: this one does not try before.
    running, since = leaving.running(ESCAPE), world_now()
    source = leaving.pods(running)[0]["status"]["podIP"]
    if down:
        controller.stop()

    tenants.uninstall(LEAVING)
    time.sleep(8)  # Long enough that it tries, if it still runs.
    if down:
        controller.start()
    run = wait_for(lambda: ended(leaving, running), 90, "it to end")
    leaving.until_gone(running)

    assert condition(run)["reason"] == "PolicyRevoked"
    assert visits(source, since) == []
    assert leaving.admin.get("networkpolicy", names.DEFAULT_DENY, LEAVING) is not None
    bound = bindings_of(leaving.admin, LEAVING).values()
    assert sorted(bound) == sorted(names.FLOOR_POLICIES)


@pytest.mark.parametrize("down", [False, True], ids=["", "with the controller at zero replicas"])
def test_after_an_uninstall_nothing_starts(
    tenants: Tenants, leaving: Agents, controller: Controller, *, down: bool
):
    """No author submits a run, an admin's gets no cell, and the controller makes none."""
    posted = cell_of(leaving)
    operator = leaving.admin.acting_as_account(SYSTEM, names.CONTROLLER)
    operator.create(posted, "--dry-run=server")
    leaving.author.create(leaving.document(""), "--dry-run=server")
    if down:
        controller.stop()

    tenants.uninstall(LEAVING)

    with pytest.raises(RefusedError, match="forbidden"):
        leaving.author.create(leaving.document(""))
    with pytest.raises(RefusedError, match="forbidden"):
        operator.create(posted, "--dry-run=server")
    never = leaving.admin.create(leaving.document(""))["metadata"]["name"]
    controller.start()
    run = wait_for(lambda: ended(leaving, never), 120, "it to be refused")
    assert condition(run)["reason"] == "NotOnboarded"
    assert leaving.pods(never) == []


def ended(agents: Agents, name: str) -> Document | None:
    """The run, once it has ended, as an administrator sees it: the author's rights may be gone."""
    run = agents.admin.get("agentrun", name, agents.namespace)
    assert run is not None
    return run if condition(run)["status"] != "Unknown" else None


def test_the_world_would_have_seen_it(outside: Unfenced):
    """The control: an unfenced Pod's visit is in the log that the test above looks through."""
    since = world_now()

    source, found = outside.reaches({"the world": settings.WORLD_SERVERS[0]})

    assert found == {"the world": True}
    assert visits(source, since) != []


# ---- a private registry ----------------------------------------------------------------------

PRIVATE, PULL_SECRET = "team-private", "pull-the-images"


def pull_secret(namespace: str, name: str = PULL_SECRET) -> Document:
    """The Secret with which the node pulls from the registry that asks for a password."""
    login = f"{settings.PULLER}:{settings.PULLER_PASSWORD}"
    auth = {"auth": base64.b64encode(login.encode()).decode()}
    config = json.dumps({"auths": {settings.PRIVATE_REGISTRY: auth}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {".dockerconfigjson": config},
    }


@pytest.fixture(scope="module")
def private_image(bed: Installation) -> str:
    """The test agent, in the registry that asks for a password."""
    return bed.image("tests/private", Path(__file__).parent / "agent", "--private")


@pytest.fixture(scope="module")
def private(tenants: Tenants, private_image: str) -> Agents:
    """A tenant with a pull secret."""
    tenants.policy(wide_policy(PRIVATE, private_image))
    agents = tenants.onboard(PRIVATE, PRIVATE, imagePullSecret=PULL_SECRET)
    agents.image = private_image
    agents.admin.create(pull_secret(PRIVATE))
    agents.until_admitted()
    return agents


# Everything that an agent can read, and the password in it.
SEARCH = """
import json, os
words = [w.encode() for w in json.loads(os.environ['WORDS'])]
found, read = [], 0
def look(path):
    global read
    if not os.path.isfile(path): return
    try:
        with open(path, 'rb') as file: text = file.read(2**20)
    except OSError:
        return
    read += 1
    if any(word in text for word in words): found.append(path)
for top in ('/etc', '/run', '/var', '/dev', '/workspace', '/tmp', '/home', '/root', '/inputs'):
    for folder, _, files in os.walk(top):
        for name in files: look(os.path.join(folder, name))
result = {'found': found, 'read': read > 10, 'token': os.path.exists('/var/run/secrets')}
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(result))
"""


def test_a_private_image_is_pulled_with_the_tenants_secret_and_only_the_kubelet_reads_it(
    private: Agents,
):
    """The run completes; author, agent and controller get nowhere near the password."""
    login = f"{settings.PULLER}:{settings.PULLER_PASSWORD}"
    words = [settings.PULLER_PASSWORD, base64.b64encode(login.encode()).decode()]

    run = private.end(private.submit(SEARCH, env=[{"name": "WORDS", "value": json.dumps(words)}]))

    assert condition(run)["reason"] == "Completed", run["status"]
    seen = json.loads(run["status"]["result"]["message"])
    assert seen == {"found": [], "read": True, "token": False}
    path = CORE.format(PRIVATE) + f"/secrets/{PULL_SECRET}"
    operator = private.admin.acting_as_account(SYSTEM, names.CONTROLLER)
    cell = private.admin.acting_as_account(PRIVATE, names.CELL_SERVICE_ACCOUNT)
    assert [denied(who, path) for who in (private.author, operator, cell)] == [True] * 3
    assert not denied(private.admin, path)
    pod = private.pods(run["metadata"]["name"])[0]["spec"]
    assert pod["imagePullSecrets"] == [{"name": PULL_SECRET}]
    assert not any("secret" in volume for volume in pod["volumes"])


def test_the_pull_secret_is_the_only_one(private: Agents):
    """There is room for one Secret and no more."""
    with pytest.raises(RefusedError, match="exceeded quota: anchorhold"):
        private.admin.create(secret(PRIVATE, "another"))


def test_without_the_secret_the_private_image_is_unavailable(
    both: tuple[Agents, Agents], private: Agents, tenants: Tenants, private_image: str
):
    """Even though the node holds it by then: another tenant's password opens nothing here."""
    private.completes()
    other = wide_policy(BOB, private_image)
    other["spec"]["images"] += wide_policy(BOB, both[1].image)["spec"]["images"][:1]
    tenants.policy(other)
    wait_for(lambda: both[1].refusal(image=private_image) is None, 30, "it to be admitted")

    run = both[1].end(both[1].submit("", image=private_image))

    assert condition(run)["reason"] == "ImageUnavailable"
    both[1].completes()
