"""The gateway on the real node: one window, and nothing passes it that was not decided."""

import json
from contextlib import closing

import pytest

from agents import Agents, Controller, changed_policy
from attempts import Attempts
from bed.api import bearer
from bed.installation import CHECKOUT, GATEWAY, SYSTEM, Installation
from bed.kube import Document, Kubectl, wait_for
from window import (  # fmt: skip
    ASK,
    ASK_FOR_EVER,
    ASK_UNTIL_REFUSED,
    ELSEWHERE,
    GOOD,
    LEADING_ELSEWHERE,
    MODEL,
    STREAM,
    TENANT,
    WITH_A_KEY,
    cell,
    egress,
    first_answer,
    hung_up,
    requests_since,
    sdks,
    statuses,
    token_of,
    told,
    world_log,
)


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


def test_a_hundred_megabytes_and_a_websocket_pass(window: Agents):
    code = (
        ASK
        + """
host, port = os.environ['ANCHORHOLD_GATEWAY'].split(':')
token = os.environ['ANCHORHOLD_TOKEN']
url = f'http://{host}:{port}/model.test/bytes/100000000'
with urllib.request.urlopen(urllib.request.Request(url, headers={'X-Api-Key': token})) as answer:
    count = sum(map(len, iter(lambda: answer.read(1 << 16), b'')))
head = ('GET /model.test/websocket HTTP/1.1', 'Host: x', 'Connection: Upgrade',
        'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: c2NyaXB0ZWQ=',
        'X-Api-Key: ' + token, '', '')
with socket.create_connection((host, int(port)), 20) as web:
    web.sendall('\\r\\n'.join(head).encode())
    switched = web.recv(4096).split()[1].decode()
    web.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b'hi')
    echoed = web.recv(4096)[2:].decode()
tell(count=count, switched=switched, echoed=echoed)
"""
    )

    found = told(window.end(window.submit(code, egress=egress("model"))))

    assert found == {"count": 100_000_000, "switched": "101", "echoed": "hi"}


@pytest.mark.long
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
    run = window.running(STREAM, egress=egress("model"))
    assert first_answer(window, kubectl, run).startswith("data: ")
    before = len(world_log())

    with changed_policy(kubectl, TENANT, {"suspend": True}):
        window.until(run, "PolicyRevoked")
        wait_for(lambda: hung_up(before), 60, "the stream's end")


def test_a_lie_of_the_controller_in_a_status_changes_nothing(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    """With its own token, it writes that the run was granted what it did not ask for."""
    asking = ASK_FOR_EVER.replace("PATH", "/files.test/digest")
    run = window.running(asking, egress=egress("model"))
    assert first_answer(window, kubectl, run) == "403"
    lie = {"effective": {"rules": [{"name": "keyed", "digest": "sha256:" + "0" * 64}]}}
    path = f"/apis/anchorhold.dev/v1alpha1/namespaces/{TENANT}/agentruns/{run}/status"

    with closing(bearer(kubectl, SYSTEM, "anchorhold-controller")) as controller:
        told_so = controller.ask("PATCH", path, {"status": lie})

    asked = len(statuses(window, run))
    wait_for(lambda: len(statuses(window, run)) > asked + 3, 60, "the agent to ask again")
    assert told_so.refusal == ""
    assert told_so.body["status"]["effective"]["rules"][0]["name"] == "keyed"
    assert set(statuses(window, run)) == {403}
    attempts.record(
        "gateway", "a rule that only a lie in the status grants", "a cell", "403", "asked for: 200"
    )


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
