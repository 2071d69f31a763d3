"""The whole controller, Kopf and all, against a server that counts, forgets and fails."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from anchorhold import __main__ as program
from anchorhold import names
from anchorhold.cluster import client
from anchorhold.controller.view import View
from anchorhold.policy import digest, identity, window
from anchorhold.policy.grant import Site
from wiring import fakeapi

NAMESPACE, NODE = "team-a", "node-1"
IMAGE = "registry.example.com/agent@sha256:" + "a" * 64
PROFILE = "anchorhold/agent-0123456789abcdef.json"
Manifest = dict[str, Any]
# What Kopf itself says goes by the controller's logs; a watch that is cut is nothing to fail on.
SECONDS = 20


def binding(admission_policy: str, *, action: str = "Deny") -> Manifest:
    """A binding as the API server returns one that the tenant chart made."""
    takes_policy = admission_policy in names.LIMITS_POLICIES
    parameter = {"name": "small", "namespace": "anchorhold-policies"}
    reference = {"paramRef": {**parameter, "parameterNotFoundAction": "Deny"}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": f"{admission_policy}.{NAMESPACE}"},
        "spec": {
            "policyName": admission_policy,
            **(reference if takes_policy else {}),
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "objectSelector": {},
                "matchPolicy": "Equivalent",
            },
            "validationActions": [action],
        },
    }


def policy(skills: Sequence[Manifest] = (), **limits: object) -> Manifest:
    usual = {
        "activeDeadlineSeconds": 60,
        "cpu": "1",
        "memory": "1Gi",
        "workspace": "1Gi",
        "activeRuns": 50,
        "queuedRuns": 50,
    }
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": "small", "namespace": "anchorhold-policies"},
        "spec": {
            "images": [{"reference": IMAGE}],
            "limits": {**usual, **limits},
            "skills": list(skills),
        },
    }


def run(name: str, **spec: object) -> Manifest:
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"task": "work", "image": IMAGE, **spec},
    }


def site(url: str) -> Site:
    """The installation. Whatever listens will do for a canary."""
    image = "registry.example.com/anchorhold@sha256:" + "e" * 64
    here = url.rpartition("/")[2]
    return Site(image=image, canary=here, closed=(), profile=PROFILE, gateways=1)


def in_a_thread(group: asyncio.TaskGroup, url: str, port: int) -> threading.Event:
    """Start the controller in a loop of its own, as Kopf ends whatever else is in its loop."""
    stop = threading.Event()

    def operate() -> None:
        asyncio.run(program.operate(client.Server(url), site(url), port, stop))

    group.create_task(asyncio.to_thread(operate))
    return stop


def admission_policy(name: str) -> Manifest:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"failurePolicy": "Fail", "validations": [{"expression": "true"}]},
    }


def default_deny(**spec: object) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": names.DEFAULT_DENY, "namespace": NAMESPACE},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], **spec},
    }


def sentinel(*, ready: bool = True, reached: str = "") -> Manifest:
    """The sentinel of the only node, ready, or with what it reached."""
    verdict = {"reason": "BoundaryOpen" if reached else "", "message": reached}
    ended = {"terminated": {"exitCode": 1, "message": json.dumps(verdict)}}
    missing = [{"what": "processes", "setting": "podPidsLimit"}]
    survey = {"terminated": {"exitCode": 0, "message": json.dumps(missing)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "sentinel",
            "namespace": names.SENTINEL_NAMESPACE,
            "labels": {"anchorhold.dev/component": "sentinel"},
        },
        "spec": {"nodeName": NODE},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready and not reached)}],
            "initContainerStatuses": [{"name": "survey", "state": survey}],
            "containerStatuses": [
                {"name": "sentinel", "state": {"waiting": {}}, "lastState": ended}
            ],
        },
    }


class Cluster:
    """An emulated cluster: its API, and a kubelet that runs what is there when it is told to."""

    def __init__(self, api: fakeapi.FakeApi) -> None:
        self.api = api
        api.store.now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251

    def onboard(self, **limits: object) -> None:
        self.api.put(policy(**limits))
        self.api.put(sentinel())
        self.api.put(default_deny())
        for name in names.LIMITS_POLICIES + names.FLOOR_POLICIES:
            self.api.put(admission_policy(name))
            self.api.put(binding(name))

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[None]:
        """The controller, from start to an orderly stop; if it ends early, so does the block."""
        async with asyncio.TaskGroup() as group:
            stop = in_a_thread(group, self.api.url, 0)
            try:
                yield
            finally:
                stop.set()

    def reason(self, name: str) -> str:
        found = self.api.get("agentruns", NAMESPACE, name)
        conditions = (found or {}).get("status", {}).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "Succeeded"), "")

    def message(self, name: str) -> str:
        found = self.api.get("agentruns", NAMESPACE, name)
        assert found is not None
        conditions = found["status"]["conditions"]
        return str(next(c["message"] for c in conditions if c["type"] == "Succeeded"))

    async def until(self, name: str, reason: str) -> None:
        await self.api.wait(lambda: self.reason(name) == reason, SECONDS)

    def cells(self) -> list[Manifest]:
        pods = self.api.objects("pods")
        return [p for p in pods if p["metadata"]["namespace"] != names.SENTINEL_NAMESPACE]

    def pod(self, run_name: str) -> Manifest | None:
        found = self.cells()
        mine = (p for p in found if p["metadata"]["ownerReferences"][0]["name"] == run_name)
        return next(mine, None)

    async def pod_of(self, run_name: str) -> str:
        await self.api.wait(lambda: self.pod(run_name), SECONDS)
        pod = self.pod(run_name)
        assert pod is not None
        return str(pod["metadata"]["name"])

    async def starts(self, run_name: str) -> None:
        """The kubelet starts the agent."""
        state = {"running": {"startedAt": "2026-11-25T10:00:00Z"}}
        self._kubelet(await self.pod_of(run_name), "Running", state)

    async def runs_on_the_node(self, run_name: str) -> None:
        """A new run, once its agent runs on the only node."""
        self.api.put(run(run_name))
        cell = await self.pod_of(run_name)
        self.api.patch("pods", NAMESPACE, cell, {"spec": {"nodeName": NODE}})
        await self.starts(run_name)
        await self.until(run_name, "Running")

    async def ends(self, run_name: str, code: int = 0) -> None:
        """The agent ends."""
        times = {"startedAt": "2026-11-25T10:00:00Z", "finishedAt": "2026-11-25T10:00:09Z"}
        state = {"terminated": {"exitCode": code, "reason": "", "message": "done", **times}}
        self._kubelet(await self.pod_of(run_name), "Failed" if code else "Succeeded", state)

    def _kubelet(self, pod: str, phase: str, state: Manifest) -> None:
        containers = [{"name": "agent", "state": state}]
        status = {"phase": phase, "containerStatuses": containers}
        self.api.patch_status("pods", NAMESPACE, pod, status)


@pytest.fixture
def cluster(api: fakeapi.FakeApi) -> Cluster:
    return Cluster(api)


def writes(api: fakeapi.FakeApi) -> dict[tuple[str, str], int]:
    return {call: n for call, n in api.calls.items() if call[0] in ("create", "patch", "delete")}


async def test_a_run_s_life_takes_four_writes(cluster: Cluster):
    """Task, Pod, running, ended: nothing else is written, and nothing twice."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")
        await cluster.ends("a")
        await cluster.until("a", "Completed")

    assert writes(cluster.api) == {
        ("create", "configmaps"): 1,
        ("create", "pods"): 1,
        ("patch", "agentruns/status"): 2,
    }


