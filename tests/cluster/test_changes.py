"""Changes bite: what is taken away ends what runs, and what is given reaches new runs only."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from agents import Agents, Controller, changed_policy, condition
from anchorhold import names
from bed.installation import POLICIES
from bed.kube import Document, Kubectl, RefusedError, wait_for
from damage import altered, binding, put_back, removed, set_spec
from onenode.settings import NODE_NAME
from tenants import Tenants, wide_policy

pytestmark = pytest.mark.long

TENANT = "team-changes"
ADMISSION_POLICY = "validatingadmissionpolicy"
BINDING = "validatingadmissionpolicybinding"
FENCE = (*names.LIMITS_POLICIES, *names.FLOOR_POLICIES)


@pytest.fixture(scope="module")
def onboarded(tenants: Tenants, image: str) -> Agents:
    """A namespace whose policy and fence these tests damage."""
    tenants.policy(wide_policy(TENANT, image))
    return tenants.onboard(TENANT, TENANT)


def stored_policy(place: Agents) -> Document:
    """The AgentPolicy of the namespace."""
    found = place.admin.get("agentpolicy", TENANT, POLICIES)
    assert found is not None
    return found


def is_revoked(place: Agents, name: str, says: str) -> Document:
    """A run that ended because something was taken away, and has left no cell."""
    run = place.end(name)
    assert condition(run)["reason"] == "PolicyRevoked"
    assert says in condition(run)["message"]
    place.until_gone(name)
    return run


# ---- the policy ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"suspend": True}, "the policy is suspended", id="suspended"),
        pytest.param(
            {"images": []}, "must be an image that the policy lists", id="its image removed"
        ),
        pytest.param(
            {"inputs": {"images": []}},
            "`inputs['corpus'].image.reference`",
            id="the image of an input removed",
        ),
    ],
)
def test_what_a_policy_does_not_allow_any_more_is_ended(place: Agents, change: Document, says: str):
    """Within moments, with the sentence, and the record keeps which policy it was granted by."""
    corpus = {"name": "corpus", "image": {"reference": place.image}}
    before = stored_policy(place)["metadata"]
    name = place.running(inputs=[corpus])

    with changed_policy(place.admin, TENANT, change):
        run = is_revoked(place, name, says)
        refusal = wait_for(lambda: place.refusal(inputs=[corpus]), 30, "new runs to be refused")

    assert f"(AgentPolicy '{TENANT}')" in condition(run)["message"]
    applied = {"name": TENANT, "uid": before["uid"], "generation": before["generation"]}
    assert run["status"]["policies"] == [applied]
    assert run["status"]["effective"]["memory"] == "64Mi"
    assert condition(run, "Accepted")["status"] == "True"
    assert TENANT in refusal
    place.until_admitted()
    place.completes(inputs=[corpus])


def test_a_deleted_policy_ends_what_it_allowed(place: Agents):
    """Nothing that runs outlives its policy; a new policy of its name allows new runs only."""
    name = place.running()
    uid = stored_policy(place)["metadata"]["uid"]

    with removed(place.admin, "agentpolicy", TENANT, POLICIES):
        run = is_revoked(place, name, f"AgentPolicy '{TENANT}', which is bound, does not exist")
        wait_for(place.refusal, 30, "new runs to be refused")

    assert run["status"]["policies"][0]["uid"] == uid
    place.until_admitted()
    later = place.completes()
    assert later["status"]["policies"][0]["uid"] == stored_policy(place)["metadata"]["uid"] != uid


def test_a_shorter_deadline_shortens_what_runs(place: Agents):
    """The Pod itself has the shorter deadline, so it is the kubelet that ends it."""
    name = place.running()
    assert place.pods(name)[0]["spec"]["activeDeadlineSeconds"] == 200
    shorter = {"activeDeadlineSeconds": 15}

    with changed_policy(place.admin, TENANT, {"limits": shorter, "defaults": shorter}):
        wait_for(
            lambda: [p["spec"]["activeDeadlineSeconds"] for p in place.pods(name)] == [15],
            60,
            "the Pod's deadline to be shorter",
        )
        run = place.end(name)

    assert condition(run)["reason"] == "DeadlineExceeded"
    place.until_admitted()
    place.completes()


def test_loosening_reaches_new_runs_only(place: Agents):
    """The run goes on as it was granted: the same Pod, its limits, and the old generation."""
    name = place.running()
    before, granted = place.pods(name)[0], place.get(name)["status"]
    wider = {
        "limits": {"activeDeadlineSeconds": 600, "memory": "512Mi", "workspace": "128Mi"},
        "defaults": {"activeDeadlineSeconds": 500, "memory": "128Mi"},
        "minRetentionSeconds": 1,
    }

    with changed_policy(place.admin, TENANT, wider):
        generation = stored_policy(place)["metadata"]["generation"]
        wait_for(
            lambda: place.refusal(resources={"memory": "512Mi"}) is None, 30, "it to be admitted"
        )
        later = place.completes()
        after, still = place.pods(name)[0], place.get(name)["status"]

    assert later["status"]["effective"]["memory"] == "128Mi"
    assert later["status"]["effective"]["activeDeadlineSeconds"] == 500
    assert later["status"]["policies"][0]["generation"] == generation
    assert granted["policies"][0]["generation"] < generation
    assert still == granted
    for part in ("spec", "metadata"):
        for whose in (before, after):
            whose[part].pop("managedFields", None)
            whose[part].pop("resourceVersion", None)
        assert after[part] == before[part]


# ---- the fence -------------------------------------------------------------------------------

Damage = Callable[[Kubectl], ExitStack]


def without_binding(admission: str) -> Damage:
    """One admission policy does not hold in the namespace any more."""

    def damage(kubectl: Kubectl) -> ExitStack:
        stack = ExitStack()
        name = binding(kubectl, TENANT, admission)
        stack.enter_context(removed(kubectl, BINDING, name))
        return stack

    return damage


def with_binding(change: Document, admission: str = "anchorhold-pod-limits") -> Damage:
    """A binding of another shape than the chart's; what is nested is merged."""

    def damage(kubectl: Kubectl) -> ExitStack:
        stack = ExitStack()
        name = binding(kubectl, TENANT, admission)
        found = kubectl.get(BINDING, name)
        assert found is not None
        merged = {k: {**found["spec"][k], **v} if isinstance(v, dict) else v
                  for k, v in change.items()}  # fmt: skip
        stack.enter_context(altered(kubectl, BINDING, name, merged))
        return stack

    return damage


