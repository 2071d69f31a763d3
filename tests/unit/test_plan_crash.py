"""Whatever was written when the controller died, the run goes on to the same end.

A world of plain documents stands for the cluster: the API server keeps what is written, and the
kubelet brings a Pod from Pending to its end. A controller sees all of it and decides.
"""

import itertools
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from plans import later

from anchorhold.cell import pod, task
from anchorhold.controller.plan import decide
from anchorhold.policy.grant import BoundPolicy, Grant
from factories import (
    CREATED,
    NOW,
    POD_NAME,
    POD_UID,
    STARTED,
    make_grant,
    make_observed,
    make_policy,
    make_run,
    read_policies,
    terminated,
)

LONG_ENOUGH = 20


class CrashError(Exception):
    """The controller dies right after a write."""


@dataclass
class World:
    """The documents of one run, and how many writes the controller may still make."""

    writes_left: int = LONG_ENOUGH
    writes: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=make_run)
    config_map: dict[str, Any] | None = None
    pod: dict[str, Any] | None = None
    agent_starts: int = 0
    record_is_gone: bool = False
    now: datetime = NOW

    def create_config_map(self, grant: Grant) -> None:
        if self.config_map is None:
            self.config_map = task.config_map(grant)
            self._wrote("ConfigMap")

    def create_pod(self, grant: Grant) -> None:
        if self.pod is None:
            self.pod = pod.pod(grant)
            self.pod["metadata"] |= {"uid": POD_UID, "creationTimestamp": CREATED}
            self.pod["status"] = {"phase": "Pending"}
            self._wrote("Pod")

    def patch_status(self, status: dict[str, Any]) -> None:
        self.run["status"] = {**self.run.get("status", {}), **status}
        self._wrote("status")

    def delete_pod(self, _: object) -> None:
        self.pod = None
        self._wrote("deletion")

    def delete_run(self, _: object) -> None:
        self.record_is_gone = True
        self.pod = None
        self._wrote("end of the record")

    def shorten(self, wanted: tuple[object, int]) -> None:
        assert self.pod is not None
        _, self.pod["spec"]["activeDeadlineSeconds"] = wanted
        self._wrote("deadline")

    def _wrote(self, what: str) -> None:
        self.writes.append(what)
        self.writes_left -= 1
        if not self.writes_left:
            raise CrashError

    def control(self) -> None:
        """One step of the controller: the order of writes is the writer's."""
        if self.record_is_gone:
            return
        observed = make_observed(self.run, self.pod, policies=self.policies, now=self.now)
        decided = decide(observed)
        for wanted, write in (
            (decided.launch, self.create_config_map),
            (decided.launch, self.create_pod),
            (decided.status, self.patch_status),
            (decided.shorten, self.shorten),
            (decided.delete_pod, self.delete_pod),
            (decided.delete_run, self.delete_run),
        ):
            if wanted:
                write(wanted)

    @property
    def policies(self) -> tuple[BoundPolicy, ...]:
        """What holds now."""
        return read_policies(make_policy())

    def live(self) -> None:
        """One step of the kubelet."""
        if self.pod is None:
            return
        self.pod["spec"]["nodeName"] = "node-1"
        if self.pod["status"]["phase"] == "Pending":
            self.agent_starts += 1
            state = {"running": {"startedAt": STARTED}}
            statuses = [{"name": "agent", "state": state}]
            self.pod["status"] = {"phase": "Running", "containerStatuses": statuses}
        elif self.pod["status"]["phase"] == "Running":
            statuses = terminated(0, message="done")
            self.pod["status"] = {"phase": "Succeeded", "containerStatuses": statuses}

    def settle(self) -> dict[str, Any]:
        """Controller and kubelet in turn until nothing moves; returns the run's status."""
        for _ in range(LONG_ENOUGH):
            self.control()
            self.live()
        return dict(self.run["status"])


UNDISTURBED = World()
END = UNDISTURBED.settle()


