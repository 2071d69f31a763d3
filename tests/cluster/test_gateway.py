"""The gateway on the real node: one window, and nothing passes it that was not decided."""

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agents import Agents, Controller, changed_policy, condition
from anchorhold import names
from attempts import Attempts
from bed.installation import CHECKOUT, CLUSTER, GATEWAY, SYSTEM, Installation
from bed.kube import Document, Kubectl, wait_for
from onenode import settings
from tenants import Tenants, wide_policy

TENANT = "team-window"
GOOD = settings.WORLD_TLS[0][0]
SECRET = "sk-only-the-gateway-has-it"  # noqa: S105  # it opens nothing
MODEL: Document = {
    "name": "model",
    "host": "model.test",
    "methods": ["GET", "POST"],
    "paths": ["/v1/**", "/ticks"],
    "env": [
        {"name": "OPENAI_BASE_URL", "value": "http://{gateway}/model.test/v1"},
        {"name": "OPENAI_API_KEY", "value": "{token}"},
        {"name": "ANTHROPIC_BASE_URL", "value": "http://{gateway}/model.test"},
        {"name": "ANTHROPIC_API_KEY", "value": "{token}"},
    ],
}
WITH_A_KEY: Document = {
    "name": "keyed",
    "host": "files.test",
    "methods": ["GET"],
    "paths": ["/digest"],
    "credential": {"secretName": "files", "key": "key"},
}
# Rules that name hosts which lead where nothing may go.
LEADING_ELSEWHERE = sorted(
    {*settings.WORLD_NAMES} - {"model.test", "files.test", "a.wild.test", "rebinding.test"}
)
ELSEWHERE = [
    {"name": host.removesuffix(".test"), "host": host, "methods": ["GET"], "paths": ["/**"]}
    for host in LEADING_ELSEWHERE
]
RULES = [MODEL, WITH_A_KEY, *ELSEWHERE]
# What an agent has to ask with: the standard library, its environment, and no more.
ASK = """
import hashlib, json, os, socket, sys, time, urllib.error, urllib.request
def ask(path, token=None, body=None):
    url = 'http://' + os.environ['ANCHORHOLD_GATEWAY'] + path
    head = {'Authorization': 'Bearer ' + (token or os.environ['ANCHORHOLD_TOKEN'])}
    try:
        request = urllib.request.Request(url, body, head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as refused:
        return [refused.code, json.loads(refused.read() or b'{}').get('error', {}).get('reason')]
    except OSError as error:
        return [0, type(error).__name__]
def tell(**found):
    open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(found))
"""
# Asks until it is refused, and says what it got before.
ASK_UNTIL_REFUSED = (
    ASK
    + """
seen = []
while not seen or seen[-1][0] in (0, 200, 503):
    seen.append(ask('/model.test/v1/x'))
    print(seen[-1][0], flush=True)
    time.sleep(0.2)
tell(first=seen[0][0], last=seen[-1])
time.sleep(WAIT)
"""
)


@pytest.fixture(scope="module")
def gateway(bed: Installation) -> Iterator[Installation]:
    """The installation with a gateway; it is gone after this module."""
    bed.gateway()
    yield bed
    bed.controller()


@pytest.fixture(scope="module")
def window(gateway: Installation, tenants: Tenants, image: str) -> Agents:
    """A tenant with every rule."""
    written = wide_policy(TENANT, image)
    written["spec"]["egress"] = {"rules": RULES}
    written["spec"]["images"].append({"reference": sdks(gateway)})
    tenants.policy(written)
    return tenants.onboard(TENANT, TENANT)


def sdks(bed: Installation) -> str:
    """An image with the real SDKs."""
    recipe = CHECKOUT / "tests" / "cluster" / "sdks" / "Dockerfile"
    return bed.image("tests/sdks", CHECKOUT / "build" / "sdks", "--file", str(recipe))


@pytest.fixture(autouse=True)
def _nothing_is_left(window: Agents) -> Iterator[None]:
    """Each test starts with nobody running."""
    yield
    window.remove_all()
    window.submitted.clear()


def told(run: Document) -> dict[str, Any]:
    """What the agent has found."""
    assert condition(run)["reason"] == "Completed", run["status"]
    return dict(json.loads(run["status"]["result"]["message"]))


def egress(*rules: str) -> Document:
    """What a run asks for."""
    return {"rules": [{"name": name} for name in rules]}


def world_log() -> list[str]:
    """What the world wrote down."""
    return (CLUSTER / "log" / "world.log").read_text(encoding="utf-8").splitlines()


def requests_since(place: int) -> list[str]:
    """The requests that arrived in the world, from a place in its log on."""
    return [line for line in world_log()[place:] if ' HTTP/1.1" ' in line]


