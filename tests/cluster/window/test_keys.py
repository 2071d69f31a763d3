"""Credentials on the real node: they go upstream, and are nowhere else."""

import base64
import hashlib
import json
from collections.abc import Iterator

import pytest

from agents import Agents
from anchorhold import names
from anchorhold.policy import identity
from attempts import Attempts
from bed.installation import GATEWAY, SYSTEM
from bed.kube import Document, Kubectl, wait_for
from window import (
    ASK,
    ASK_FOR_EVER,
    SECRET,
    TENANT,
    cell,
    egress,
    first_answer,
    statuses,
    token_of,
    told,
)

REVERSED = [{"name": "REVERSED", "value": SECRET[::-1]}]


def secret(value: str, hosts: str = "files.test", policies: str = TENANT) -> Document:
    """A Secret that serves a host and a policy."""
    annotations = {names.HOSTS_ANNOTATION: hosts, names.POLICIES_ANNOTATION: policies}
    metadata = {"name": "files", "namespace": GATEWAY, "annotations": annotations}
    data = {"key": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def digest(value: str) -> str:
    """What the upstream says of a secret that arrived."""
    return hashlib.sha256(f"Bearer {value}".encode()).hexdigest()


@pytest.fixture
def kept(kubectl: Kubectl) -> Iterator[None]:
    """The Secret that the rule names."""
    kubectl.apply(secret(SECRET))
    yield
    kubectl.delete("secret", "files", GATEWAY)


# A child does what an agent does; its parent, who may read its memory, looks for the secret there.
SEARCH = """
import subprocess
CHILD = '''
import os
exec(os.environ['ASKING'])
print(json.dumps(ask('/files.test/digest')), flush=True)
time.sleep(100)
'''
child = subprocess.Popen([sys.executable, '-c', CHILD], env={**os.environ, 'ASKING': ASKING},
                         stdout=subprocess.PIPE)
got = json.loads(child.stdout.readline())
wanted = os.environ['REVERSED'][::-1].encode()
token = os.environ['ANCHORHOLD_TOKEN'].encode()

def holds(path, what):
    try:
        return what in open(path, 'rb').read(1 << 20)
    except OSError:
        return False

def remembers(pid, what):
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
        for line in maps:
            place, rights = line.split()[:2]
            first, last = (int(part, 16) for part in place.split('-'))
            if not rights.startswith('rw'):
                continue
            memory.seek(first)
            try:
                if what in memory.read(last - first):
                    return True
            except OSError:
                continue
    return False

files = ['/proc/%s/%s' % (p, f) for p in os.listdir('/proc') if p.isdigit()
         for f in ('environ', 'cmdline')]
for top in ('/run', '/etc', '/tmp', '/workspace', '/inputs', '/var', '/outputs'):
    files += [os.path.join(d, f) for d, _, names in os.walk(top) for f in names]
tell(got=got, found=[path for path in files if holds(path, wanted)], looked=len(files),
     remembered=remembers(child.pid, wanted), token=remembers(child.pid, token),
     environment=any(holds(path, token) for path in files))
child.kill()
"""


def test_a_credential_goes_upstream_and_is_nowhere_else(
    window: Agents, kubectl: Kubectl, kept: None, attempts: Attempts
):
    """The same search finds the run's own token, which is there."""
    code = f"ASKING = {ASK!r}\nexec(ASKING)\n" + SEARCH

    resources = {"cpu": "500m", "memory": "128Mi"}
    name = window.submit(code, egress=egress("keyed"), env=REVERSED, resources=resources)

    found = told(run := window.end(name))
    assert found["got"] == [200, digest(SECRET)]
    assert found["looked"] > 20
    assert (found["found"], found["remembered"]) == ([], False)
    assert (found["environment"], found["token"]) == (True, True)
    everywhere = [json.dumps(run), json.dumps(cell(window, name))]
    everywhere += [json.dumps(kubectl.items("events", where)) for where in (TENANT, GATEWAY)]
    for container in ("decider", "envoy"):
        everywhere.append(kubectl("-n", GATEWAY, "logs", "gateway-0", "-c", container))
    everywhere.append(kubectl("-n", SYSTEM, "logs", "deployment/anchorhold-controller"))
    everywhere.append(metrics(kubectl))
    assert not [text for text in everywhere if SECRET in text]
    attempts.record(
        "gateway", "the credential, in files, environments and memory of the cell", "a cell",
        f"not in {found['looked']} places", "the run's token is found in both",
    )  # fmt: skip


def metrics(kubectl: Kubectl) -> str:
    """What the decider counts."""
    return kubectl(
        "get", "--raw", f"/api/v1/namespaces/{GATEWAY}/pods/gateway-0:8081/proxy/metrics"
    )


def test_a_credential_that_the_upstream_repeats_does_not_come_back(
    window: Agents, kept: None, attempts: Attempts
):
    """Whole, and cut into pieces; what is beside it comes back."""
    code = (
        ASK
        + """
asked = ['/echo', '/repeat?cut=0&size=0', '/repeat?cut=7&size=0', '/repeat?cut=3&size=5']
got = [ask('/files.test' + path) for path in asked]
secret = os.environ['REVERSED'][::-1]
tell(statuses=[status for status, _ in got], beside=['before' in text for _, text in got],
     masked=['*' * (len(secret) - 6) in text for _, text in got],
     secret=[any(secret[i:i + 8] in text for i in range(len(secret) - 7)) for _, text in got])
"""
    )

    found = told(window.end(window.submit(code, egress=egress("keyed"), env=REVERSED)))

    assert found["statuses"] == [200] * 4
    assert found["beside"] == [False, True, True, True]
    assert found["masked"] == [True] * 4
    assert found["secret"] == [False] * 4
    attempts.record(
        "gateway", "a credential that the upstream repeats", "a cell", "masked",
        "what is beside it comes back",
    )  # fmt: skip


def test_a_secret_that_is_replaced_counts_from_the_next_request_on(
    window: Agents, kubectl: Kubectl, kept: None
):
    """And one that is bound elsewhere counts no more; nothing is restarted."""
    code = (
        ASK
        + """
while True:
    print(*ask('/files.test/digest'), flush=True)
    time.sleep(0.1)
"""
    )
    run = window.running(code, egress=egress("keyed"))
    assert first_answer(window, kubectl, run) == f"200 {digest(SECRET)}"

    kubectl.apply(secret("another"))
    until_said(window, run, f"200 {digest('another')}")
    kubectl.apply(secret("another", hosts="model.test"))
    until_said(window, run, "403 credential-not-bound")
    kubectl.apply(secret("another", policies="team-other"))
    until_said(window, run, "403 credential-not-bound")
    kubectl.apply(secret(SECRET))
    until_said(window, run, f"200 {digest(SECRET)}")

    said = window.said(run).splitlines()
    assert set(said) == {
        f"200 {digest(SECRET)}", f"200 {digest('another')}", "403 credential-not-bound",
    }  # fmt: skip


def until_said(window: Agents, run: str, line: str) -> None:
    """Return once the agent was answered this last."""
    wait_for(lambda: window.said(run).splitlines()[-1] == line, 30, f"the answer '{line}'")


def test_without_its_secret_a_rule_passes_nothing(window: Agents):
    code = ASK + "tell(got=ask('/files.test/digest'))"

    run = window.end(window.submit(code, egress=egress("keyed")))

    assert told(run)["got"] == [503, "credential-missing"]


SIGNING = "anchorhold-signing-key"


def set_keys(kubectl: Kubectl, namespace: str, current: bytes, previous: bytes | None) -> None:
    """Write what signs tokens, as an administrator does."""
    both = {names.CURRENT_KEY: current, names.PREVIOUS_KEY: previous}
    data = {key: base64.b64encode(v).decode() if v is not None else None for key, v in both.items()}
    words = ("patch", "secret", SIGNING, "-n", namespace, "--type=merge", "-p")
    kubectl(*words, json.dumps({"data": data}))


@pytest.mark.long
def test_the_key_that_signs_tokens_is_replaced_without_ending_runs(
    window: Agents, kubectl: Kubectl
):
    """First in the gateway, then in the controller; a kubelet takes a minute for each."""
    kept = kubectl.get("secret", SIGNING, GATEWAY)
    assert kept is not None
    old, new = (
        base64.b64decode(kept["data"][names.CURRENT_KEY]),
        b"another key of thirty-two bytes.",
    )
    code = ASK_FOR_EVER.replace("PATH", "/model.test/v1/x").replace("0.1", "1")
    old_run = window.running(code, egress=egress("model"), activeDeadlineSeconds=300)
    try:
        set_keys(kubectl, GATEWAY, new, old)
        set_keys(kubectl, SYSTEM, new, None)
        new_run = wait_for(lambda: signed(window, new), 200, "a token that the new key signed")
        wait_for(lambda: 200 in statuses(window, new_run), 100, "the new token to be taken")
        asked = len(statuses(window, old_run))
        wait_for(lambda: len(statuses(window, old_run)) > asked + 2, 60, "the old run to ask again")
        answers = statuses(window, old_run)
    finally:
        for namespace in (GATEWAY, SYSTEM):
            set_keys(kubectl, namespace, old, None)
    assert set(answers) == {200}


def signed(window: Agents, key: bytes) -> str | None:
    """A new run that asks for ever, if its token is of this key; else none is left."""
    code = ASK_FOR_EVER.replace("PATH", "/model.test/v1/x")
    run = window.running(code, egress=egress("model"))
    pod = cell(window, run)
    if token_of(pod) == identity.token(key, window.get(run)["metadata"]["uid"]):
        return run
    window.author.delete("agentrun", run, TENANT, "--wait=true")
    return None
