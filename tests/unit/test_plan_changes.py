"""`decide` about a run whose author, whose policies or whose fence have changed."""

import dataclasses
from typing import Any

import pytest
from plans import (
    FACTS,
    GONE,
    NOT_BOUND,
    OF_THE_CELL,
    QUEUED,
    RUNNING,
    SETTINGS,
    UNSEEN,
    dated,
    ended,
    later,
    reason_of,
    said,
)

from anchorhold import names
from anchorhold.controller import status
from anchorhold.controller.observed import Pod, read_pod, read_run
from anchorhold.controller.plan import Plan, decide
from anchorhold.policy import fence
from anchorhold.policy.grant import BoundPolicy, Refusal
from factories import (
    CREATED,
    FINISHED,
    NOW_TEXT,
    RECORD,
    STARTED,
    agent,
    make_grant,
    make_observed,
    make_pod,
    make_policy,
    make_run,
    read_policies,
    running_pod,
    terminated,
)

Document = dict[str, Any]
Policies = tuple[BoundPolicy, ...] | Refusal

SUSPENDED = read_policies(make_policy({"generation": 2}, suspend=True))
SENTENCE = "the policy is suspended (AgentPolicy 'default')"
WAITING = make_pod(containerStatuses=agent(waiting={"reason": "ContainerCreating"}))
LEAVING = make_pod({"deletionTimestamp": CREATED}, phase="Running")
# The agent has ended, and the kubelet has not said so of the Pod.
ENDING = make_pod(phase="Running", containerStatuses=terminated(0))
SUCCEEDED = make_pod(phase="Succeeded", containerStatuses=terminated(0))
LIVE = pytest.mark.parametrize(
    ("pod", "facts"),
    [
        pytest.param(WAITING, OF_THE_CELL, id="that waits for its start"),
        pytest.param(running_pod(), {**OF_THE_CELL, "startTime": STARTED}, id="that runs"),
        pytest.param(LEAVING, OF_THE_CELL, id="that somebody deletes"),
    ],
)


def ending(reason: str, message: str, facts: Document, accepted: str = "True") -> Plan:
    """The whole plan that ends a run so, now, and does nothing else."""
    return Plan(status=said(reason, message, accepted, "False", **facts, completionTime=NOW_TEXT))


# --- Revoked --------------------------------------------------------------------------------------


@LIVE
def test_a_suspended_policy_ends_a_cell(pod: Document, facts: Document):
    """The record goes first; the Pod goes when that is written."""
    decided = decide(make_observed(pod=pod, policies=SUSPENDED))

    assert decided == ending("PolicyRevoked", SENTENCE, facts)


def test_what_a_revoked_run_was_granted_stays_in_its_record():
    decided = decide(make_observed(pod=running_pod(), policies=SUSPENDED))

    assert decided.status is not None
    assert decided.status["policies"] == RECORD["policies"]
    assert decided.status["effective"] == RECORD["effective"]


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(SUSPENDED, id="suspended"),
        pytest.param(NOT_BOUND, id="without a fence"),
    ],
)
def test_an_agent_that_has_ended_is_not_revoked(policies: Policies):
    decided = decide(make_observed(pod=SUCCEEDED, policies=policies))

    assert reason_of(decided) == ("Completed", "the agent ended with exit code 0")


def test_an_agent_that_has_ended_while_its_pod_has_not_is_revoked():
    """Should the node die now, nobody would ever say how it ended."""
    decided = decide(make_observed(pod=ENDING, policies=SUSPENDED))

    assert reason_of(decided) == ("PolicyRevoked", SENTENCE)


def test_a_policy_that_exchanges_the_wall_ends_a_cell():
    """No cell can be given another."""
    policies = read_policies(
        make_policy({"generation": 2}, isolation="RuntimeClass", runtimeClassName="gvisor")
    )

    decided = decide(make_observed(pod=running_pod(), policies=policies))

    assert reason_of(decided) == (
        "PolicyRevoked",
        "`isolation` is 'RuntimeClass' now, and the cell was made with 'UserNamespace'",
    )


# --- A budget that is spent -----------------------------------------------------------------------


