"""What every plan keeps to, tried on every combination of what can be observed."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from plans import (
    ANY_CONFIG_MAP,
    FACTS,
    GONE,
    NOT_BOUND,
    QUEUED,
    RUNNING,
    SETTINGS,
    UNSEEN,
    ended,
    later,
    said,
)

from anchorhold.controller.observed import Observed, has_ended, read_pod
from anchorhold.controller.plan import Plan, decide
from anchorhold.policy.grant import Refusal
from factories import (
    CREATED,
    agent,
    make_grant,
    make_observed,
    make_pod,
    make_policy,
    make_request,
    make_run,
    read_policies,
    running_pod,
    terminated,
)

STATUSES: tuple[dict[str, Any] | None, ...] = (
    None,
    said("Pending", UNSEEN, "Unknown", "Unknown"),
    QUEUED,
    RUNNING,
    GONE,
)
PODS: tuple[dict[str, Any] | None, ...] = (
    None,
    make_pod(),
    make_pod(containerStatuses=agent(waiting={"reason": "ErrImagePull"})),
    running_pod(),
    make_pod(phase="Succeeded", containerStatuses=terminated(0)),
    make_pod({"deletionTimestamp": CREATED}, phase="Running"),
)
# The policies of today allow less than the cell was given: 600 seconds.
TIGHT = read_policies(
    make_policy(
        {"generation": 2},
        inputs={"configMaps": [{"name": "*"}]},
        limits={"activeDeadlineSeconds": 300},
    )
)
POLICIES: tuple[Any, ...] = (
    ANY_CONFIG_MAP,
    TIGHT,
    read_policies(make_policy({"generation": 2}, suspend=True)),
    NOT_BOUND,
)
SPECS: tuple[dict[str, Any], ...] = (
    {},
    SETTINGS,
    {"privileged": True},
    {"cancel": True, "ttlSecondsAfterFinished": 100},
)
FLAGS = (True, False)


def all_observations() -> Iterator[Observed]:
    """Every combination; `make_policy` lets two runs be active and three wait."""
    runs = [
        make_run({"deletionTimestamp": CREATED} if deleting else {}, status=status, **spec)
        for deleting, status, spec in itertools.product(FLAGS, STATUSES, SPECS)
    ]
    flags = list(itertools.product(FLAGS, repeat=3))
    rest = list(itertools.product(POLICIES, (FACTS, {}), (0, 1, 2, 5), (10, 3_600)))
    pods = [read_pod(pod) if pod is not None else None for pod in PODS]
    for run in runs:
        first = make_observed(run)
        for pod, (watched, sees_pods, vanished) in itertools.product(pods, flags):
            for policies, config_maps, place, seconds in rest:
                yield dataclasses.replace(
                    first,
                    pod=pod,
                    watched=watched,
                    sees_pods=sees_pods,
                    vanished=vanished,
                    policies=policies,
                    config_maps=config_maps,
                    place=place,
                    now=later(seconds),
                )


@pytest.fixture(scope="module")
def decisions() -> list[tuple[Observed, Plan]]:
    return [(observed, decide(observed)) for observed in all_observations()]


Decisions = list[tuple[Observed, Plan]]


def may_launch(observed: Observed) -> bool:
    """All that must be so for a cell to be made, and nothing else."""
    run = observed.run
    needs_settings = not isinstance(run.request, str) and run.request.spec.inputs
    return (
        not run.finished
        and not run.deleting
        and "podName" not in run.status
        and observed.pod is None
        and not observed.vanished
        and observed.sees_pods
        and not isinstance(run.request, str)
        and not run.request.spec.cancel
        and observed.policies in (ANY_CONFIG_MAP, TIGHT)
        and (not needs_settings or "settings" in observed.config_maps)
        and observed.place < 2
    )


def test_a_cell_is_made_exactly_when_all_is_as_it_must_be(decisions: Decisions):
    launched = [observed for observed, decided in decisions if decided.launch is not None]

    assert launched == [observed for observed, _ in decisions if may_launch(observed)]
    assert launched


def test_a_cell_is_made_from_what_the_policies_grant_and_nothing_else_is_done(
    decisions: Decisions,
):
    for observed, decided in decisions:
        if decided.launch is not None:
            assert not isinstance(observed.run.request, str)
            spec = SETTINGS if observed.run.request.spec.inputs else {}
            assert not isinstance(observed.policies, Refusal)
            grant = make_grant(make_request(**spec), observed.policies, observed.config_maps)
            assert decided == Plan(launch=grant)


def test_only_what_is_left_of_a_finished_run_is_deleted_and_nothing_else_is_done(
    decisions: Decisions,
):
    deleted = [decided for _, decided in decisions if decided.delete_pod is not None]

    assert deleted
    for observed, decided in decisions:
        if decided.delete_pod is not None:
            assert observed.run.finished
            assert decided == Plan(delete_pod=observed.pod)


def test_only_the_record_of_a_finished_run_is_deleted_and_nothing_else_is_done(
    decisions: Decisions,
):
    deleted = [observed for observed, decided in decisions if decided.delete_run]

    assert deleted
    for observed, decided in decisions:
        if decided.delete_run:
            assert observed.run.finished
            assert not observed.run.deleting
            assert observed.pod is None or has_ended(observed.pod) or observed.pod.deleting
            assert decided == Plan(delete_run=True)


def test_a_cell_is_only_ever_shortened_and_only_while_it_may_go_on(decisions: Decisions):
    shortened = [observed for observed, decided in decisions if decided.shorten is not None]

    assert shortened
    for observed, decided in decisions:
        if decided.shorten is not None:
            assert observed.policies is TIGHT
            assert decided.shorten == (observed.pod, 300)
            assert not ended(decided)
            assert not observed.run.finished
            assert decided.launch is None


def test_a_live_cell_goes_on_only_under_policies_that_allow_it(decisions: Decisions):
    """Or while nobody can tell them."""
    for observed, decided in decisions:
        run, pod, allowed = observed.run, observed.pod, (ANY_CONFIG_MAP, TIGHT)
        if pod is not None and not run.finished and not run.deleting and not ended(decided):
            assert observed.policies in allowed or (observed.watched and not observed.sees_pods)
            assert isinstance(run.request, str) or not run.request.spec.cancel


def test_the_record_of_a_finished_run_never_changes(decisions: Decisions):
    assert all(decided.status is None for observed, decided in decisions if observed.run.finished)


def test_a_run_that_is_being_deleted_is_left_alone(decisions: Decisions):
    for observed, decided in decisions:
        if observed.run.deleting and not observed.run.finished:
            assert decided == Plan()


def test_the_end_of_a_run_is_never_told_of_a_cell_that_could_not_be_seen(decisions: Decisions):
    """Whatever there is, it is watched first; without a cell, only what nobody watches ends."""
    for observed, decided in decisions:
        if ended(decided) and observed.pod is None and not observed.sees_pods:
            assert not observed.watched
            assert not observed.vanished
            assert "podName" not in observed.run.status


def test_a_run_in_the_queue_ends_only_by_a_verdict_on_what_it_asks_for(decisions: Decisions):
    for observed, decided in decisions:
        if observed.run.status is QUEUED and observed.pod is None and ended(decided):
            assert decided.status is not None
            assert "queuedRuns" not in decided.status["conditions"][1]["message"]


def test_a_run_that_waits_for_what_no_event_tells_is_looked_at_again(decisions: Decisions):
    """A decision that neither writes, deletes, launches nor looks again has to rest on an event."""
    for observed, decided in decisions:
        if decided == Plan():
            run, pod = observed.run, observed.pod
            has_ended = run.finished or run.deleting
            waits_for_its_turn = run.status is QUEUED and observed.place >= 2
            runs_on = run.status is RUNNING and pod is not None
            assert has_ended or waits_for_its_turn or runs_on


def test_nobody_looks_again_at_once(decisions: Decisions):
    for _, decided in decisions:
        assert decided.look_again is None or 0 < decided.look_again <= 180