async def test_kopf_leaves_no_trace_on_a_run(cluster: Cluster):
    """No finalizer, which would keep a deleted run's cell alive, and no annotation."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")

    found = cluster.api.get("agentruns", NAMESPACE, "a")
    assert found is not None
    assert "finalizers" not in found["metadata"]
    assert "annotations" not in found["metadata"]


Break = Callable[[fakeapi.FakeApi], None]
FAULTS: list[tuple[str, Break]] = [
    (f"{verb} {resource} {status}{' after it was done' if applied else ''}",
     lambda api, v=verb, r=resource, s=status, a=applied: api.fail(v, r, s, applied=a))
    for verb, resource in (
        ("create", "configmaps"), ("create", "pods"), ("patch", "agentruns/status"),
        ("list", "pods"), ("list", "agentruns"), ("list", "agentpolicies"),
        ("list", "agentskills"), ("watch", "agentskills"),
        ("list", "validatingadmissionpolicybindings"), ("watch", "pods"), ("watch", "agentruns"),
    )
    for status in (500, 503, 429, 410)
    for applied in ((False, True) if verb in ("create", "patch") else (False,))
    # Kopf itself ends on these and is restarted: not a state to go on from.
    if not (resource == "agentruns" and status == 410)
]  # fmt: skip


@pytest.mark.parametrize("break_it", [pytest.param(f, id=name) for name, f in FAULTS])
async def test_whatever_fails_once_the_end_is_the_same(cluster: Cluster, break_it: Break):
    """One fault at each call: one ConfigMap, one Pod, and the same record."""
    cluster.onboard()
    break_it(cluster.api)
    async with asyncio.timeout(SECONDS * 2):
        await restarting(cluster, completes)

    assert cluster.reason("a") == "Completed"
    assert len(cluster.cells()) == 1
    assert len(cluster.api.objects("configmaps")) == 1
    found = cluster.api.get("agentruns", NAMESPACE, "a")
    assert found is not None
    assert found["status"]["exitCode"] == 0


async def restarting(cluster: Cluster, scene: Callable[[Cluster], Any]) -> None:
    """Play a scene; when the controller ends on a fault, start it again, as Kubernetes does."""
    while not await played(cluster, scene):
        pass


async def played(cluster: Cluster, scene: Callable[[Cluster], Any]) -> bool:
    """Whether the scene came to its end, and the controller with it."""
    try:
        async with cluster.controller():
            await scene(cluster)
    except* client.ApiError:
        return_value = False
    else:
        return_value = True
    return return_value


async def completes(cluster: Cluster) -> None:
    """A run, from its creation to its end."""
    if cluster.api.get("agentruns", NAMESPACE, "a") is None:
        cluster.api.put(run("a"))
    await cluster.starts("a")
    await cluster.ends("a")
    await cluster.until("a", "Completed")


async def test_a_restart_between_any_two_writes_changes_nothing(cluster: Cluster):
    """Stopped after the task, after the Pod, after the start: the rest is done, and only that."""
    cluster.onboard()
    cluster.api.put(run("a"))
    cluster.api.fail("create", "pods", 503, times=1000)
    async with cluster.controller():
        await cluster.api.wait(lambda: cluster.api.objects("configmaps"), SECONDS)
    cluster.api._faults.clear()  # noqa: SLF001  # the API server is well again
    async with cluster.controller():
        await cluster.pod_of("a")
    await cluster.starts("a")
    async with cluster.controller():
        await cluster.until("a", "Running")
    await cluster.ends("a")
    async with cluster.controller():
        await cluster.until("a", "Completed")

    assert len(cluster.cells()) == 1
    assert len(cluster.api.objects("configmaps")) == 1


def skill(text: str, **metadata: object) -> Manifest:
    """An AgentSkill that somebody reviewed."""
    files = {"SKILL.md": text}
    annotations = {names.REVIEWED_BY_ANNOTATION: "alice"}
    return {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentSkill",
        "metadata": {
            "name": "read-pdf",
            "namespace": names.POLICY_NAMESPACE,
            "annotations": annotations,
            **metadata,
        },
        "spec": {
            "description": "Reads.",
            "files": [{"path": path, "content": content} for path, content in files.items()],
            "digest": digest.of_texts(files),
        },
    }


async def test_a_run_with_a_skill_gets_a_config_map_of_its_own(cluster: Cluster):
    """Task, skills, Pod: the Pod last; what becomes of the AgentSkill then changes nothing."""
    cluster.onboard()
    listed = [{"name": "read-pdf", "digest": skill("# Read")["spec"]["digest"]}]
    cluster.api.put(policy(skills=listed))
    cluster.api.put(skill("# Read"))
    async with cluster.controller():
        cluster.api.put(run("a", skills=[{"name": "read-pdf"}]))
        await cluster.starts("a")
        await cluster.until("a", "Running")
        cluster.api.delete("agentskills", names.POLICY_NAMESPACE, "read-pdf")
        cluster.api.put(run("b", skills=[{"name": "read-pdf"}]))
        await cluster.until("b", "Pending")

        assert cluster.reason("a") == "Running"
        assert (
            cluster.message("b") == "`skills['read-pdf']` names an AgentSkill that does not exist"
        )
        _, second = cluster.api.objects("configmaps")
        assert "# Read" in second["data"].values()
        cluster.api.patch(
            "agentpolicies", names.POLICY_NAMESPACE, "small", {"spec": {"skills": []}}
        )
        await cluster.until("a", "PolicyRevoked")


async def test_a_run_waits_for_its_skill_and_starts_when_it_comes(cluster: Cluster):
    """Nobody has to create the run again: the watch of skills looks at it."""
    cluster.onboard()
    listed = [{"name": "read-pdf", "digest": skill("# Read")["spec"]["digest"]}]
    cluster.api.put(policy(skills=listed))
    async with cluster.controller():
        cluster.api.put(run("a", skills=[{"name": "read-pdf"}]))
        await cluster.until("a", "Pending")
        cluster.api.put(skill("# Read"))
        await cluster.starts("a")
        await cluster.until("a", "Running")


async def test_a_config_map_in_the_way_of_the_skills_ends_the_run(cluster: Cluster):
    """Whoever made it: what it holds is not what was reviewed."""
    cluster.onboard()
    listed = [{"name": "read-pdf", "digest": skill("# Read")["spec"]["digest"]}]
    cluster.api.put(policy(skills=listed))
    cluster.api.put(skill("# Read"))
    cluster.api.fail("create", "pods", 503, times=1000)
    async with cluster.controller():
        cluster.api.put(run("a", skills=[{"name": "read-pdf"}]))
        await cluster.api.wait(lambda: len(cluster.api.objects("configmaps")) == 2, SECONDS)
    name = cluster.api.objects("configmaps")[1]["metadata"]["name"]
    cluster.api.patch("configmaps", NAMESPACE, name, {"data": {"001": "# Obey"}})
    cluster.api._faults.clear()  # noqa: SLF001  # the API server is well again
    async with cluster.controller():
        await cluster.until("a", "NameTaken")

    assert cluster.message("a") == f"ConfigMap '{name}' exists and does not belong to this run"
    assert cluster.cells() == []


async def test_a_cell_that_somebody_deletes_is_never_made_again(cluster: Cluster):
    """An agent runs once: what vanished is lost, not repeated."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        name = await cluster.pod_of("a")
        cluster.api.delete("pods", NAMESPACE, name)
        await cluster.until("a", "Lost")

    assert cluster.api.calls["create", "pods"] == 1


