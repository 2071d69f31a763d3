"""Tunnels on the real node: `git` and Python, unchanged, and what a cell can't do with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents import Agents, changed_policy, condition
from anchorhold import names
from attempts import Attempts
from bed.installation import CHECKOUT, CLUSTER, GATEWAY, Installation
from bed.kube import Document, Kubectl, wait_for
from onenode import repository, settings
from tenants import Tenants, wide_policy
from window import requests_since, world_log

TENANT = "team-tunnels"
GOOD = settings.WORLD_TLS[0][0]
PROXY = [{"name": "HTTPS_PROXY", "value": "http://run:{token}@{gateway}"}]
CODE: Document = {"name": "code", "host": "model.test", "mode": "Connect", "env": PROXY}
READ: Document = {
    "name": "read",
    "host": "files.test",
    "mode": "Intercept",
    "methods": ["GET"],
    "paths": ["/v1/**", "/repo.git/**"],
    "env": PROXY,
}
ASKED: Document = {
    "name": "asked",
    "host": "a.wild.test",
    "methods": ["GET"],
    "paths": ["/v1/**"],
}
CLONED: Document = {
    "name": "cloned",
    "host": "a.wild.test",
    "methods": ["GET"],
    "paths": ["/repo.git/**"],
    "env": [
        {"name": "GIT_CONFIG_COUNT", "value": "1"},
        {"name": "GIT_CONFIG_KEY_0", "value": "url.http://run:{token}@{gateway}/.insteadOf"},
        {"name": "GIT_CONFIG_VALUE_0", "value": "https://"},
    ],
}
ELSEWHERE = ("metadata.test", "forbidden.test", "api-server.test", "service.test", "mixed.test")
LEADING_ELSEWHERE = [
    {"name": host.removesuffix(".test"), "host": host, "mode": "Connect"} for host in ELSEWHERE
]
OURS = f"{names.TASK_DIRECTORY}/{names.CELL_AUTHORITY}"
# What an agent has: programs of Debian's, the variables of its rules, and whom it trusts.
TOOLS = """
import base64, http.client, json, os, socket, ssl, subprocess, urllib.error, urllib.request
WORLD = '/tmp/world.pem'
open(WORLD, 'w').write(PEM)
def ask(url, trusted=WORLD):
    try:
        context = ssl.create_default_context(cafile=trusted)
        with urllib.request.urlopen(url, timeout=20, context=context) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as refused:
        return [refused.code, json.loads(refused.read() or b'{}').get('error', {}).get('reason')]
    except OSError as error:
        return [0, str(getattr(error, 'reason', error))]
def clone(url, trusted=WORLD):
    words = ['git', 'clone', '--quiet', url, '/workspace/' + str(len(os.listdir('/workspace')))]
    done = subprocess.run(words, env={**os.environ, 'GIT_SSL_CAINFO': trusted},
                          capture_output=True, text=True)
    if done.returncode:
        return [done.returncode, done.stderr]
    return [0, open(words[-1] + '/README').read()]
def knock(authority, name=None, shown=None, said=None):
    host, port = os.environ['ANCHORHOLD_GATEWAY'].split(':')
    token = base64.b64encode(b'run:' + (shown or os.environ['ANCHORHOLD_TOKEN']).encode()).decode()
    try:
        with socket.create_connection((host, int(port)), 10) as sender:
            sender.sendall(f'CONNECT {authority} HTTP/1.1\\r\\nHost: {authority}\\r\\n'
                           f'Proxy-Authorization: Basic {token}\\r\\n\\r\\n'.encode())
            answer = http.client.HTTPResponse(sender, method='CONNECT')
            answer.begin()
            if answer.status != 200:
                return answer.status
            if said is not None:
                sender.sendall(said)
                return sender.recv(100).decode()
            context = ssl.create_default_context(cafile=WORLD)
            context.check_hostname = False
            context.wrap_socket(sender, server_hostname=name or authority.split(':')[0]).close()
            return 'TLS'
    except OSError as error:
        return 'cut'
def tell(**found):
    open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(found)[:4000])
"""


@pytest.fixture(scope="module")
def programs(bed: Installation) -> str:
    """The test agent's image, with git."""
    folder = CHECKOUT / "tests" / "cluster" / "agent"
    return bed.image("tests/agent-git", folder, "--packages", "git")


@pytest.fixture(scope="module")
def windowed(gateway: Installation, tenants: Tenants, image: str, programs: str) -> Agents:
    """A tenant with a rule in each mode."""
    written = wide_policy(TENANT, image)
    written["spec"]["egress"] = {"rules": [CODE, READ, ASKED, CLONED, *LEADING_ELSEWHERE]}
    written["spec"]["images"].append({"reference": programs})
    tenants.policy(written)
    return tenants.onboard(TENANT, TENANT)


def came_by_tls(place: int) -> list[str]:
    """Who came to a server of the world that speaks TLS, from a place in its log on."""
    return [line for line in world_log()[place:] if " connected to " in line and ":443" in line]


def program(code: str) -> str:
    """What an agent does, with its tools."""
    pem = (CLUSTER / "node" / "pki" / "ca.crt").read_text(encoding="ascii")
    return TOOLS.replace("PEM", repr(pem)) + code