def spent(exhausted: str = "budget.tokens") -> Document:
    """A run of which the gateway says that a budget is spent, or nothing."""
    return make_run(status={"usage": {"requests": 3, "exhausted": exhausted}})


@LIVE
def test_a_spent_budget_ends_a_cell(pod: Document, facts: Document):
    decided = decide(make_observed(spent(), pod))

    assert decided == ending("BudgetExhausted", "`egress.budget.tokens` is spent", facts)


def test_an_agent_that_gives_up_because_a_budget_is_spent_did_not_fail():
    pod = make_pod(phase="Failed", containerStatuses=terminated(1))

    assert reason_of(decide(make_observed(spent(), pod))) == (
        "BudgetExhausted", "`egress.budget.tokens` is spent",
    )  # fmt: skip
    assert reason_of(decide(make_observed(spent(""), pod)))[0] == "AgentFailed"


def test_an_agent_that_ended_well_is_complete_whatever_it_has_spent():
    decided = decide(make_observed(spent(), SUCCEEDED))

    assert reason_of(decided) == ("Completed", "the agent ended with exit code 0")


def test_a_day_that_is_spent_ends_a_cell_too():
    decided = decide(make_observed(spent("dailyBudget.requests"), running_pod()))

    message = "`egress.dailyBudget.requests` is spent"
    assert reason_of(decided) == ("BudgetExhausted", message)


def test_a_run_with_budgets_that_are_not_spent_goes_on():
    assert decide(make_observed(spent(""), running_pod())) == decide(
        make_observed(pod=running_pod())
    )


WHOLE = fence.Fence(
    bindings=(
        *(fence.Binding(name, "team-a", "default") for name in names.LIMITS_POLICIES),
        *(fence.Binding(name, "team-a", "") for name in names.FLOOR_POLICIES),
    ),
    admission_policies=frozenset(names.LIMITS_POLICIES + names.FLOOR_POLICIES),
    closed=True,
    holes=(),
)
STORED: dict[str, BoundPolicy | Refusal] = {"default": read_policies()[0]}
VOID = {"default": fence.read_policy(make_policy(newRestriction=True))}


def policies_of(around: fence.Fence, stored: dict[str, BoundPolicy | Refusal]) -> Policies:
    """What holds in a namespace with this fence, as the view reads it."""
    return fence.resolve(fence.bound_policies("team-a", around), stored)


def without_a_binding(name: str) -> fence.Fence:
    rest = tuple(one for one in WHOLE.bindings if one.admission_policy != name)
    return dataclasses.replace(WHOLE, bindings=rest)


def without_a_policy(name: str) -> fence.Fence:
    return dataclasses.replace(WHOLE, admission_policies=WHOLE.admission_policies - {name})


EVERY_POLICY = sorted(WHOLE.admission_policies)
DAMAGED = [
    *(pytest.param(without_a_binding(n), STORED, id=f"a binding: {n}") for n in EVERY_POLICY),
    *(pytest.param(without_a_policy(n), STORED, id=f"its teeth: {n}") for n in EVERY_POLICY),
    pytest.param(dataclasses.replace(WHOLE, closed=False), STORED, id="its wall"),
    pytest.param(dataclasses.replace(WHOLE, holes=("way-out",)), STORED, id="a wall of one piece"),
    pytest.param(WHOLE, {}, id="its AgentPolicy"),
    pytest.param(WHOLE, VOID, id="an AgentPolicy that this version understands"),
    pytest.param(
        dataclasses.replace(
            WHOLE,
            bindings=(*WHOLE.bindings, fence.Binding(names.LIMITS_POLICIES[0], "team-a", "b")),
        ),
        STORED,
        id="one and the same AgentPolicy for all limits",
    ),
]


@pytest.mark.parametrize(("around", "stored"), DAMAGED)
def test_a_running_run_ends_and_no_other_starts_in_a_namespace_that_lacks(
    around: fence.Fence, stored: dict[str, BoundPolicy | Refusal]
):
    policies = policies_of(around, stored)
    assert isinstance(policies, Refusal)

    running = decide(make_observed(pod=running_pod(), policies=policies))
    facts = {**OF_THE_CELL, "startTime": STARTED}
    assert running == ending("PolicyRevoked", policies.message, facts)

    new = decide(make_observed(policies=policies, now=later(60)))
    now = status.instant(later(60))
    refused = said(policies.reason.value, policies.message, "False", "False", completionTime=now)
    assert new == Plan(status=dated(refused, now))