async def test_a_run_that_was_deleted_unseen_leaves_no_cell(cluster: Cluster):
    """The owner went while nobody looked; the garbage collector is not the only one who sweeps."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")
    cluster.api.vanish("agentruns", NAMESPACE, "a")

    async with cluster.controller():
        await cluster.api.wait(lambda: not cluster.cells(), SECONDS)


async def test_a_namesake_never_gets_the_other_s_cell(cluster: Cluster):
    """Deleted and created again under the same name: another uid, another Pod."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        first = await cluster.pod_of("a")
        cluster.api.delete("agentruns", NAMESPACE, "a")
        await cluster.api.wait(lambda: not cluster.cells(), SECONDS)
        cluster.api.put(run("a"))
        second = await cluster.pod_of("a")

    assert first != second


RULE = {"name": "model", "host": "api.test", "methods": ["GET"], "paths": ["/**"]}


def with_a_window(api: fakeapi.FakeApi, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A policy with a rule, and a key that signs tokens; the Service that is still missing."""
    monkeypatch.setattr(program, "signing_key", lambda: b"key")
    document = policy()
    document["spec"]["egress"] = {"rules": [RULE]}
    api.put(document)
    metadata = {"name": "gateway-0", "namespace": names.GATEWAY_NAMESPACE}
    spec = {"clusterIP": "10.96.0.30"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


async def test_a_run_with_egress_gets_its_opening_before_its_pod_and_a_token(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    """The Service of its gateway is looked up then; without one the run waits and says so."""
    cluster.onboard()
    service = with_a_window(cluster.api, monkeypatch)
    async with cluster.controller():
        cluster.api.put(run("a", egress={"rules": [{"name": "model"}]}))
        await cluster.until("a", "Pending")
        assert cluster.pod("a") is None
        cluster.api.put(service)
        name = await cluster.pod_of("a")

    made = [call.resource for call in cluster.api.requests if call.verb == "create"]
    assert made.index("networkpolicies") < made.index("pods")
    opening, pod = cluster.api.get("networkpolicies", NAMESPACE, name), cluster.pod("a")
    assert opening is not None and pod is not None  # noqa: PT018
    uid = pod["metadata"]["ownerReferences"][0]["uid"]
    assert opening["spec"] == window.opening(uid, "gateway-0")
    assert opening["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]
    environment = {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
    assert environment["ANCHORHOLD_GATEWAY"] == "10.96.0.30:8080"
    assert identity.owner(environment["ANCHORHOLD_TOKEN"], [b"key"]) == uid


async def test_an_opening_that_is_not_ours_is_not_taken_for_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.onboard()
    cluster.api.put(with_a_window(cluster.api, monkeypatch))
    made = cluster.api.put(run("a", egress={"rules": [{"name": "model"}]}))
    closed = default_deny()
    closed["metadata"]["name"] = names.child_name("a", made["metadata"]["uid"])
    cluster.api.put(closed)
    async with cluster.controller():
        await cluster.until("a", "NameTaken")

    assert cluster.pod("a") is None


async def test_somebody_else_s_config_map_is_not_taken_for_the_task(cluster: Cluster):
    """Whoever may create ConfigMaps could put another task in the way."""
    cluster.onboard()
    made = cluster.api.put(run("a"))
    name = names.child_name("a", made["metadata"]["uid"])
    forged = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "immutable": True,
        "data": {"task": "something else"},
    }
    cluster.api.put(forged)

    async with cluster.controller():
        await cluster.until("a", "NameTaken")

    assert cluster.cells() == []
    assert name in cluster.message("a")


async def test_a_binding_that_only_warns_is_a_missing_fence(cluster: Cluster):
    """The namespace has all bindings, but one does not deny: nothing starts there."""
    cluster.onboard()
    cluster.api.put(binding("anchorhold-pod-limits", action="Warn"))
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.until("a", "Pending")

    assert "anchorhold-pod-limits" in cluster.message("a")
    assert cluster.cells() == []


async def test_a_denial_by_admission_is_shown_and_tried_again(cluster: Cluster):
    """The API server may not have read the policy yet: our own Grant is not taken back."""
    cluster.onboard()
    cluster.api.fail("create", "pods", 422, times=2)
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.until("a", "Pending")
        await cluster.starts("a")
        await cluster.until("a", "Running")

    assert cluster.api.calls["create", "pods"] == 3


async def test_a_quota_that_many_change_at_once_denies_nobody(cluster: Cluster):
    """Its conflict says nothing of the name, which is not taken and not missing: we ask again."""
    said: list[str] = []
    cluster.onboard()
    cluster.api.fail("create", "pods", 409, times=2)

    def hear(*_: object) -> None:
        said.extend(str(found.get("status")) for found in cluster.api.objects("agentruns"))

    cluster.api.store.listeners.append(hear)
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")

    assert cluster.api.calls["create", "pods"] == 3
    assert [words for words in said if "not found" in words] == []


async def test_a_burst_never_exceeds_what_may_be_active(cluster: Cluster):
    """Ten at once under `activeRuns: 2`: never more than two cells that have not ended."""
    cluster.onboard(activeRuns=2)
    most = 0

    def count(*_: object) -> None:
        nonlocal most
        pods = cluster.cells()
        phases = [p.get("status", {}).get("phase") for p in pods]
        most = max(most, sum(phase != "Succeeded" for phase in phases))

    cluster.api.store.listeners.append(count)
    async with cluster.controller():
        for number in range(10):
            cluster.api.put(run(f"r{number}"))
        for left in range(10, 0, -1):
            cells = min(left, 2)
            await cluster.api.wait(lambda n=cells: len(waiting(cluster)) == n, SECONDS)
            await cluster.ends(waiting(cluster)[0])
        for number in range(10):
            await cluster.until(f"r{number}", "Completed")

    assert most == 2


def waiting(cluster: Cluster) -> list[str]:
    """The runs whose cell has not ended."""
    pods = [p for p in cluster.cells() if p.get("status", {}).get("phase") is None]
    return [p["metadata"]["ownerReferences"][0]["name"] for p in pods]


async def test_nobody_takes_a_place_whose_cell_is_just_being_made(cluster: Cluster):
    """Given a run of the same second that comes later and sorts before it, then that one waits."""
    cluster.onboard(activeRuns=1)
    late = run("late")
    late["metadata"]["uid"] = "00000000-0000-4000-8000-000000000000"
    async with cluster.controller():
        cluster.api.put(run("before"))
        await cluster.ends("before")
        await cluster.until("before", "Completed")
        made = cluster.api.calls["create", "configmaps"]
        cluster.api.latency = 0.3
        cluster.api.put(run("first"))
        await cluster.api.wait(lambda: cluster.api.calls["create", "configmaps"] > made, SECONDS)
        cluster.api.put(late)
        await cluster.until("late", "Queued")
        await cluster.pod_of("first")

    assert cluster.pod("late") is None


async def test_a_run_beyond_the_queue_is_refused(cluster: Cluster):
    """One active, one waiting, and the third is told so."""
    cluster.onboard(activeRuns=1, queuedRuns=1)
    for number in range(3):
        cluster.api.put(run(f"r{number}"))
    async with cluster.controller():
        await cluster.api.wait(
            lambda: (
                sorted(cluster.reason(f"r{n}") for n in range(3)) == ["", "PolicyRefused", "Queued"]
            ),
            SECONDS,
        )


async def test_the_end_of_one_run_starts_the_next(cluster: Cluster):
    """Nobody has to poke the controller."""
    cluster.onboard(activeRuns=1)
    async with cluster.controller():
        cluster.api.put(run("first"))
        await cluster.starts("first")
        cluster.api.put(run("second"))
        await cluster.until("second", "Queued")
        await cluster.ends("first")
        await cluster.starts("second")
        await cluster.until("second", "Running")


async def test_the_probes_and_the_metrics_answer(cluster: Cluster):
    """Ready only when all is listed; every figure has its controller-runtime name."""
    port = 18_080
    cluster.onboard()
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as http:
        stop = in_a_thread(group, cluster.api.url, port)

        async def ask(path: str) -> tuple[int, str]:
            async with http.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()

        await cluster.api.wait(lambda: cluster.api.watching("agentruns"), SECONDS)
        while (ready := await ask("/readyz"))[0] != 200:
            await asyncio.sleep(0.01)
        healthy, figures = [await ask(p) for p in ("/healthz", "/metrics")]
        stop.set()

    assert healthy[0] == 200
    assert ready[0] == 200
    assert "workqueue_depth" in figures[1]
    assert 'api_requests_total{code="200",resource="agentruns",verb="list"}' in figures[1]


async def test_a_namespace_that_is_not_bound_any_more_is_left(
    cluster: Cluster, kube: client.Client, start: fakeapi.Start
):
    """At the next list of all runs, its Pods are not watched any longer; the sentinels are."""
    cluster.onboard()
    view = View(kube, lambda _: None, random.Random(1), site(cluster.api.url))  # noqa: S311
    start(view.run(lambda: None))
    await cluster.api.wait(lambda: cluster.api.watching("pods") == 2, SECONDS)
    for name in names.LIMITS_POLICIES + names.FLOOR_POLICIES:
        cluster.api.delete("validatingadmissionpolicybindings", None, f"{name}.{NAMESPACE}")
    await cluster.api.wait(lambda: not view.bindings.store, SECONDS)

    await view.resync()

    await cluster.api.wait(lambda: cluster.api.watching("pods") == 1, SECONDS)
    assert view.pods == {}


async def test_a_cell_that_is_on_its_way_out_still_counts(cluster: Cluster):
    """Its run is deleted, and it has its grace period: the next one waits until it is gone."""
    cluster.onboard(activeRuns=1)
    cluster.api.linger("pods")
    seen: list[int] = []
    cluster.api.store.listeners.append(lambda *_: seen.append(len(cluster.cells())))
    async with cluster.controller():
        cluster.api.put(run("first"))
        first = await cluster.pod_of("first")
        cluster.api.put(run("second"))
        await cluster.until("second", "Queued")
        cluster.api.delete("agentruns", NAMESPACE, "first")
        await everything_is_looked_at(cluster)
        cluster.api.remove("pods", NAMESPACE, first)
        await cluster.pod_of("second")

    assert max(seen) == 1


async def everything_is_looked_at(cluster: Cluster) -> None:
    """A new list of the Pods makes the controller look; the run that comes after it is later.

    Those of the cells, and those of the sentinels.
    """
    before = cluster.api.calls["list", "pods"]
    cluster.api.compact()
    cluster.api.break_watches("pods", 410)
    await cluster.api.wait(lambda: cluster.api.calls["list", "pods"] > before + 1, SECONDS)
    cluster.api.put(run("later"))
    await cluster.until("later", "Queued")


def suspended(api: fakeapi.FakeApi) -> None:
    api.patch("agentpolicies", "anchorhold-policies", "small", {"spec": {"suspend": True}})


def without_policy(api: fakeapi.FakeApi) -> None:
    api.delete("agentpolicies", "anchorhold-policies", "small")


def without_image(api: fakeapi.FakeApi) -> None:
    api.patch("agentpolicies", "anchorhold-policies", "small", {"spec": {"images": []}})


def without_wall(api: fakeapi.FakeApi) -> None:
    api.delete("networkpolicies", NAMESPACE, names.DEFAULT_DENY)


def with_a_hole(api: fakeapi.FakeApi) -> None:
    api.put(default_deny(egress=[{}]))


def without_binding(api: fakeapi.FakeApi) -> None:
    api.delete("validatingadmissionpolicybindings", None, f"anchorhold-run-limits.{NAMESPACE}")


def with_a_binding_that_warns(api: fakeapi.FakeApi) -> None:
    api.put(binding("anchorhold-pod-floor", action="Warn"))


def without_admission(api: fakeapi.FakeApi) -> None:
    api.delete("validatingadmissionpolicies", None, "anchorhold-pod-floor")


DAMAGE = [
    suspended, without_policy, without_image, without_wall, with_a_hole, without_binding,
    with_a_binding_that_warns, without_admission,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_running_agent_is_ended_when_what_holds_it_goes(cluster: Cluster, damage: Break):
    """Its record says why, and its cell goes."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")

        damage(cluster.api)

        await cluster.until("a", "PolicyRevoked")
        await cluster.api.wait(lambda: not cluster.cells(), SECONDS)