def cell(window: Agents, run: str) -> Document:
    """A run's Pod."""
    (pod,) = window.pods(run)
    return pod


def token_of(pod: Document) -> str:
    """The token that a cell has; its author may read it there."""
    environment = pod["spec"]["containers"][0]["env"]
    return next(str(e["value"]) for e in environment if e["name"] == names.TOKEN_VARIABLE)


def test_a_run_reaches_what_its_rule_names_and_nothing_else(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    before = len(world_log())
    code = (
        ASK
        + f"""
asked = json.dumps({{'messages': [{{'role': 'user', 'content': 'add'}}]}}).encode()
def direct():
    try:
        socket.create_connection(('{GOOD}', 443), timeout=3).close()
        return True
    except OSError:
        return False
tell(
    model=ask('/model.test/v1/chat/completions', body=asked),
    base=os.environ['OPENAI_BASE_URL'],
    same=os.environ['OPENAI_API_KEY'] == os.environ['ANCHORHOLD_TOKEN'],
    path=ask('/model.test/v2'),
    host=ask('/files.test/digest'),
    direct=direct(),
)
"""
    )

    run = window.end(window.submit(code, egress=egress("model")))

    found = told(run)
    assert found["model"][0] == 200
    assert json.loads(found["model"][1])["model"] == "scripted"
    assert found["same"]
    assert found["base"].endswith(":8080/model.test/v1")
    assert found["path"] == [403, "method-or-path-not-allowed"]
    assert found["host"] == [403, "host-not-allowed"]
    assert not found["direct"]
    assert [rule["name"] for rule in run["status"]["effective"]["rules"]] == ["model"]
    (pod,) = kubectl.items("pods", GATEWAY)
    requests = requests_since(before)
    assert len(requests) == 1
    assert requests[0].startswith(pod["status"]["podIP"])
    assert requests[0].endswith("for model.test")
    without = f"its own rule's path: {found['model'][0]}"
    attempts.record("gateway", "a path of no rule", "a cell", str(found["path"]), without)
    attempts.record(
        "gateway", "a host of a rule not asked for", "a cell", str(found["host"]), without
    )


def test_a_run_that_asks_for_nothing_reaches_no_gateway(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    service = kubectl.get("service", "gateway-0", GATEWAY)
    assert service is not None
    code = (
        ASK
        + f"""
os.environ['ANCHORHOLD_GATEWAY'] = '{service["spec"]["clusterIP"]}:8080'
os.environ['ANCHORHOLD_TOKEN'] = 'made up'
tell(root=ask('/'))
"""
    )
    fenced = told(window.end(window.submit(code)))
    reaching = told(window.end(window.submit(code, egress=egress("model"))))

    assert fenced["root"][0] == 0
    assert reaching["root"] == [401, "unknown-run"]
    attempts.record(
        "gateway", "TCP to a gateway without `egress`", "a cell", str(fenced), str(reaching)
    )


def test_the_real_sdks_hold_a_conversation(gateway: Installation, window: Agents):
    """Several turns, streamed, with a tool call, by the variables that the rule sets."""
    code = (CHECKOUT / "tests" / "cluster" / "conversation.py").read_text(encoding="utf-8")
    more = {"image": sdks(gateway), "resources": {"cpu": "1", "memory": "256Mi"}}

    found = told(window.end(window.submit(code, egress=egress("model"), **more)))

    scripted = "Scripted: the tool said 5."
    assert found["openai"] == {"model": "scripted", "turns": 2, "text": scripted, "tokens": 84}
    assert found["anthropic"] == {"model": "scripted", "turns": 2, "text": scripted, "tokens": 84}


def test_a_token_is_worth_nothing_elsewhere_or_later(window: Agents, attempts: Attempts):
    """From another cell, whose source address arrives through the Service; and after the end."""
    owner = window.running(egress=egress("model"))
    stolen = token_of(cell(window, owner))
    code = ASK + f"tell(stolen=ask('/model.test/v1/x', '{stolen}'), own=ask('/model.test/v1/x'))"

    alive = told(window.end(window.submit(code, egress=egress("model"))))
    window.admin.delete("agentrun", owner, TENANT, "--wait=true")
    window.until_gone(owner)
    later = told(window.end(window.submit(code, egress=egress("model"))))

    assert alive["stolen"] == [403, "wrong-source"]
    assert alive["own"][0] == 200
    assert later["stolen"] == [401, "unknown-run"]
    assert later["own"][0] == 200
    attempts.record(
        "gateway", "another run's token", "a cell", str(alive["stolen"]), str(alive["own"][0])
    )
    attempts.record(
        "gateway", "the token of a run that ended", "a cell", str(later["stolen"]),
        str(later["own"][0]),
    )  # fmt: skip


def test_no_name_leads_where_nothing_may_go(window: Agents, attempts: Attempts):
    """The forbidden servers are alive, and count who comes."""
    before = len(world_log())
    asked = [f"/{host}/v1/x" for host in LEADING_ELSEWHERE]
    code = ASK + f"tell(found=[ask(path) for path in {asked}], good=ask('/model.test/v1/x')[0])"

    run = window.submit(code, egress=egress("model", *(str(rule["name"]) for rule in ELSEWHERE)))

    found = told(window.end(run))
    assert found["found"] == [[403, "address-not-public"]] * len(asked)
    assert found["good"] == 200
    requests = requests_since(before)
    assert len(requests) == 1
    attempts.record(
        "gateway", f"{len(asked)} names that lead to forbidden addresses", "a cell",
        str(found["found"][0]), str(found["good"]),
    )  # fmt: skip


@pytest.fixture
def kept(kubectl: Kubectl) -> Iterator[Document]:
    """A Secret for one host and one policy."""
    annotations = {names.HOSTS_ANNOTATION: "files.test", names.POLICIES_ANNOTATION: TENANT}
    metadata = {"name": "files", "namespace": GATEWAY, "annotations": annotations}
    document: Document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    document["data"] = {"key": base64.b64encode(SECRET.encode()).decode()}
    kubectl.apply(document)
    yield document
    kubectl.delete("secret", "files", GATEWAY)


SEARCH = """
wanted = os.environ['REVERSED'][::-1].encode()
def holds(path):
    try:
        return wanted in open(path, 'rb').read(1 << 20)
    except OSError:
        return False
files = ['/proc/%s/%s' % (p, f) for p in os.listdir('/proc') if p.isdigit()
         for f in ('environ', 'cmdline')]
for top in ('/run', '/etc', '/tmp', '/workspace', '/inputs', '/var'):
    files += [os.path.join(d, f) for d, _, names in os.walk(top) for f in names]
"""


def test_a_credential_goes_upstream_and_is_nowhere_else(
    window: Agents, kubectl: Kubectl, kept: Document, attempts: Attempts
):
    code = (
        ASK
        + SEARCH
        + """
got = ask('/files.test/digest')
tell(got=got, found=[path for path in files if holds(path)], looked=len(files))
"""
    )
    reversed_secret = [{"name": "REVERSED", "value": SECRET[::-1]}]

    name = window.submit(code, egress=egress("keyed"), env=reversed_secret)

    found = told(run := window.end(name))
    assert found["got"] == [200, hashlib.sha256(f"Bearer {SECRET}".encode()).hexdigest()]
    assert found["looked"] > 20
    assert found["found"] == []
    everywhere = [json.dumps(run), json.dumps(cell(window, name))]
    everywhere += [json.dumps(kubectl.items("events", where)) for where in (TENANT, GATEWAY)]
    for container in ("decider", "envoy"):
        everywhere.append(kubectl("-n", GATEWAY, "logs", "gateway-0", "-c", container))
    everywhere.append(kubectl("-n", SYSTEM, "logs", "deployment/anchorhold-controller"))
    assert not [text for text in everywhere if SECRET in text]
    attempts.record(
        "gateway", "the credential, in files and processes of the cell", "a cell",
        f"not in {found['looked']} places", f"upstream: digest {found['got'][1][:8]}…",
    )  # fmt: skip


def test_without_its_secret_a_rule_passes_nothing(window: Agents):
    code = ASK + "tell(got=ask('/files.test/digest'))"

    run = window.end(window.submit(code, egress=egress("keyed")))

    assert told(run)["got"] == [503, "credential-missing"]


def first_answer(window: Agents, kubectl: Kubectl, run: str) -> str:
    """What the agent was answered first, once it was."""
    name = cell(window, run)["metadata"]["name"]
    return wait_for(
        lambda: kubectl("-n", TENANT, "logs", name, "-c", "agent").split("\n")[0],
        60,
        "the agent's first answer",
    )


REVOCATIONS: dict[str, Document] = {
    "the rule is gone": {"egress": {"rules": [WITH_A_KEY]}},
    "the rule is wider": {"egress": {"rules": [{**MODEL, "paths": ["/**"]}, WITH_A_KEY]}},
    "the policy is suspended": {"suspend": True},
}


@pytest.mark.parametrize("change", REVOCATIONS)
def test_what_a_policy_takes_away_is_refused_at_once_with_the_controller_down(
    window: Agents, kubectl: Kubectl, controller: Controller, change: str, attempts: Attempts
):
    code = ASK_UNTIL_REFUSED.replace("WAIT", "0")
    run = window.running(code, egress=egress("model"))
    assert first_answer(window, kubectl, run) == "200"
    controller.stop()

    with changed_policy(kubectl, TENANT, REVOCATIONS[change]):
        wait_for(
            lambda: cell(window, run)["status"]["phase"] == "Succeeded",
            60,
            "the agent to be refused",
        )

    ended = cell(window, run)["status"]["containerStatuses"][0]["state"]["terminated"]
    found = json.loads(ended["message"])
    wanted = "policy-suspended" if change == "the policy is suspended" else "host-not-allowed"
    assert (found["first"], found["last"]) == (200, [403, wanted])
    attempts.record(
        "gateway", f"a request after: {change}", "a cell", str(found["last"]), str(found["first"])
    )


def test_an_open_stream_ends_with_its_run(window: Agents, kubectl: Kubectl):
    """A suspended policy ends the run, and with its Pod the stream, all the way to the server."""
    code = (
        ASK
        + """
head = {'Authorization': 'Bearer ' + os.environ['ANCHORHOLD_TOKEN']}
url = 'http://' + os.environ['ANCHORHOLD_GATEWAY'] + '/model.test/ticks?n=3000'
for line in urllib.request.urlopen(urllib.request.Request(url, headers=head)):
    print(line.decode().strip() or '-', flush=True)
"""
    )
    run = window.running(code, egress=egress("model"))
    assert first_answer(window, kubectl, run).startswith("data: ")
    before = len(world_log())

    with changed_policy(kubectl, TENANT, {"suspend": True}):
        window.until(run, "PolicyRevoked")
        wait_for(
            lambda: any(" hung up: " in line for line in world_log()[before:]),
            60,
            "the stream's end",
        )


def test_a_lie_of_the_controller_in_a_status_changes_nothing(window: Agents, kubectl: Kubectl):
    code = ASK_UNTIL_REFUSED.replace("/model.test/v1/x", "/files.test/digest").replace("WAIT", "0")
    teller = kubectl.acting_as_account(SYSTEM, names.CONTROLLER)
    lie = {"status": {"effective": {"rules": [{"name": "keyed", "digest": "sha256:" + "0" * 64}]}}}
    run = window.submit(code, egress=egress("model"))
    words = ("patch", "agentrun", run, "-n", TENANT, "--subresource=status", "--type=merge", "-p")
    teller(*words, json.dumps(lie))

    assert told(window.end(run))["last"] == [403, "host-not-allowed"]


def test_a_gateway_that_is_killed_lets_nothing_by_and_comes_back(window: Agents, kubectl: Kubectl):
    """A new Pod answers at the address that the cell was given, once it has seen everything."""
    code = (
        ASK
        + """
seen = []
while True:
    seen.append(ask('/model.test/v1/x')[0])
    print(seen[-1], flush=True)
    if 200 in seen and seen[-1] == 200 and set(seen) - {200}:
        break
    time.sleep(0.1)
tell(seen=sorted(set(seen)))
"""
    )
    run = window.running(code, egress=egress("model"), activeDeadlineSeconds=200)
    assert first_answer(window, kubectl, run) == "200"

    kubectl.delete("pod", "gateway-0", GATEWAY, "--grace-period=0", "--force")

    seen = set(told(window.end(run))["seen"])
    assert 200 in seen
    assert seen <= {0, 200, 401, 503}


def test_what_the_gateway_may_do_is_to_read_and_to_write_usage(
    kubectl: Kubectl, gateway: Installation
):
    """With its own ServiceAccount: none of what would let it act."""
    account = kubectl.acting_as_account(GATEWAY, "anchorhold-gateway")
    refused = {
        "create pods": TENANT, "delete pods": TENANT, "get secrets": SYSTEM,
        "get secrets --namespace=team-window": TENANT, "patch agentruns": TENANT,
        "patch agentruns --subresource=status": SYSTEM, "create networkpolicies": TENANT,
        "update agentpolicies": "anchorhold-policies", "create secrets": GATEWAY,
        "get configmaps": TENANT, "create configmaps": GATEWAY,
        "create pods --subresource=exec": TENANT,
    }  # fmt: skip
    granted = {
        "list agentruns": TENANT, "list pods": TENANT, "get secrets": GATEWAY,
        "patch agentruns --subresource=status": TENANT,
        "patch configmaps/gateway-0-usage": GATEWAY,
    }  # fmt: skip

    def may(what: str, where: str) -> str:
        return account.run("auth", "can-i", *what.split(), "-n", where).stdout.strip()

    assert {what: may(what, where) for what, where in granted.items()} == dict.fromkeys(
        granted, "yes"
    )
    assert {what: may(what, where) for what, where in refused.items()} == dict.fromkeys(
        refused, "no"
    )