def without_wall(kubectl: Kubectl) -> ExitStack:
    """The default deny is gone."""
    stack = ExitStack()
    stack.enter_context(removed(kubectl, "networkpolicy", names.DEFAULT_DENY, TENANT))
    return stack


def without_admission_policy(kubectl: Kubectl) -> ExitStack:
    """An admission policy is gone in the whole cluster."""
    stack = ExitStack()
    stack.enter_context(removed(kubectl, ADMISSION_POLICY, "anchorhold-network-floor"))
    return stack


def with_lenient_admission_policy(kubectl: Kubectl) -> ExitStack:
    """An admission policy lets pass what it cannot judge."""
    stack = ExitStack()
    lenient = {"failurePolicy": "Ignore"}
    stack.enter_context(altered(kubectl, ADMISSION_POLICY, "anchorhold-pod-floor", lenient))
    return stack


RULE = {"apiGroups": [""], "apiVersions": ["*"], "resources": ["pods"], "operations": ["CREATE"]}
DAMAGES = [
    *(pytest.param(without_binding(n), f"has no binding of {n}", id=f"no binding of {n}")
      for n in FENCE),
    *(
        pytest.param(with_binding(change), "has no binding of anchorhold-pod-limits", id=what)
        for what, change in {
            "a binding that only warns": {"validationActions": ["Warn"]},
            "a binding that only records": {"validationActions": ["Audit"]},
            "a binding that selects objects": {
                "matchResources": {"objectSelector": {"matchLabels": {"checked": "yes"}}}
            },
            "a binding with an exclusion": {"matchResources": {"excludeResourceRules": [RULE]}},
            "a binding that lets a missing policy pass": {
                "paramRef": {"parameterNotFoundAction": "Allow"}
            },
        }.items()
    ),
    pytest.param(
        with_binding({"paramRef": {"name": "another"}}),
        "name different AgentPolicies",
        id="bindings that name different policies",
    ),
    pytest.param(without_wall, f"has no NetworkPolicy '{names.DEFAULT_DENY}'", id="no wall"),
    pytest.param(
        without_admission_policy,
        "anchorhold-network-floor are missing or deny nothing",
        id="no admission policy",
    ),
    pytest.param(
        with_lenient_admission_policy,
        "anchorhold-pod-floor are missing or deny nothing",
        id="an admission policy that fails open",
    ),
]  # fmt: skip