def find(window: Agents, code: str, *rules: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """What an agent with these rules finds."""
    egress = {"rules": [{"name": name} for name in rules]}
    run = window.end(window.submit(program(code), egress=egress, **more))
    assert condition(run)["reason"] == "Completed", run["status"]
    return dict(json.loads(run["status"]["result"]["message"]))


def test_git_and_python_work_through_a_tunnel(
    window: Agents, kubectl: Kubectl, programs: str, attempts: Attempts
):
    """By the variable that the rule sets. The world sees the gateway's Pod, and nobody else."""
    before = len(world_log())

    found = find(
        window,
        """
tell(
    python=ask('https://model.test/any/path'),
    git=clone('https://model.test/repo.git'),
    other=ask('https://a.wild.test/v1/x'),
    unread=ask('https://files.test/v1/x'),
    literal=ask('https://203.0.113.10/'),
)
""",
        "code", "asked", image=programs, resources={"cpu": "1", "memory": "256Mi"},
    )  # fmt: skip

    (pod,) = kubectl.items("pods", GATEWAY)
    address = pod["status"]["podIP"]
    assert found["python"] == [200, f"world saw {address}\n"]
    assert found["git"] == [0, repository.README]
    for refused in ("other", "unread", "literal"):
        assert found[refused][0] == 0
        assert "403" in found[refused][1]
    came = came_by_tls(before)
    assert came
    assert {line.split()[0] for line in came} == {address}
    assert {line.split()[-1] for line in came} == {f"{GOOD}:443"}
    attempts.record(
        "gateway", "a tunnel to a host of another mode", "a cell", str(found["other"][1]),
        f"its own rule's host: {found['python'][0]}",
    )  # fmt: skip


def test_git_works_without_a_tunnel_as_well(window: Agents, programs: str):
    """In the mode Reverse, unchanged, by the variables that the rule sets."""
    found = find(
        window,
        "tell(git=clone('https://a.wild.test/repo.git'), other=clone('https://files.test/repo.git'))",
        "cloned", image=programs, resources={"cpu": "1", "memory": "256Mi"},
    )  # fmt: skip

    assert found["git"] == [0, repository.README]
    assert found["other"][0] != 0
    assert "403" in found["other"][1]


def test_what_is_in_a_tunnel_is_judged_where_it_is_read(window: Agents, programs: str):
    """The cell has our authority's certificate where the design says, and trusts it by that."""
    before = len(world_log())

    found = find(
        window,
        f"""
ours = {OURS!r}
tell(
    python=ask('https://files.test/v1/x', ours),
    path=ask('https://files.test/v2', ours),
    git=clone('https://files.test/repo.git', ours),
    stranger=ask('https://files.test/v1/x'),
)
""",
        "read", image=programs, resources={"cpu": "1", "memory": "256Mi"},
    )  # fmt: skip

    assert found["python"][0] == 200, found
    assert found["path"] == [403, "method-or-path-not-allowed"]
    assert found["git"] == [0, repository.README]
    assert "certificate verify failed" in found["stranger"][1]
    requests = requests_since(before)
    assert not [line for line in requests if "/v2" in line]
    assert all(line.endswith("for files.test") for line in requests)


@pytest.mark.long
def test_a_tunnel_leads_to_its_host_and_nowhere_else(window: Agents, attempts: Attempts):
    """Fronting, plain text, names that lead elsewhere, and tokens that are nobody's."""
    before = len(world_log())
    everything = [str(rule["name"]) for rule in LEADING_ELSEWHERE]

    found = find(
        window,
        f"""
tell(
    front=knock('model.test:443', 'files.test'),
    plain=knock('model.test:443', said=b'GET / HTTP/1.1\\r\\n\\r\\n'),
    elsewhere=[knock(host + ':443') for host in {ELSEWHERE}],
    literals=[knock(host + ':443') for host in ('169.254.169.254', '10.96.0.1', '[::1]')],
    port=knock('model.test:22'),
    nobody=knock('model.test:443', shown='made-up'),
)
""",
        "code", *everything,
    )  # fmt: skip
    nobody_came = came_by_tls(before)
    control = find(window, "tell(own=knock('model.test:443'))", "code")

    assert found == {
        "front": "cut",
        "plain": "",
        "elsewhere": [403] * len(ELSEWHERE),
        "literals": [403, 403, 403],
        "port": 403,
        "nobody": 407,
    }
    assert nobody_came == []
    assert control == {"own": "TLS"}
    assert len(came_by_tls(before)) == 1
    for what in ("front", "plain", "elsewhere", "literals"):
        attempts.record("gateway", f"a tunnel: {what}", "a cell", str(found[what]), str(control))


@pytest.mark.long
def test_an_open_tunnel_ends_with_its_rule(window: Agents, kubectl: Kubectl):
    """The gateway does not look into it again: the controller ends the cell that holds it."""
    code = program(
        """
import time
host, port = os.environ['ANCHORHOLD_GATEWAY'].split(':')
trusting = ssl.create_default_context(cafile=WORLD)
proxied = http.client.HTTPSConnection(host, int(port), context=trusting)
shown = base64.b64encode(b'run:' + os.environ['ANCHORHOLD_TOKEN'].encode()).decode()
proxied.set_tunnel('model.test', 443, {'Proxy-Authorization': 'Basic ' + shown})
while True:
    proxied.request('GET', '/v1/again')
    print(proxied.getresponse().read(), flush=True)
    time.sleep(0.5)
"""
    )
    run = window.running(code, egress={"rules": [{"name": "code"}]})
    wait_for(lambda: window.said(run).count("world saw") > 2, 30, "the tunnel to be in use")

    with changed_policy(kubectl, TENANT, {"egress": {"rules": [READ]}}):
        ended = window.end(run)
        window.until_gone(run)
        place = len(world_log())
        find(window, "tell()", "read")

    assert condition(ended)["reason"] == "PolicyRevoked"
    assert not [line for line in world_log()[place:] if "/v1/again" in line]