@pytest.mark.parametrize("damage", DAMAGE)
async def test_nothing_new_starts_where_what_holds_it_is_gone(cluster: Cluster, damage: Break):
    """The run waits or is refused; no cell is made."""
    cluster.onboard()
    damage(cluster.api)
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.api.wait(lambda: cluster.reason("a") in ("Pending", "PolicyRefused"), SECONDS)

    assert cluster.cells() == []


async def test_a_run_is_judged_though_its_config_map_may_not_be_read(cluster: Cluster):
    """As it is where the tenant's release is gone, and the controller's rights with it."""
    cluster.onboard()
    with_a_config_map = run("a", inputs=[{"name": "data", "configMap": {"name": "data"}}])
    without_binding(cluster.api)
    cluster.api.fail("get", "configmaps", 403, times=1_000)
    async with cluster.controller():
        cluster.api.put(with_a_config_map)
        await cluster.api.wait(lambda: cluster.reason("a") == "Pending", SECONDS)

        assert "has no binding of anchorhold-run-limits" in cluster.message("a")


async def test_a_loosened_policy_changes_no_running_agent(cluster: Cluster):
    """Nothing is written to it or to its Pod."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")
        before = writes(cluster.api)
        cluster.api.put(policy(activeDeadlineSeconds=3_600, memory="8Gi"))
        cluster.api.put(run("b"))
        await cluster.starts("b")
        await cluster.until("b", "Running")

    patched = {call: n for call, n in writes(cluster.api).items() if call[1] == "pods"}
    assert patched == {("create", "pods"): before["create", "pods"] + 1}


async def test_a_shorter_deadline_shortens_a_running_agent_once(cluster: Cluster):
    """The kubelet then ends it in time."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("a"))
        await cluster.starts("a")
        await cluster.until("a", "Running")
        cluster.api.put(policy(activeDeadlineSeconds=20))
        await cluster.api.wait(lambda: deadline(cluster) == 20, SECONDS)
        cluster.api.put(run("b"))
        await cluster.starts("b")

    assert cluster.api.calls["patch", "pods"] == 1