@pytest.mark.usefixtures("nobody_waits")
@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_nothing_starts_and_nothing_goes_on_behind_a_damaged_fence(
    place: Agents, damage: Damage, says: str
):
    """What runs is ended, a new run waits and says why, and starts once the fence is whole."""
    name = place.running()

    with damage(place.admin):
        is_revoked(place, name, says)
        waiting = place.submit("")
        run = place.until(waiting, "Pending", says=says)
        cells = place.pods(waiting)

    assert condition(run, "Accepted")["status"] == "Unknown"
    assert cells == []
    assert condition(place.end(waiting))["reason"] == "Completed"


def test_a_run_does_not_wait_for_ever_for_its_fence(place: Agents):
    """After its patience the run is refused for good, in its status and in an Event."""
    says = "a platform admin must install the chart anchorhold-tenant for it"
    with without_binding("anchorhold-pod-floor")(place.admin):
        name = place.submit("")
        run = place.end(name)

    assert condition(run)["reason"] == "NotOnboarded"
    assert says in condition(run)["message"]
    assert condition(run, "Accepted")["status"] == "False"
    assert place.pods(name) == []

    def event() -> Document | None:
        events = place.author.items("events", TENANT)
        return next((e for e in events if e["involvedObject"]["name"] == name), None)

    assert says in wait_for(event, 60, "an Event")["message"]
    place.completes()


OPENED = {
    "egress": {"egress": [{}]},
    "ingress": {"ingress": [{}]},
    "one way only": {"policyTypes": ["Ingress"]},
    "some Pods only": {"podSelector": {"matchLabels": {"walled": "yes"}}},
}


@contextmanager
def opened(kubectl: Kubectl, change: Document) -> Iterator[None]:
    """The wall is open and everything else whole: the rule that forbids it was off meanwhile."""
    kind, name = "networkpolicy", names.DEFAULT_DENY
    found = kubectl.get(kind, name, TENANT)
    assert found is not None
    with without_binding("anchorhold-network-floor")(kubectl):
        retried(lambda: set_spec(kubectl, kind, name, {**found["spec"], **change}, TENANT))
    try:
        yield
    finally:
        set_spec(kubectl, kind, name, found["spec"], TENANT)
        put_back(kubectl, found)


def retried(do: Callable[[], None]) -> None:
    """The API server notices a removed binding a moment later."""

    def works() -> bool:
        try:
            do()
        except RefusedError:
            return False
        return True

    wait_for(works, 30, "the change to be let through")


@pytest.mark.parametrize("change", OPENED.values(), ids=OPENED)
def test_an_open_wall_is_refused_by_admission(place: Agents, change: Document):
    """Nobody can open it, not even an administrator; to write it as it is is no offence."""
    wall = place.admin.get("networkpolicy", names.DEFAULT_DENY, TENANT)
    assert wall is not None
    set_spec(place.admin, "networkpolicy", names.DEFAULT_DENY, wall["spec"], TENANT)

    with pytest.raises(RefusedError, match="anchorhold-network-floor"):
        set_spec(
            place.admin, "networkpolicy", names.DEFAULT_DENY, {**wall["spec"], **change}, TENANT
        )


@pytest.mark.parametrize("change", OPENED.values(), ids=OPENED)
def test_behind_an_open_wall_nothing_starts_and_nothing_goes_on(
    place: Agents, controller: Controller, change: Document
):
    """Opened while the controller was down, with every binding back in its place."""
    says = f"has no NetworkPolicy '{names.DEFAULT_DENY}' that closes it both ways"
    name = place.running()
    controller.stop()

    with opened(place.admin, change):
        waiting = place.submit("")
        controller.start()
        is_revoked(place, name, says)
        place.until(waiting, "Pending", says=says)
        cells = place.pods(waiting)

    assert cells == []
    assert condition(place.end(waiting))["reason"] == "Completed"


def test_a_hole_beside_the_wall_is_an_open_wall(place: Agents, controller: Controller):
    """NetworkPolicies only ever open: another one that does undoes the default deny."""
    name = place.running()
    controller.stop()
    hole = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hole", "namespace": TENANT},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    with pytest.raises(RefusedError, match="anchorhold-network-floor"):
        place.admin.create(hole)

    with without_binding("anchorhold-network-floor")(place.admin):
        retried(lambda: place.admin.apply(hole))
    waiting = place.submit("")
    controller.start()
    is_revoked(place, name, "'hole'")
    place.until(waiting, "Pending", says="'hole'")
    cells = place.pods(waiting)
    place.admin.delete("networkpolicy", "hole", TENANT)

    assert cells == []
    assert condition(place.end(waiting))["reason"] == "Completed"