def test_a_running_run_goes_on_behind_a_whole_fence():
    observed = make_observed(pod=running_pod(), policies=policies_of(WHOLE, STORED))

    assert decide(observed) == Plan(status=RUNNING)


def test_a_conflict_between_policies_ends_a_cell():
    policies = read_policies(
        make_policy(), make_policy({"name": "b"}, placement={"priorityClassName": "high"})
    )

    decided = decide(make_observed(pod=running_pod(), policies=policies))

    sentence = "the AgentPolicies 'default', 'b' must not differ in `placement`"
    facts = {**OF_THE_CELL, "startTime": STARTED}
    assert decided == ending("PolicyRevoked", sentence, facts)


@pytest.mark.parametrize("policies", [SUSPENDED, NOT_BOUND], ids=["suspended", "not bound"])
def test_nothing_is_revoked_while_pods_and_walls_are_unseen(policies: Policies):
    """After every restart the wall may well stand, and be listed a moment later."""
    observed = make_observed(pod=running_pod(), policies=policies, sees_pods=False)

    assert decide(observed) == Plan(status=RUNNING)


def test_a_cell_in_a_namespace_that_nobody_watches_is_revoked():
    """It is not bound at all: nothing is on its way that could still be listed."""
    observed = make_observed(pod=running_pod(), policies=NOT_BOUND, watched=False, sees_pods=False)

    assert reason_of(decide(observed)) == ("PolicyRevoked", NOT_BOUND.message)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(
            make_policy({"generation": 2}, limits={"cpu": "1m", "memory": "1Mi"}),
            id="tighter limits",
        ),
        pytest.param(
            make_policy({"generation": 2}, limits={"activeDeadlineSeconds": 86_400}),
            id="a longer deadline",
        ),
        pytest.param(
            make_policy({"generation": 2}, placement={"priorityClassName": "high"}),
            id="another place",
        ),
        pytest.param(
            make_policy({"generation": 2}, minRetentionSeconds=60), id="a longer retention"
        ),
        pytest.param(make_policy({"uid": "new", "generation": 1}), id="a new policy of its name"),
    ],
)
def test_a_running_run_that_may_go_on_keeps_what_it_has_under(policy: Document):
    decided = decide(make_observed(pod=running_pod(), policies=read_policies(policy)))

    assert decided == Plan(status=RUNNING)


UNREAD = make_run(privileged=True)
UNREAD_SENTENCE = "`privileged` cannot be read by this version: Extra inputs are not permitted"


def test_a_run_that_cannot_be_read_goes_on_while_its_policies_are_those_that_granted_it():
    """Nothing was tightened since, whatever it asked for."""
    assert decide(make_observed(UNREAD, running_pod())) == Plan(status=RUNNING)


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(read_policies(make_policy({"generation": 2})), id="has changed"),
        pytest.param(SUSPENDED, id="is suspended"),
        pytest.param(read_policies(make_policy({"uid": "another"})), id="was made again"),
        pytest.param(
            read_policies(make_policy(), make_policy({"name": "second"})), id="is not the only one"
        ),
    ],
)
def test_a_run_that_cannot_be_read_ends_when_its_policy(policies: Policies):
    """What was tightened may be what it asks for: nobody can tell any more."""
    decided = decide(make_observed(UNREAD, running_pod(), policies=policies))

    facts = {**OF_THE_CELL, "startTime": STARTED}
    assert decided == ending("PolicyRevoked", UNREAD_SENTENCE, facts)


def test_a_run_that_cannot_be_read_ends_when_its_cell_does_not_say_what_granted_it():
    pod = running_pod()
    pod["metadata"]["annotations"] = {}

    decided = decide(make_observed(UNREAD, pod))

    assert reason_of(decided) == ("PolicyRevoked", UNREAD_SENTENCE)


# --- Shortened ------------------------------------------------------------------------------------


