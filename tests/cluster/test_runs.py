"""What becomes of a run, on the real node."""

import hashlib
import json

import pytest

from agents import Agents, both_tiers, condition
from bed import profile
from bed.kube import Kubectl

WRITE = "import os,sys; open(os.environ['ANCHORHOLD_RESULT'],'w').write({!r}); sys.exit({})"
SLEEP = "import time; time.sleep(600)"


@both_tiers
def test_a_run_completes_and_its_result_is_in_the_status(agents: Agents):
    """What the agent wrote, its exit code, its times and its limits are all in the record."""
    name = agents.submit(WRITE.format("42 is the answer", 0))

    run = agents.end(name)

    status = run["status"]
    assert condition(run)["reason"] == "Completed"
    assert status["exitCode"] == 0
    digest = "sha256:" + hashlib.sha256(b"42 is the answer").hexdigest()
    assert status["result"] == {
        "message": "42 is the answer", "truncated": False, "digest": digest,
    }  # fmt: skip
    assert status["startTime"] <= status["completionTime"]
    assert [policy["name"] for policy in status["policies"]] == [agents.namespace]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Accepted": "True", "Succeeded": "True", "Ready": "True", "Stalled": "False",
    }  # fmt: skip


def test_a_run_that_leaves_all_out_gets_the_policys_defaults(agents: Agents):
    """And its limit where it has no default; a digest is over all of it."""
    name = agents.submit("")

    run = agents.end(name)

    effective = run["status"]["effective"]
    assert effective.pop("digest").startswith("sha256:")
    assert effective == {
        "image": agents.image, "activeDeadlineSeconds": 200, "cpu": "100m", "memory": "64Mi",
        "workspace": "64Mi", "isolation": "UserNamespace", "runtimeClassName": "",
        "seccomp": profile.NAME, "inputs": [], "skills": [], "rules": [],
    }  # fmt: skip


@both_tiers
def test_a_failing_agent_is_a_failed_run_with_its_exit_code(agents: Agents):
    """Exit code 3 is the agent's own, and what it wrote before is kept."""
    name = agents.submit(WRITE.format("half of it", 3))

    run = agents.end(name)

    assert condition(run)["reason"] == "AgentFailed"
    assert condition(run, "Stalled")["status"] == "True"
    assert run["status"]["exitCode"] == 3
    assert run["status"]["result"]["message"] == "half of it"


@pytest.mark.long
@both_tiers
def test_a_run_that_outlives_its_deadline_is_ended(agents: Agents):
    """The kubelet ends it; the record says that the agent did not end by itself."""
    name = agents.submit(SLEEP, activeDeadlineSeconds=15)

    run = agents.end(name)

    assert condition(run)["reason"] == "DeadlineExceeded"
    assert "exitCode" not in run["status"]


def test_a_deadline_that_is_over_before_the_agent_starts_is_told_as_that(agents: Agents):
    """The netgate alone needs more: whoever reads the record looks for no fault of the node."""
    name = agents.submit(SLEEP, activeDeadlineSeconds=2, resources={"cpu": "10m"})

    run = agents.end(name)

    assert condition(run)["reason"] == "DeadlineExceeded"
    assert condition(run)["message"].startswith("the agent never started")
    assert "startTime" not in run["status"]


@both_tiers
def test_an_agent_that_takes_too_much_memory_is_ended(agents: Agents):
    """The limit is the cgroup's, so the kernel ends it."""
    name = agents.submit("x = bytearray(200 * 2**20); print(len(x))")

    run = agents.end(name)

    assert condition(run)["reason"] == "OutOfMemory"


@both_tiers
def test_the_same_agent_completes_with_enough_memory(agents: Agents):
    """The control: it was the limit that ended it."""
    name = agents.submit("x = bytearray(200 * 2**20); print(len(x))", resources={"memory": "256Mi"})

    run = agents.end(name)

    assert condition(run)["reason"] == "Completed"


@pytest.mark.long
@both_tiers
def test_an_agent_that_fills_its_workspace_is_ended(agents: Agents):
    """64 MiB are allowed, and it writes as long as it is let."""
    fill = (
        "import time\n"
        "with open('/workspace/fill', 'wb', 0) as f:\n"
        "    while True:\n"
        "        f.write(bytes(2**20)) if f.tell() < 200 * 2**20 else time.sleep(1)\n"
    )
    name = agents.submit(fill)

    run = agents.end(name)

    assert condition(run)["reason"] == "DiskExceeded"


def test_a_result_is_only_text(agents: Agents):
    """A long, hostile result is cut to its last 4096 bytes, and its escapes are harmless."""
    hostile = "A" * 5_000 + '\x1b[2J\x00{"phase": "Succeeded"}'
    name = agents.submit(WRITE.format(hostile, 0))

    run = agents.end(name)

    result = run["status"]["result"]
    assert result["truncated"]
    assert result["message"].endswith(r'\x1b[2J\x00{"phase": "Succeeded"}')
    assert result["digest"] == "sha256:" + hashlib.sha256(result["message"].encode()).hexdigest()


