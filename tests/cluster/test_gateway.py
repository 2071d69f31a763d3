"""The gateway on the real node: one window, and nothing passes it that was not decided."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agents import Agents, condition
from attempts import Attempts
from bed.installation import CLUSTER, GATEWAY, Installation
from bed.kube import Document, Kubectl
from onenode import settings
from tenants import Tenants, wide_policy

TENANT = "team-window"
GOOD = settings.WORLD_TLS[0][0]
RULES: list[Document] = [
    {
        "name": "model",
        "host": "model.test",
        "methods": ["GET", "POST"],
        "paths": ["/v1/**", "/echo"],
        "env": [
            {"name": "OPENAI_BASE_URL", "value": "http://{gateway}/model.test/v1"},
            {"name": "OPENAI_API_KEY", "value": "{token}"},
        ],
    },
    {"name": "other", "host": "files.test", "methods": ["GET"], "paths": ["/**"]},
    *(
        {"name": host.removesuffix(".test"), "host": host, "methods": ["GET"], "paths": ["/**"]}
        for host in settings.WORLD_NAMES
        if host not in ("model.test", "files.test")
    ),
]
# What an agent has to ask with: the standard library, its environment, and no more.
ASK = """
import json, os, socket, urllib.error, urllib.request
def ask(path, token=None, body=None):
    url = 'http://' + os.environ['ANCHORHOLD_GATEWAY'] + path
    head = {'Authorization': 'Bearer ' + (token or os.environ['ANCHORHOLD_TOKEN'])}
    try:
        request = urllib.request.Request(url, body, head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b'{}').get('error', {}).get('reason')
    except OSError as error:
        return 0, type(error).__name__
def tell(**found):
    open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(found))
"""


@pytest.fixture(scope="module")
def gateway(bed: Installation) -> Iterator[Installation]:
    """The installation with a gateway; it is gone after this module."""
    bed.gateway()
    yield bed
    bed.controller()


@pytest.fixture(scope="module")
def policy(image: str) -> Document:
    """The tenant's, with every rule."""
    return {
        **(made := wide_policy(TENANT, image)),
        "spec": {**made["spec"], "egress": {"rules": RULES}},
    }


@pytest.fixture(scope="module")
def window(gateway: Installation, tenants: Tenants, policy: Document) -> Agents:
    """The tenant."""
    tenants.policy(policy)
    return tenants.onboard(TENANT, TENANT)


def told(run: Document) -> dict[str, Any]:
    """What the agent has found."""
    assert condition(run)["reason"] == "Completed", run["status"]
    return dict(json.loads(run["status"]["result"]["message"]))


def egress(*names: str) -> Document:
    """What a run asks for."""
    return {"rules": [{"name": name} for name in names]}


def world_log() -> list[str]:
    """What the world wrote down."""
    return (CLUSTER / "log" / "world.log").read_text(encoding="utf-8").splitlines()


def test_a_run_reaches_what_its_rule_names_and_nothing_else(
    window: Agents, kubectl: Kubectl, attempts: Attempts
):
    before = len(world_log())
    code = (
        ASK
        + """
asked = json.dumps({'messages': [{'role': 'user', 'content': 'add'}]}).encode()
def direct():
    try:
        socket.create_connection(('GOOD', 443), timeout=3).close()
        return True
    except OSError:
        return False
tell(
    model=ask('/model.test/v1/chat/completions', body=asked),
    base=os.environ['OPENAI_BASE_URL'],
    same=os.environ['OPENAI_API_KEY'] == os.environ['ANCHORHOLD_TOKEN'],
    path=ask('/model.test/v2'),
    host=ask('/files.test/v1'),
    direct=direct(),
)
""".replace("GOOD", GOOD)
    )

    run = window.end(window.submit(code, egress=egress("model")))

    found = told(run)
    assert found["model"][0] == 200
    assert json.loads(found["model"][1])["model"] == "scripted"
    assert found["same"]
    assert found["path"] == [403, "method-or-path-not-allowed"]
    assert found["host"] == [403, "host-not-allowed"]
    assert not found["direct"]
    assert [rule["name"] for rule in run["status"]["effective"]["rules"]] == ["model"]
    (pod,) = kubectl.items("pods", GATEWAY)
    requests = [line for line in world_log()[before:] if " for model.test" in line]
    assert len(requests) == 1
    assert requests[0].startswith(pod["status"]["podIP"])
    attempts.record("gateway", "a host that no rule names", "a cell", "403", "its rule: 200")


def test_a_run_that_asks_for_nothing_reaches_no_gateway(window: Agents, kubectl: Kubectl):
    service = kubectl.get("service", "gateway-0", GATEWAY)
    assert service is not None
    code = (
        ASK
        + f"""
os.environ |= dict(ANCHORHOLD_GATEWAY='{service["spec"]["clusterIP"]}:8080', ANCHORHOLD_TOKEN='x')
tell(root=ask('/')[0])
"""
    )
    fenced = window.end(window.submit(code))
    reaching = window.end(window.submit(code, egress=egress("model")))

    assert told(fenced) == {"root": 0}
    assert told(reaching) == {"root": 401}