def under(*seconds: int) -> tuple[BoundPolicy, ...]:
    """Policies with these longest deadlines."""
    return read_policies(
        *(
            make_policy({"name": f"p{n}"}, limits={"activeDeadlineSeconds": bound})
            for n, bound in enumerate(seconds)
        )
    )


def pod_of(document: Document) -> Pod:
    return read_pod(document)


def test_a_running_run_is_shortened_to_the_tightest_deadline():
    decided = decide(make_observed(pod=running_pod(), policies=under(599, 300, 400)))

    assert decided == Plan(status=RUNNING, shorten=(pod_of(running_pod()), 300))


def test_a_cell_that_waits_for_its_start_is_shortened_as_well():
    """Its clock begins before its agent does, and it may wait for an image for long."""
    decided = decide(make_observed(pod=WAITING, policies=under(300)))

    assert decided == Plan(shorten=(pod_of(WAITING), 300), look_again=50.0)


def test_a_cell_that_has_an_obstacle_is_shortened_as_well():
    pod = make_pod(containerStatuses=agent(waiting={"reason": "ErrImagePull", "message": "x"}))

    decided = decide(make_observed(pod=pod, policies=under(300)))

    waiting = said("Pending", "ErrImagePull: x", "True", "Unknown", **OF_THE_CELL)
    assert decided == Plan(status=waiting, shorten=(pod_of(pod), 300), look_again=50.0)


@pytest.mark.parametrize(
    ("given", "bound", "expected"),
    [
        pytest.param(600, 599, 599, id="to less, by a second"),
        pytest.param(600, 600, None, id="not to the same"),
        pytest.param(600, 601, None, id="not to more"),
        pytest.param(60, 600, None, id="not where it asked for less itself"),
        pytest.param(None, 1, None, id="not where it has none, which is not ours"),
    ],
)
def test_a_deadline_goes_down_and_never_up(given: int | None, bound: int, expected: int | None):
    pod = running_pod()
    pod["spec"]["activeDeadlineSeconds"] = given

    decided = decide(make_observed(pod=pod, policies=under(bound)))

    assert decided == Plan(
        status=RUNNING, shorten=None if expected is None else (pod_of(pod), expected)
    )


def test_a_deadline_that_was_shortened_is_not_shortened_again():
    pod = running_pod()
    pod["spec"]["activeDeadlineSeconds"] = 300
    run = make_run(status=RUNNING)

    assert decide(make_observed(run, pod, policies=under(300))) == Plan()


@pytest.mark.parametrize(
    ("run", "pod", "policies"),
    [
        pytest.param(make_run(), SUCCEEDED, under(1), id="has ended"),
        pytest.param(make_run(), ENDING, under(1), id="is about to say how it ended"),
        pytest.param(make_run(cancel=True), running_pod(), under(1), id="was cancelled"),
        pytest.param(make_run(status=GONE), running_pod(), under(1), id="has to go"),
        pytest.param(make_run(), running_pod(), NOT_BOUND, id="is revoked"),
        pytest.param(
            make_run({"deletionTimestamp": CREATED}), running_pod(), under(1), id="goes anyway"
        ),
    ],
)
def test_nobody_shortens_a_cell_that(run: Document, pod: Document, policies: Policies):
    assert decide(make_observed(run, pod, policies=policies)).shorten is None


def test_the_deadline_stays_as_it_is_while_the_policies_are_unseen():
    observed = make_observed(pod=running_pod(), policies=NOT_BOUND, sees_pods=False)

    assert decide(observed).shorten is None


# --- Cancelled ------------------------------------------------------------------------------------

CANCELLED = "`cancel` was set"


@LIVE
def test_a_cancelled_run_ends_with_its_cell(pod: Document, facts: Document):
    decided = decide(make_observed(make_run(cancel=True), pod))

    assert decided == ending("Cancelled", CANCELLED, facts)


def test_the_cell_of_a_cancelled_run_goes_and_the_record_stays():
    cancelled = decide(make_observed(make_run(cancel=True), running_pod())).status
    run = make_run(cancel=True, status=cancelled)

    assert decide(make_observed(run, running_pod())) == Plan(delete_pod=pod_of(running_pod()))
    assert decide(make_observed(run)) == Plan()