def deadline(cluster: Cluster) -> int:
    pod = cluster.pod("a")
    assert pod is not None
    return int(pod["spec"]["activeDeadlineSeconds"])


async def test_cancel_ends_a_run_and_keeps_its_record(cluster: Cluster):
    """Running or waiting: the Pod goes, the run stays."""
    cluster.onboard(activeRuns=1)
    async with cluster.controller():
        cluster.api.put(run("running"))
        await cluster.starts("running")
        cluster.api.put(run("waiting"))
        await cluster.until("waiting", "Queued")
        for name in ("waiting", "running"):
            cluster.api.patch("agentruns", NAMESPACE, name, {"spec": {"cancel": True}})
            await cluster.until(name, "Cancelled")
        await cluster.api.wait(lambda: not cluster.cells(), SECONDS)


async def test_a_run_deletes_itself_when_its_time_to_live_is_over(cluster: Cluster):
    """And not before the policy lets it: the other one has to be kept."""
    cluster.onboard()
    async with cluster.controller():
        cluster.api.put(run("short", ttlSecondsAfterFinished=0))
        cluster.api.put(run("kept"))
        await cluster.ends("short")
        await cluster.ends("kept")
        await cluster.until("kept", "Completed")
        await cluster.api.wait(
            lambda: cluster.api.get("agentruns", NAMESPACE, "short") is None, SECONDS
        )

    assert cluster.reason("kept") == "Completed"


