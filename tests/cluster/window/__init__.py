"""What the tests of the gateway on the node have: rules, an agent that asks, and what arrived."""

from __future__ import annotations

import json
from typing import Any

from agents import Agents, condition
from anchorhold import names
from bed.installation import CHECKOUT, CLUSTER, Installation
from bed.kube import Document, Kubectl, wait_for
from onenode import settings

TENANT = "team-window"
GOOD = settings.WORLD_TLS[0][0]
SECRET = "sk-only-the-gateway-has-it"  # noqa: S105  # it opens nothing
MODEL: Document = {
    "name": "model",
    "host": "model.test",
    "methods": ["GET", "POST"],
    "paths": ["/v1/**", "/ticks", "/bytes/*", "/websocket"],
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
    "paths": ["/digest", "/echo", "/repeat"],
    "credential": {"secretName": "files", "key": "key"},
}
WILD: Document = {"name": "wild", "host": "*.wild.test", "methods": ["GET"], "paths": ["/**"]}
# Rules that name hosts which lead where nothing may go.
LEADING_ELSEWHERE = sorted(
    {*settings.WORLD_NAMES} - {"model.test", "files.test", "a.wild.test", "rebinding.test"}
)
ELSEWHERE = [
    {"name": host.removesuffix(".test"), "host": host, "methods": ["GET"], "paths": ["/**"]}
    for host in LEADING_ELSEWHERE
]
RULES = [MODEL, WITH_A_KEY, WILD, *ELSEWHERE]
# What an agent has to ask with: the standard library, its environment, and no more.
ASK = """
import hashlib, json, os, socket, sys, time, urllib.error, urllib.request
def why(body):
    try:
        return json.loads(body)['error']['reason']
    except (ValueError, KeyError):
        return body.decode()
def ask(path, token=None, body=None):
    url = 'http://' + os.environ['ANCHORHOLD_GATEWAY'] + path
    head = {'Authorization': 'Bearer ' + (token or os.environ['ANCHORHOLD_TOKEN'])}
    try:
        request = urllib.request.Request(url, body, head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as refused:
        return [refused.code, why(refused.read())]
    except OSError as error:
        return [0, type(error).__name__]
def tell(**found):
    open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(found))
"""
# Listens to a stream that has no end, and says what it hears.
STREAM = (
    ASK
    + """
head = {'Authorization': 'Bearer ' + os.environ['ANCHORHOLD_TOKEN']}
url = 'http://' + os.environ['ANCHORHOLD_GATEWAY'] + '/model.test/ticks?n=3000'
for line in urllib.request.urlopen(urllib.request.Request(url, headers=head)):
    print(line.decode().strip() or '-', flush=True)
"""
)
# Asks for ever, and says what it gets each time: the status, or 0 where nobody answers.
ASK_FOR_EVER = (
    ASK
    + """
while True:
    print(ask('PATH')[0], flush=True)
    time.sleep(0.1)
"""
)
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


def sdks(bed: Installation) -> str:
    """An image with the real SDKs."""
    recipe = CHECKOUT / "tests" / "cluster" / "sdks" / "Dockerfile"
    return bed.image("tests/sdks", CHECKOUT / "build" / "sdks", "--file", str(recipe))


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


def first_answer(window: Agents, kubectl: Kubectl, run: str) -> str:
    """What the agent was answered first, once it was."""
    name = cell(window, run)["metadata"]["name"]
    return wait_for(
        lambda: kubectl("-n", TENANT, "logs", name, "-c", "agent").split("\n")[0],
        60,
        "the agent's first answer",
    )


def statuses(window: Agents, run: str) -> list[int]:
    """What a run that asks for ever was answered so far."""
    return [int(line) for line in window.said(run).split()]


def hung_up(place: int) -> list[str]:
    """The connections to the world that broke since a place in its log."""
    return [line for line in world_log()[place:] if " hung up: " in line]