@pytest.mark.parametrize("cancel", [None, False])
def test_a_run_that_nobody_cancelled_goes_on(cancel: object):
    spec = {} if cancel is None else {"cancel": cancel}

    assert decide(make_observed(make_run(**spec), running_pod())) == Plan(status=RUNNING)
    assert decide(make_observed(make_run(**spec))).launch is not None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="before its cell was made"),
        pytest.param({"run": make_run(cancel=True, status=QUEUED), "place": 2}, id="in the queue"),
        pytest.param({"place": 5}, id="beyond the queue"),
        pytest.param({"config_maps": FACTS}, id="whatever there is"),
    ],
)
def test_a_run_that_would_be_granted_is_cancelled(changes: Document):
    decided = decide(make_observed(**{"run": make_run(cancel=True), **changes}))

    assert decided == ending("Cancelled", CANCELLED, {})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"policies": SUSPENDED}, id="under a policy that refuses it"),
        pytest.param(
            {"policies": NOT_BOUND, "watched": False, "sees_pods": False}, id="without a binding"
        ),
        pytest.param({"run": make_run(cancel=True, **SETTINGS)}, id="without its input"),
    ],
)
def test_a_run_that_nobody_has_granted_anything_is_cancelled(changes: Document):
    """`Accepted` does not say 'Granted' then."""
    decided = decide(make_observed(**{"run": make_run(cancel=True), **changes}))

    assert decided == ending("Cancelled", CANCELLED, {}, accepted="Unknown")


@pytest.mark.parametrize("run_status", [None, RUNNING], ids=["a new run", "a run with a record"])
def test_a_cancelled_run_waits_until_its_cell_could_be_seen(run_status: Document | None):
    """There may be a cell, and the record has to say what it was granted."""
    run = make_run(cancel=True, status=run_status)

    decided = decide(make_observed(run, sees_pods=False))

    waiting = None if run_status else said("Pending", UNSEEN, "Unknown", "Unknown")
    assert decided == Plan(status=waiting, look_again=2.0)


@pytest.mark.parametrize(
    ("run", "pod", "reason"),
    [
        pytest.param(make_run(cancel=True), SUCCEEDED, "Completed", id="that had ended before"),
        pytest.param(make_run(cancel=True, status=RUNNING), None, "Lost", id="that was lost"),
    ],
)
def test_cancel_does_not_change_the_end_of_a_run(run: Document, pod: Document | None, reason: str):
    assert reason_of(decide(make_observed(run, pod)))[0] == reason


def test_a_record_is_not_changed_by_cancel():
    assert decide(make_observed(make_run(cancel=True, status=GONE))) == Plan()


def test_who_cancels_a_run_that_is_revoked_as_well_is_told_so():
    decided = decide(make_observed(make_run(cancel=True), running_pod(), policies=SUSPENDED))

    assert reason_of(decided) == ("Cancelled", CANCELLED)


# --- Deleted after its time -----------------------------------------------------------------------


def record_of(seconds: int | None, *, pod: Document | None = None, **more: object) -> Plan:
    """What becomes of a record of ten seconds after the run's creation that lives so long."""
    spec = {} if seconds is None else {"ttlSecondsAfterFinished": seconds}
    return decide(make_observed(make_run(status=GONE, **spec), pod, **more))


def keeping(*seconds: int) -> tuple[BoundPolicy, ...]:
    """Policies that keep records at least so long."""
    return read_policies(
        *(make_policy({"name": f"p{n}"}, minRetentionSeconds=s) for n, s in enumerate(seconds))
    )


@pytest.mark.parametrize(
    ("asked", "policies", "kept"),
    [
        pytest.param(60, read_policies(), 60, id="what it asks for"),
        pytest.param(60, keeping(59), 60, id="what it asks for, above the policy's"),
        pytest.param(60, keeping(61), 61, id="what the policy of today says"),
        pytest.param(60, keeping(0, 90, 61), 90, id="the longest of several policies"),
        pytest.param(60, NOT_BOUND, 60, id="what it asks for, without a policy"),
        pytest.param(0, read_policies(), 0, id="no time at all"),
        pytest.param(0, keeping(1), 1, id="what the policy says, although it asks for none"),
    ],
)
def test_a_record_is_kept_for(asked: int, policies: Policies, kept: int):
    a_second_before = later(10 + kept - 1)

    if kept:
        early = record_of(asked, policies=policies, now=a_second_before)
        assert early == Plan(look_again=1.0)
    assert record_of(asked, policies=policies, now=later(10 + kept)) == Plan(delete_run=True)
    assert record_of(asked, policies=policies, now=later(1_000)) == Plan(delete_run=True)


