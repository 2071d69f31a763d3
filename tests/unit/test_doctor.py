"""What `doctor` makes of what it sees: nothing that could not be seen is called good."""

import copy
from typing import Any

import pytest
from click.testing import CliRunner

from anchorhold import names
from anchorhold.cli import api
from anchorhold.cli.doctor import checks, command
from anchorhold.cli.doctor.checks import Seen, State, all_findings

Document = dict[str, Any]
FEATURES = {"userNamespaces": True, "recursiveReadOnlyMounts": True}


def named(name: str, namespace: str = "", **more: object) -> Document:
    return {"metadata": {"name": name, "namespace": namespace}, **more}


def binding(policy: str, **spec: object) -> Document:
    selector = {"matchLabels": {names.NAMESPACE_LABEL: "team-a"}}
    whole = {
        "policyName": policy,
        "matchResources": {"namespaceSelector": selector},
        "validationActions": ["Deny"],
        **spec,
    }
    return named(f"{policy}.team-a", spec=whole)


def healthy() -> Seen:
    """An installation with nothing to complain of."""
    fences = (*names.LIMITS_POLICIES, *names.FLOOR_POLICIES)
    policies = ("anchorhold-onboarding", *fences)
    param: Document = {"paramRef": {"name": "team-a"}}
    info = {"kubeletVersion": "v1.37.2", "containerRuntimeVersion": "containerd://2.4.2"}
    status = {"nodeInfo": info, "runtimeHandlers": [{"name": "", "features": FEATURES}]}
    labels = {names.TENANT_LABEL: "team-a", "pod-security.kubernetes.io/enforce": "restricted"}
    team = named("team-a")
    team["metadata"]["labels"] = labels
    items = {
        "nodes": [named("node1", status=status)],
        "namespaces": [team, named("default")],
        "daemonsets": [
            named("kube-router", status={"desiredNumberScheduled": 2, "numberReady": 2}),
            named(names.SENTINEL, status={"desiredNumberScheduled": 2, "numberReady": 2}),
            named("anchorhold-seccomp", status={"desiredNumberScheduled": 2, "numberReady": 2}),
        ],
        "deployments": [
            named(name, spec={"replicas": 1}, status={"readyReplicas": 1})
            for name in (names.CONTROLLER, names.CANARY)
        ],
        "statefulsets": [named(names.GATEWAY, spec={}, status={"readyReplicas": 1})],
        "networkpolicies": [named(names.DEFAULT_DENY, "team-a")],
        "validatingadmissionpolicies": [
            named(name, spec={}, status={"typeChecking": {}}) for name in policies
        ],
        "validatingadmissionpolicybindings": [
            binding(name, **(param if name in names.LIMITS_POLICIES else {})) for name in fences
        ],
        "agentpolicies": [named("team-a", spec={})],
    }
    return Seen("v1.37.2", items, {})


def test_nothing_is_said_of_what_is_well():
    found = all_findings(healthy())

    assert {each.state for each in found} == {State.GOOD}
    assert {each.remedy for each in found} == {""}
    assert len(found) > 15


def drop(kind: str, name: str) -> Any:  # noqa: ANN401
    def change(seen: Seen) -> None:
        items = seen.items[kind]
        items[:] = [item for item in items if item["metadata"]["name"] != name]

    return change


def put(kind: str, place: int, *path: str, value: object) -> Any:  # noqa: ANN401
    def change(seen: Seen) -> None:
        where: Any = seen.items[kind][place]
        for key in path[:-1]:
            where = where.setdefault(key, {})
        where[path[-1]] = value

    return change


OLD = {"kubeletVersion": "v1.35.9", "containerRuntimeVersion": "containerd://1.7"}
ILLS = [
    ("kubelet of node1", "v1.35.9", put("nodes", 0, "status", "nodeInfo", value=OLD)),
    ("user namespaces on node1", "containerd",
     put("nodes", 0, "status", "runtimeHandlers", value=[])),
    (names.CONTROLLER, "0 of 1 ready", drop("deployments", names.CONTROLLER)),
    (names.CANARY, "0 of 1 ready", put("deployments", 1, "status", value={})),
    (names.SENTINEL, "1 of 2 ready", put("daemonsets", 1, "status", "numberReady", value=1)),
    (names.GATEWAY, "0 of 1 ready", put("statefulsets", 0, "status", value={})),
    ("anchorhold-pod-floor", "missing",
     drop("validatingadmissionpolicies", "anchorhold-pod-floor")),
    ("anchorhold-onboarding", "fails open",
     put("validatingadmissionpolicies", 0, "spec", "failurePolicy", value="Ignore")),
    ("anchorhold-onboarding", "type warnings",
     put("validatingadmissionpolicies", 0, "status", "typeChecking",
         value={"expressionWarnings": [1]})),
    ("fence of team-a", "anchorhold-pod-limits",
     drop("validatingadmissionpolicybindings", "anchorhold-pod-limits.team-a")),
    ("fence of team-a", "anchorhold-run-limits",
     put("validatingadmissionpolicybindings", 0, "spec", "validationActions", value=["Audit"])),
    ("fence of team-a", "'team-a' does not exist", drop("agentpolicies", "team-a")),
    ("fence of team-a", "'team-a' is suspended",
     put("agentpolicies", 0, "spec", "suspend", value=True)),
    ("fence of team-a", names.DEFAULT_DENY, drop("networkpolicies", names.DEFAULT_DENY)),
    ("fence of team-a", "Pod Security",
     put("namespaces", 0, "metadata", "labels", value={names.TENANT_LABEL: "x"})),
]  # fmt: skip