LOOK = """# Look around: $(HOME)
import json, os
def tried(do):
    try: do(); return 'ok'
    except OSError as e: return e.strerror
def status(key):
    return next(l.split()[1] for l in open('/proc/self/status') if l.startswith(key))
seen = {
    'uid': os.getuid(), 'gid': os.getgid(), 'groups': os.getgroups(),
    'uid_map': open('/proc/self/uid_map').read().split(),
    'caps': status('CapEff'), 'nnp': status('NoNewPrivs'), 'seccomp': status('Seccomp:'),
    'token': os.path.exists('/var/run/secrets/kubernetes.io'),
    'services': sorted(k for k in os.environ if '_SERVICE_HOST' in k and 'KUBERNETES' not in k),
    'nameserver': open('/etc/resolv.conf').read().split(),
    'root': tried(lambda: open('/x', 'w')),
    'task': tried(lambda: open('/run/anchorhold/task', 'w')),
    'workspace': tried(lambda: open('/workspace/x', 'w')),
    'tmp': tried(lambda: open('/tmp/x', 'w')),
    'text': open('/run/anchorhold/task').readline(),
    'env': os.environ['LITERAL'], 'home': os.environ['HOME'],
}
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(seen))
"""


def test_a_cell_is_sealed_as_it_says(agents: Agents):
    """Seen from inside: no root, no capability, no token, no writable root, nothing expanded."""
    name = agents.submit(LOOK, env=[{"name": "LITERAL", "value": "$(HOME) $$ $x"}])

    run = agents.end(name)

    seen = json.loads(run["status"]["result"]["message"])
    host_uid = int(seen.pop("uid_map")[1])
    assert host_uid >= 65_536, "root in the cell must be nobody on the node"
    assert seen == {
        "uid": 65532, "gid": 65532, "groups": [65532],
        "caps": "0000000000000000", "nnp": "1", "seccomp": "2",
        "token": False, "services": [], "nameserver": ["nameserver", "127.0.0.1"],
        "root": "Read-only file system", "task": "Read-only file system",
        "workspace": "ok", "tmp": "ok",
        "text": "# Look around: $(HOME)\n", "env": "$(HOME) $$ $x", "home": "/workspace",
    }  # fmt: skip


READ = """
import json, os
def read(path):
    with open(path) as f: return f.read()
def tried(do):
    try: do(); return 'ok'
    except OSError as e: return e.strerror
seen = {'map': read('/inputs/settings/key'), 'claim': read('/inputs/tree/file'),
        'image': os.path.isdir('/inputs/image/usr')}
seen['writes'] = [tried(lambda: open(f'/inputs/{n}/x', 'w')) for n in ('settings', 'tree', 'image')]
open(os.environ['ANCHORHOLD_RESULT'], 'w').write(json.dumps(seen))
"""


@both_tiers
def test_an_agent_reads_its_inputs_and_cannot_write_them(agents: Agents, claim: str, settings: str):
    """A ConfigMap, a claim and an image, each under its own name; what was read is recorded."""
    inputs = [
        {"name": "settings", "configMap": {"name": settings}},
        {"name": "tree", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "image", "image": {"reference": agents.image}},
    ]
    name = agents.submit(READ, inputs=inputs)

    run = agents.end(name)

    seen = json.loads(run["status"]["result"]["message"])
    # gVisor asks who owns a file before it asks whether the mount is read-only.
    assert set(seen.pop("writes")) <= {"Read-only file system", "Permission denied"}
    assert seen == {"map": "value", "claim": "content\n", "image": True}
    recorded = {item["name"]: item for item in run["status"]["effective"]["inputs"]}
    assert recorded["settings"]["digest"].startswith("sha256:")
    assert recorded["tree"]["source"] == f"PersistentVolumeClaim/{claim}"


@pytest.mark.long
def test_runs_beyond_the_policy_wait_for_their_turn(agents: Agents, kubectl: Kubectl):
    """Seven runs under `activeRuns: 5`: five have cells, two wait, and all come to their end."""
    names = [agents.submit("import time; time.sleep(8)") for _ in range(7)]
    waiting = [agents.until(name, "Queued") for name in names[5:]]

    cells = [name for name in names if agents.pods(name)]
    ended = [condition(agents.end(name))["reason"] for name in names]

    assert all(condition(run, "Accepted")["status"] == "True" for run in waiting)
    assert cells == names[:5]
    assert ended == ["Completed"] * 7


def test_kubectl_get_shows_what_a_person_wants_to_know(agents: Agents):
    """STATUS, POLICY, AGE and DEADLINE, by the short name."""
    name = agents.submit("", activeDeadlineSeconds=77)
    agents.end(name)

    header, line = agents.author("get", "arun", name, "-n", agents.namespace).splitlines()

    assert header.split() == ["NAME", "STATUS", "POLICY", "AGE", "DEADLINE"]
    assert line.split()[1:3] == ["Completed", agents.namespace]
    assert line.split()[4] == "77"