def test_a_record_is_kept_from_the_end_of_the_agent_on():
    """However much later it was written."""
    run = make_run(ttlSecondsAfterFinished=60, status={**GONE, "completionTime": FINISHED})

    assert decide(make_observed(run, now=later(119))) == Plan(look_again=1.0)
    assert decide(make_observed(run, now=later(120))) == Plan(delete_run=True)


@pytest.mark.parametrize("policies", [read_policies(), keeping(1), NOT_BOUND])
def test_a_record_without_a_time_is_kept_for_ever(policies: Policies):
    assert record_of(None, policies=policies, now=later(10**9)) == Plan()


def test_a_record_whose_run_cannot_be_read_is_kept_for_ever():
    run = make_run(status=GONE, privileged=True, ttlSecondsAfterFinished=0)

    assert decide(make_observed(run, now=later(10**9))) == Plan()


def test_a_run_that_goes_on_has_no_time_to_live():
    run = make_run(ttlSecondsAfterFinished=0)

    assert decide(make_observed(run, running_pod(), now=later(10**6))) == Plan(
        status=dated(RUNNING, status.instant(later(10**6)))
    )


def test_a_record_is_kept_while_the_policies_cannot_be_told():
    """After a restart the wall is listed last: until then no policy seems to hold."""
    decided = record_of(0, policies=NOT_BOUND, sees_pods=False)

    assert decided == Plan(look_again=2.0)


def test_a_record_without_a_time_waits_for_nothing():
    assert record_of(None, policies=NOT_BOUND, sees_pods=False) == Plan()


def test_a_record_is_not_kept_for_a_binding_that_is_gone():
    decided = record_of(0, policies=NOT_BOUND, watched=False, sees_pods=False)

    assert decided == Plan(delete_run=True)


def test_a_record_that_is_being_deleted_is_not_deleted_again():
    run = make_run({"deletionTimestamp": CREATED}, status=GONE, ttlSecondsAfterFinished=0)

    assert decide(make_observed(run)) == Plan()
    assert decide(make_observed(run, sees_pods=False)) == Plan()


def test_the_cell_goes_before_the_record():
    assert record_of(0, pod=running_pod()) == Plan(delete_pod=pod_of(running_pod()))


@pytest.mark.parametrize("pod", [SUCCEEDED, LEAVING], ids=["has ended", "is going"])
def test_the_record_goes_when_its_cell(pod: Document):
    assert record_of(0, pod=pod) == Plan(delete_run=True)


# --- Who asked ------------------------------------------------------------------------------------

BY_JANE: Document = {"annotations": {names.REQUESTED_BY_ANNOTATION: "jane"}}


def test_the_record_says_who_asked():
    decided = decide(make_observed(make_run(BY_JANE), running_pod()))

    assert decided == Plan(status={**RUNNING, "requestedBy": "jane"})


def test_the_record_of_a_refused_run_says_who_asked():
    decided = decide(make_observed(make_run(BY_JANE), policies=SUSPENDED))

    refused = said("PolicyRefused", SENTENCE, "False", "False", completionTime=NOW_TEXT)
    assert decided == Plan(status={**refused, "requestedBy": "jane"})


def test_a_run_that_is_granted_is_the_same_whoever_asked():
    assert decide(make_observed(make_run(BY_JANE))) == Plan(launch=make_grant())
    assert read_run(make_run(BY_JANE)).request == read_run(make_run()).request


def test_a_run_without_a_stamp_has_no_author_in_its_record():
    decided = decide(make_observed(pod=running_pod()))

    assert decided.status is not None
    assert "requestedBy" not in decided.status
    assert not ended(decided)