def test_undisturbed_it_takes_four_writes():
    assert UNDISTURBED.writes == ["ConfigMap", "Pod", "status", "status"]
    assert (END["conditions"][1]["reason"], END["podName"]) == ("Completed", POD_NAME)
    assert END["result"]["message"] == "done"


@pytest.mark.parametrize("writes", range(1, len(UNDISTURBED.writes) + 1))
def test_a_crash_after_any_write_changes_nothing_in_the_end(writes: int):
    world = World(writes_left=writes)
    with pytest.raises(CrashError):
        world.settle()
    world.writes_left = LONG_ENOUGH

    end = world.settle()

    assert end == END
    assert world.writes == UNDISTURBED.writes
    assert world.agent_starts == 1


@dataclass
class ChangingWorld(World):
    """Somebody does something as soon as the agent runs, which it does until its cell goes."""

    change: str = ""

    @property
    def policies(self) -> tuple[BoundPolicy, ...]:
        if not self.agent_starts:
            return read_policies(make_policy())
        changes: dict[str, dict[str, Any]] = {
            "suspend": {"suspend": True},
            "shorten": {"limits": {"activeDeadlineSeconds": 300}},
        }
        return read_policies(make_policy(**changes.get(self.change, {})))

    def live(self) -> None:
        if self.pod is not None and self.pod["status"]["phase"] == "Pending":
            super().live()
            if self.change == "cancel":
                self.run["spec"]["cancel"] = True
        elif self.pod is not None and self.change == "shorten":
            super().live()


CHANGES = {
    "cancel": ["ConfigMap", "Pod", "status", "deletion", "end of the record"],
    "suspend": ["ConfigMap", "Pod", "status", "deletion", "end of the record"],
    "shorten": ["ConfigMap", "Pod", "status", "deadline", "status", "end of the record"],
}
REASONS = {"cancel": "Cancelled", "suspend": "PolicyRevoked", "shorten": "Completed"}


def changing(change: str, writes_left: int = LONG_ENOUGH) -> ChangingWorld:
    """A run without a time to live beyond its end, and a change while it runs."""
    run = make_run(ttlSecondsAfterFinished=0)
    return ChangingWorld(run=run, change=change, writes_left=writes_left, now=later(60))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("writes", range(1, 8))
def test_a_crash_while_things_change_changes_nothing_in_the_end(change: str, writes: int):
    world = changing(change, writes)
    if writes <= len(CHANGES[change]):
        with pytest.raises(CrashError):
            world.settle()
    world.writes_left = LONG_ENOUGH

    end = world.settle()

    assert world.writes == CHANGES[change]
    assert end == changing(change).settle()
    assert (end["conditions"][1]["reason"], end["podName"]) == (REASONS[change], POD_NAME)
    assert (world.agent_starts, world.pod, world.record_is_gone) == (1, None, True)


@pytest.mark.parametrize(
    ("config_map", "cell", "status"), list(itertools.product([False, True], repeat=3))
)
def test_whatever_was_written_before_the_end_is_the_same(
    config_map: object, cell: object, status: object
):
    world, grant = World(), make_grant()
    if config_map:
        world.create_config_map(grant)
    if cell:
        world.create_pod(grant)
        world.live()
    if status:
        world.patch_status(first_status(world))

    end = world.settle()

    assert end == END
    assert world.agent_starts == 1
    assert world.config_map is not None or cell


def first_status(world: World) -> dict[str, Any]:
    """What the controller writes first: that the cell runs, else that the run has to wait."""
    written = decide(make_observed(world.run, world.pod, place=2)).status
    assert written is not None
    return written


def test_a_stale_view_after_the_end_deletes_nothing_and_writes_nothing():
    """A duplicate event, or a list from before the Pod went."""
    world = World()
    world.settle()
    before = len(world.writes)

    world.control()
    world.pod = None
    world.control()

    assert len(world.writes) == before
