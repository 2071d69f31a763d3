"""What holds for the cell of every run, under every policy, that yields a Grant."""

import json
import re
from typing import Any, TypeAlias
from uuid import UUID

from hypothesis import assume, example, given
from hypothesis import strategies as st

from anchorhold import names
from anchorhold.cell import pod, task
from anchorhold.controller import observed
from anchorhold.policy import quantity
from anchorhold.policy.evaluate import ConfigMapFacts, evaluate
from anchorhold.policy.grant import BoundPolicy, Grant, Request
from factories import (
    DATA_IMAGE,
    IMAGE,
    OTHER_IMAGE,
    PROFILE,
    SITE,
    make_policy,
    make_run,
    make_skill,
    read_policies,
    read_skills,
)

Manifest: TypeAlias = dict[str, Any]
Cell: TypeAlias = tuple[tuple[BoundPolicy, ...], Grant]

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
REFERENCES = (IMAGE, OTHER_IMAGE, DATA_IMAGE, "registry.example/agent:latest", "agent")
FACTS = {
    "settings": ConfigMapFacts(immutable=True, digest="sha256:" + "d" * 64),
    "mutable": ConfigMapFacts(immutable=False, digest="sha256:" + "e" * 64),
}
SKILLS = read_skills(make_skill())
LISTED = [{"name": "read-pdf", "digest": make_skill()["spec"]["digest"]}]

seconds = st.integers(1, 2_000)
cpus = st.integers(1, 9).map(str) | st.integers(1, 9_999).map("{}m".format)
sizes = st.integers(1, 4).map("{}Gi".format) | st.integers(1, 4_096).map("{}Mi".format)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
references = st.sampled_from(REFERENCES)