@pytest.mark.parametrize(("what", "seen", "harm"), ILLS, ids=[f"{i[0]}: {i[1]}" for i in ILLS])
def test_each_ill_is_found_with_what_to_do_and_nothing_else_is(what: str, seen: str, harm: Any):  # noqa: ANN401
    state = copy.deepcopy(healthy())
    harm(state)

    bad = {each.what: each for each in all_findings(state) if each.state != State.GOOD}

    beside = {
        "user namespaces on node1": {"recursive read-only mounts on node1"},
        names.SENTINEL: {"network enforcer"},
    }
    expected = {what} | beside.get(what, set())
    assert set(bad) == expected
    assert bad[what].state == State.BAD
    assert seen in bad[what].seen
    assert bad[what].remedy


@pytest.mark.parametrize(
    ("daemon", "state"),
    [("kube-flannel-ds", State.BAD), ("kube-router", State.UNKNOWN), ("any", State.UNKNOWN)],
)
def test_without_a_sentinel_names_are_a_hint_and_no_more(daemon: str, state: State):
    seen = copy.deepcopy(healthy())
    put("daemonsets", 0, "metadata", "name", value=daemon)(seen)
    drop("daemonsets", names.SENTINEL)(seen)

    found = {each.what: each.state for each in all_findings(seen)}

    assert found["network enforcer"] == state


def test_what_is_optional_may_be_absent():
    seen = copy.deepcopy(healthy())
    drop("daemonsets", "kube-router")(seen)
    drop("daemonsets", "anchorhold-seccomp")(seen)
    drop("statefulsets", names.GATEWAY)(seen)

    assert {each.state for each in all_findings(seen)} == {State.GOOD}


def test_an_old_api_server_is_bad_and_no_tenant_is_unknown():
    state = Seen("v1.9.0", {**healthy().items, "namespaces": []}, {})

    found = {each.what: each.state for each in all_findings(state)}

    assert found["API server"] == State.BAD
    assert found["run namespaces"] == State.UNKNOWN


@pytest.mark.parametrize("kind", sorted({kind for _, kinds in checks.CHECKS for kind in kinds}))
def test_what_cannot_be_read_is_never_good(kind: str):
    state = Seen("v1.37.2", healthy().items, {kind: "forbidden"})

    found = [each for each in all_findings(state) if each.state == State.UNKNOWN]

    assert found
    assert all(each.seen == "forbidden" and kind in each.remedy for each in found)


class Cluster:
    """Answers as a healthy API server does, but for one kind."""

    def __init__(self, forbidden: str = "") -> None:
        self.forbidden = forbidden

    def ask(self, method: str, path: str) -> api.Answer:
        assert method == "GET", "doctor changes nothing"
        if path == "/version":
            return api.Answer(200, {"gitVersion": "v1.37.2"})
        kind = path.rpartition("/")[2]
        if kind == self.forbidden:
            return api.Answer(403, {"message": "forbidden"})
        return api.Answer(200, {"items": healthy().items[kind]})


@pytest.mark.parametrize(("forbidden", "status"), [("", 0), ("nodes", 2)])
@pytest.mark.parametrize("output", ["table", "json"])
def test_the_command_reads_everything_and_ends_with_the_worst(
    monkeypatch: pytest.MonkeyPatch, forbidden: str, status: int, output: str
):
    monkeypatch.setattr(api.Cluster, "from_kubeconfig", lambda *_: Cluster(forbidden))

    done = CliRunner().invoke(command.doctor, ["--output", output])

    assert done.exit_code == status
    assert "anchorhold-pod-floor" in done.output


def test_something_bad_ends_with_1():
    finding = checks.Finding("it", State.BAD, "broken", "mend it")

    assert command.exit_status([finding]) == 1


def test_without_a_cluster_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object) -> None:
        raise api.UnreachableError("no kubeconfig: none")

    monkeypatch.setattr(api.Cluster, "from_kubeconfig", unreachable)

    done = CliRunner().invoke(command.doctor)

    assert (done.exit_code, done.output) == (1, "Error: no kubeconfig: none\n")