# ---- what a run says of itself ---------------------------------------------------------------


def patch_run(who: Kubectl, name: str, spec: Document) -> None:
    """Change the spec of a run. Raises RefusedError."""
    words = ("-n", TENANT, "--type=merge", "-p", json.dumps({"spec": spec}))
    who("patch", "agentrun", name, *words)


def test_cancel_ends_a_run_and_keeps_its_record(place: Agents):
    """Who submitted it takes it back; what it was, and when it ran, stays to be read."""
    name = place.running()

    patch_run(place.author, name, {"cancel": True})
    run = place.end(name)
    place.until_gone(name)

    assert condition(run)["reason"] == "Cancelled"
    assert condition(run, "Accepted")["status"] == "True"
    status = place.get(name)["status"]
    assert {"startTime", "completionTime", "policies", "effective"} <= set(status)
    with pytest.raises(RefusedError, match="`cancel` cannot be taken back"):
        patch_run(place.author, name, {"cancel": False})


def test_a_cancelled_run_that_waits_never_gets_a_cell(place: Agents):
    """And the one behind it moves up; nothing but `cancel` can be changed."""
    with changed_policy(place.admin, TENANT, {"limits": {"activeRuns": 1}}):
        first, second, third = place.running(), place.submit(""), place.submit("")
        place.until(third, "Queued")
        with pytest.raises(RefusedError, match="`task` cannot be changed"):
            patch_run(place.author, second, {"task": "Do something else."})
        patch_run(place.author, second, {"cancel": True})
        cancelled = place.end(second)
        patch_run(place.author, first, {"cancel": True})
        last = place.end(third)

    assert condition(cancelled)["reason"] == "Cancelled"
    assert "startTime" not in cancelled["status"]
    assert place.pods(second) == []
    assert condition(last)["reason"] == "Completed"


def test_a_finished_run_cannot_be_cancelled_any_more(place: Agents):
    """Its record is written: a late `cancel` does not change what it came to."""
    name = place.completes()["metadata"]["name"]

    patch_run(place.author, name, {"cancel": True})
    later = place.running()
    patch_run(place.author, later, {"cancel": True})
    place.end(later)

    assert condition(place.get(name))["reason"] == "Completed"


def test_a_run_deletes_itself_after_its_time_to_live(place: Agents):
    """With its record and its Pod; a run that ended before it and says nothing is kept."""
    kept = place.completes()["metadata"]["name"]
    name = place.completes(ttlSecondsAfterFinished=3)["metadata"]["name"]

    wait_for(
        lambda: place.admin.get("agentrun", name, TENANT) is None, 60, f"{name} to delete itself"
    )

    place.until_gone(name)
    assert condition(place.get(kept))["reason"] == "Completed"


def test_a_record_is_kept_as_long_as_the_policy_says(place: Agents):
    """A shorter time to live is refused, with field and bound; the bound itself is admitted."""
    with changed_policy(place.admin, TENANT, {"minRetentionSeconds": 600}):
        refusal = wait_for(
            lambda: place.refusal(ttlSecondsAfterFinished=599), 30, "a short time to be refused"
        )
        place_it_allows = place.refusal(ttlSecondsAfterFinished=600)
        unset = place.refusal()

    for words in ("`ttlSecondsAfterFinished` '599'", "greater than or equal to '600'", TENANT):
        assert words in refusal
    assert (place_it_allows, unset) == (None, None)


def test_a_policy_that_asks_for_longer_keeps_the_runs_of_before(place: Agents):
    """The run was admitted with a short time to live, and the policy of today counts."""
    first = place.submit("import time; time.sleep(6)", ttlSecondsAfterFinished=1)
    place.until(first, "Running")
    with changed_policy(place.admin, TENANT, {"minRetentionSeconds": 600}):
        place.end(first)
        # So that more than its time to live has gone by.
        place.completes(), place.completes()
        still = place.get(first)

    assert condition(still)["reason"] == "Completed"


# ---- placement -------------------------------------------------------------------------------