async def test_who_asked_is_in_the_record(cluster: Cluster):
    """As admission stamped it."""
    cluster.onboard()
    made = run("a")
    made["metadata"]["annotations"] = {names.REQUESTED_BY_ANNOTATION: "alice"}
    async with cluster.controller():
        cluster.api.put(made)
        await cluster.starts("a")
        await cluster.until("a", "Running")

    found = cluster.api.get("agentruns", NAMESPACE, "a")
    assert found is not None
    assert found["status"]["requestedBy"] == "alice"


async def test_a_run_on_a_node_that_opens_is_ended_and_none_starts_until_it_is_closed(
    cluster: Cluster,
):
    """Its sentinel got out; the next run waits, and starts when the sentinel finds it closed."""
    cluster.onboard()
    async with cluster.controller():
        await cluster.runs_on_the_node("first")
        cluster.api.put(sentinel(reached="10.96.0.1:443"))
        await cluster.until("first", "BoundaryOpen")
        await cluster.api.wait(lambda: not cluster.cells(), SECONDS)
        cluster.api.put(run("second"))
        await cluster.until("second", "Pending")
        waiting_for = cluster.message("second")
        cluster.api.put(sentinel())
        await cluster.pod_of("second")

    first = cluster.api.get("agentruns", NAMESPACE, "first")
    assert first is not None
    assert first["status"]["unenforced"] == [{"what": "processes", "setting": "podPidsLimit"}]
    assert "10.96.0.1:443" in cluster.message("first")
    assert cluster.api.graces == [1]
    assert "node 'node-1' is open: 10.96.0.1:443" in waiting_for


@pytest.mark.parametrize("change", ["is deleted", "is not ready"])
async def test_a_sentinel_that_says_nothing_ends_nothing_and_lets_none_start(
    cluster: Cluster, change: str
):
    """Evicted, late or lost: it proves nothing about the cells that are there."""
    cluster.onboard()
    async with cluster.controller():
        await cluster.runs_on_the_node("first")
        if change == "is deleted":
            cluster.api.delete("pods", names.SENTINEL_NAMESPACE, "sentinel")
        else:
            cluster.api.put(sentinel(ready=False))
        cluster.api.put(run("second"))
        await cluster.until("second", "Pending")
        await cluster.ends("first")
        await cluster.until("first", "Completed")
        message = cluster.message("second")
        cluster.api.put(sentinel())
        await cluster.pod_of("second")

    assert "no node has a sentinel that is ready" in message