def some_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these fields, all of them optional."""
    return st.fixed_dictionaries({}, optional=fields)


sources: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(["settings", "mutable", "absent"]).map(
        lambda name: {"configMap": {"name": name}}
    ),
    st.just({"persistentVolumeClaim": {"claimName": "checkout"}}),
    references.map(lambda reference: {"image": {"reference": reference}}),
    st.just({}),
)
inputs = st.lists(sources, max_size=3).map(
    lambda found: [{"name": f"in-{n}", **source} for n, source in enumerate(found)]
)
variables = st.sampled_from(["A", "HOME", "ANCHORHOLD_RESULT", "LD_PRELOAD"])
# What the API server admits for the name of any object: a DNS subdomain (RFC 1123).
object_names = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,2}",
    fullmatch=True,
)
run_names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", fullmatch=True)
specs = some_of(
    task=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50),
    image=references,
    command=st.lists(words, max_size=3),
    args=st.lists(words, max_size=3),
    env=st.lists(st.fixed_dictionaries({"name": variables, "value": words}), max_size=3),
    inputs=inputs,
    workspace=st.fixed_dictionaries({"sizeLimit": sizes}),
    resources=some_of(cpu=cpus, memory=sizes),
    activeDeadlineSeconds=seconds,
    skills=st.sampled_from([[], [{"name": "read-pdf"}], [{"name": "absent"}]]),
)
walls = st.sampled_from(
    [
        {},
        {"isolation": "UserNamespace"},
        {"isolation": "RuntimeClass", "runtimeClassName": "gvisor"},
    ]
)
policies = st.builds(
    lambda limits, more: make_policy(limits=limits, **more),
    some_of(activeDeadlineSeconds=seconds, cpu=cpus, memory=sizes, workspace=sizes),
    some_of(
        suspend=st.booleans(),
        images=st.just([{"reference": reference} for reference in REFERENCES]),
        defaults=some_of(activeDeadlineSeconds=seconds, cpu=cpus, memory=sizes, workspace=sizes),
        seccomp=st.sampled_from(["Agent", "RuntimeDefault"]),
        skills=st.just(LISTED),
        inputs=st.just(
            {
                "configMaps": [{"name": "*"}],
                "persistentVolumeClaims": [{"name": "*"}],
                "images": [{"reference": reference} for reference in REFERENCES],
            }
        ),
    ),
)


labels = st.from_regex(r"[a-z]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
tolerations = st.fixed_dictionaries(
    {"effect": st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])},
    optional={
        "key": labels,
        "operator": st.sampled_from(["Equal", "Exists"]),
        "value": labels,
    },
)
placements = some_of(
    nodeSelector=st.dictionaries(labels, labels, max_size=3),
    tolerations=st.lists(tolerations, max_size=3),
    priorityClassName=labels,
)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """One or two policies, and whatever `evaluate` grants to some run under them."""
    metadata = {"name": draw(run_names), "uid": str(draw(st.uuids()))}
    request = observed.read_request(make_run(metadata, **draw(specs)))
    assert isinstance(request, Request)
    documents = draw(st.lists(policies, min_size=1, max_size=2))
    same = {"placement": draw(placements), **draw(walls)}
    for document in documents:
        document["spec"] |= same
    bound = read_policies(*documents)
    verdict = evaluate(request, bound, FACTS, SKILLS, SITE)
    assume(isinstance(verdict, Grant))
    assert isinstance(verdict, Grant)
    return bound, verdict


pods = cells().map(lambda cell: pod.pod(cell[1]))


@given(cells())
def test_every_cell_has_the_profile_that_its_policies_ask_for(cell: Cell):
    policies, granted = cell
    spec = pod.pod(granted)["spec"]
    (agent,) = spec["containers"]
    expected = {
        "Agent": {"type": "Localhost", "localhostProfile": PROFILE},
        "RuntimeDefault": {"type": "RuntimeDefault"},
    }

    for policy in policies:
        for part in (spec, agent):
            profile = part["securityContext"]["seccompProfile"]
            assert profile == expected[policy.spec.seccomp]


@given(pods)
def test_no_cell_is_root_or_can_become_root(manifest: Manifest):
    spec = manifest["spec"]
    (agent,) = spec["containers"]

    assert spec["hostUsers"] is (spec["runtimeClassName"] == "gvisor")
    assert spec["runtimeClassName"] in (None, "gvisor")
    for context in (spec["securityContext"], agent["securityContext"]):
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == 65532
    assert agent["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert agent["securityContext"]["privileged"] is False
    assert agent["securityContext"]["allowPrivilegeEscalation"] is False
    assert agent["securityContext"]["readOnlyRootFilesystem"] is True


@given(pods)
def test_no_cell_has_a_token(manifest: Manifest):
    spec = manifest["spec"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "anchorhold-run"
    assert sources_of(spec) <= {"configMap", "persistentVolumeClaim", "image", "emptyDir"}


@given(pods)
def test_no_cell_touches_its_host(manifest: Manifest):
    spec = manifest["spec"]
    (agent,) = spec["containers"]

    assert not {"hostNetwork", "hostPID", "hostIPC", "hostAliases", "nodeName"} & set(spec)
    assert not {"ports", "volumeDevices", "lifecycle", "envFrom", "stdin", "tty"} & set(agent)
    assert "hostPath" not in sources_of(spec)
    assert spec["dnsPolicy"] == "None"
    assert spec["enableServiceLinks"] is False


@given(pods)
def test_every_netgate_sees_what_the_agent_reads_and_is_confined_like_it(manifest: Manifest):
    (netgate,), (agent,) = manifest["spec"]["initContainers"], manifest["spec"]["containers"]
    read = [mount for mount in agent["volumeMounts"] if mount.get("readOnly")]

    assert netgate["volumeMounts"] == read
    assert netgate["securityContext"] == agent["securityContext"]
    assert netgate["image"] == SITE.image


@given(cells())
def test_every_cell_goes_where_the_policies_say_and_nowhere_else(cell: Cell):
    bound, grant = cell
    spec = pod.pod(grant)["spec"]

    for policy in bound:
        placement = policy.spec.placement.model_dump(mode="json")
        assert {field: spec[field] for field in placement} == placement


@given(pods)
def test_every_cell_has_one_container_behind_its_netgate_and_runs_once(manifest: Manifest):
    spec = manifest["spec"]

    assert [container["name"] for container in spec["initContainers"]] == ["netgate"]
    assert len(spec["containers"]) == 1
    assert "ephemeralContainers" not in spec
    assert spec["restartPolicy"] == "Never"


@given(cells())
def test_every_cell_has_all_limits_and_none_above_any_policys(
    cell: Cell,
):
    bound, grant = cell
    spec = pod.pod(grant)["spec"]
    resources = spec["containers"][0]["resources"]
    (workspace,) = (
        volume["emptyDir"]["sizeLimit"]
        for volume in spec["volumes"]
        if volume["name"] == "workspace"
    )

    assert set(resources["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert resources["limits"] == resources["requests"]
    for policy in bound:
        limits, given_limits = policy.spec.limits, resources["limits"]
        assert spec["activeDeadlineSeconds"] <= limits.active_deadline_seconds
        assert quantity.millicores(given_limits["cpu"]) <= quantity.millicores(limits.cpu)
        assert size(given_limits["memory"]) <= size(limits.memory)
        assert size(workspace) <= size(limits.workspace)
        assert size(given_limits["ephemeral-storage"]) <= size(limits.workspace) + size("64Mi")


@given(pods)
def test_every_image_of_a_cell_is_a_digest(manifest: Manifest):
    spec = manifest["spec"]
    images = [spec["containers"][0]["image"]]
    images += [volume["image"]["reference"] for volume in spec["volumes"] if "image" in volume]

    assert all(re.search("@sha256:[0-9a-f]{64}$", image) for image in images)


@given(pods)
def test_a_cell_writes_to_its_workspace_and_tmp_and_nowhere_else(manifest: Manifest):
    spec = manifest["spec"]
    mounts = spec["containers"][0]["volumeMounts"]
    recursive = "Enabled" if spec["runtimeClassName"] is None else "IfPossible"
    read_only = {"readOnly": True, "recursiveReadOnly": recursive}.items()
    writable = {mount["name"] for mount in mounts if not read_only <= mount.items()}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    assert writable == {"workspace", "tmp"}
    assert all("sizeLimit" in volumes[name]["emptyDir"] for name in writable)
    assert {mount["name"] for mount in mounts} == set(volumes)
    assert len(mounts) == len(volumes) == len(spec["volumes"])
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


@given(cells())
def test_what_a_run_says_reaches_the_agent_unexpanded(
    cell: Cell,
):
    _, grant = cell
    (agent,) = pod.pod(grant)["spec"]["containers"]
    texts = [*agent["command"], *agent["args"], *(item["value"] for item in agent["env"])]
    asked = grant.request.spec
    set_by_us = {"HOME": "/workspace", "ANCHORHOLD_RESULT": "/dev/termination-log"}
    kept = {item.name: item.value for item in asked.env}
    kept |= {name: value for name, value in set_by_us.items() if name in kept}
    literal = [*asked.command, *asked.args, *kept.values()]

    assert [text.replace("$$", "$") for text in texts[: len(literal)]] == literal
    assert not any("$(" in text.replace("$$", "") for text in texts)


@given(cells())
def test_a_run_owns_its_cell_and_its_task(cell: Cell):
    _, grant = cell
    for manifest in (pod.pod(grant), task.config_map(grant)):
        metadata = manifest["metadata"]

        assert DNS_LABEL.fullmatch(metadata["name"])
        assert metadata["labels"] == {
            names.RUN_LABEL: grant.request.uid,
            "app.kubernetes.io/managed-by": "anchorhold",
        }
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == [grant.request.uid]


@given(cells())
def test_a_cell_is_the_same_every_time_and_is_json(cell: Cell):
    _, grant = cell

    assert json.loads(json.dumps(pod.pod(grant))) == pod.pod(grant)


@given(run_names, st.uuids(), st.uuids())
def test_a_namesake_with_another_uid_has_another_child(name: str, uid: UUID, other: UUID):
    assume(str(uid)[:8] != str(other)[:8])

    assert names.child_name(name, str(uid)) != names.child_name(name, str(other))


def is_admitted(name: str) -> bool:
    """The two rules of the CRD for the name of a run, as `test_schema` has them in CEL."""
    return len(name) <= names.MAX_RUN_NAME and "." not in name


@given(object_names.filter(is_admitted), st.uuids())
@example("a" * names.MAX_RUN_NAME, UUID(int=0))
@example("0", UUID(int=0))
def test_the_name_of_a_child_is_a_dns_label_for_every_name_that_the_crd_admits(
    name: str, uid: UUID
):
    """The API server takes any DNS subdomain for the name of an object; the CRD refuses a dot.

    So the whole name of the run is in its child's, with the dash and the start of the uid.
    """
    child = names.child_name(name, str(uid))

    assert DNS_LABEL.fullmatch(child)
    assert child == f"{name}-{str(uid)[:8]}"


def sources_of(spec: Manifest) -> set[str]:
    """The kinds of volume that a Pod has."""
    return {key for volume in spec["volumes"] for key in volume if key != "name"}


def size(memory: str) -> int:
    return quantity.number_of_bytes(memory)