@contextmanager
def tainted(kubectl: Kubectl) -> Iterator[None]:
    """The node takes only what tolerates agents, and is labelled for them."""
    kubectl("taint", "node", NODE_NAME, "for-agents=only:NoSchedule")
    kubectl("label", "node", NODE_NAME, "for-agents=yes")
    try:
        yield
    finally:
        kubectl("taint", "node", NODE_NAME, "for-agents-")
        kubectl("label", "node", NODE_NAME, "for-agents-")


@pytest.fixture
def priority(kubectl: Kubectl) -> Iterator[str]:
    """A PriorityClass."""
    made = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "agents-of-the-test"},
        "value": 1234,
    }
    kubectl.apply(made)
    yield "agents-of-the-test"
    kubectl.delete("priorityclass", "agents-of-the-test")


TOLERATION = {
    "key": "for-agents", "operator": "Equal", "value": "only", "effect": "NoSchedule",
}  # fmt: skip


def test_placement_reaches_the_cell(place: Agents, priority: str):
    """Selector, toleration and priority are the policy's, and each of them is what counts."""
    right = {"nodeSelector": {"for-agents": "yes"}, "tolerations": [TOLERATION]}
    wrong = {**right, "nodeSelector": {"for-agents": "no"}}
    with tainted(place.admin):
        untolerated = place.until(place.submit(""), "Pending", says="untolerated taint")
        with changed_policy(place.admin, TENANT, {"placement": wrong}):
            unmatched = place.until(place.submit(""), "Pending", says="node affinity/selector")
        placement = {**right, "priorityClassName": priority}
        with changed_policy(place.admin, TENANT, {"placement": placement}):
            run = place.completes()
            (pod,) = place.pods(run["metadata"]["name"])

    assert {condition(run, "Accepted")["status"] for run in (untolerated, unmatched)} == {"True"}
    assert pod["spec"]["nodeSelector"] == right["nodeSelector"]
    assert TOLERATION in pod["spec"]["tolerations"]
    assert (pod["spec"]["priorityClassName"], pod["spec"]["priority"]) == (priority, 1234)
    assert run["status"]["nodeName"] == NODE_NAME


def test_a_run_that_leaves_all_out_gets_the_defaults_and_where_there_is_none_the_limit(
    place: Agents,
):
    """Of this moment's policy: another default holds for the next run."""
    defaults = {"cpu": "150m", "memory": "96Mi", "workspace": "32Mi", "activeDeadlineSeconds": 77}
    nothing = dict.fromkeys(defaults)
    with changed_policy(place.admin, TENANT, {"defaults": defaults}):
        given = place.completes()["status"]["effective"]
        own = place.completes(resources={"memory": "80Mi"})["status"]["effective"]
    with changed_policy(place.admin, TENANT, {"limits": {"cpu": "250m"}, "defaults": nothing}):
        limits = place.completes()["status"]["effective"]

    assert {key: given[key] for key in defaults} == defaults
    assert {key: own[key] for key in defaults} == {**defaults, "memory": "80Mi"}
    assert {key: limits[key] for key in defaults} == {
        "cpu": "250m", "memory": "256Mi", "workspace": "64Mi", "activeDeadlineSeconds": 300,
    }  # fmt: skip


# ---- who asked -------------------------------------------------------------------------------


def test_who_asked_is_on_record_and_cannot_be_forged(place: Agents):
    """The API server's word for the author; the forger's own is overwritten."""
    document = place.document("")
    document["metadata"]["annotations"] = {names.REQUESTED_BY_ANNOTATION: "mallory"}
    created = place.author.create(document)
    name = created["metadata"]["name"]
    place.submitted.append(name)

    run = place.end(name)

    author = place.author.user
    assert created["metadata"]["annotations"][names.REQUESTED_BY_ANNOTATION] == author
    assert run["status"]["requestedBy"] == author


@pytest.mark.parametrize("edit", ["=mallory", "-"], ids=["changed", "removed"])
@pytest.mark.parametrize("who", ["author", "admin"])
def test_nobody_edits_who_asked(place: Agents, who: str, edit: str):
    """Not even an administrator; the control is another annotation, which both may write."""
    name = place.completes()["metadata"]["name"]
    annotate = ("annotate", "agentrun", name, "-n", TENANT, "--overwrite")
    editor: Kubectl = getattr(place, who)

    with pytest.raises(RefusedError, match="anchorhold-run-integrity"):
        editor(*annotate, names.REQUESTED_BY_ANNOTATION + edit)

    editor(*annotate, "example.com/note=mine")
    assert place.get(name)["status"]["requestedBy"] == place.author.user
