"""What the controller knows of the cluster, and all that a decision about one run hangs on."""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from anchorhold import names
from anchorhold.cluster import client, informer, paths
from anchorhold.controller import config_maps
from anchorhold.controller.canary import Canary
from anchorhold.controller.observed import Key, Observed, Pod, Run, read_pod
from anchorhold.controller.runs import Cells, Runs
from anchorhold.controller.sentinels import Lookout, Sentinel, read_sentinel
from anchorhold.policy import fence, library
from anchorhold.policy.grant import BoundPolicy, GrantedSkill, Refusal, Site

PAGE = 500
RESYNC_SECONDS = 600.0
RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)
Document = dict[str, Any]
# Told that runs of these names are to be looked at.
LookAt = Callable[[set[Key]], None]


class View:
    """The runs, Pods, policies and bindings as far as they are known.

    `launched` holds the uid of each run whose Pod this process has made: the watch shows the Pod a
    little later, and until then nobody may conclude that there is none. `placed` holds those whose
    turn it was: from then on, and not only once they have a Pod, nobody may take that place.
    """

    def __init__(
        self, api: client.Client, look_at: LookAt, jitter: random.Random, site: Site
    ) -> None:
        self._api = api
        self._site = site
        self._jitter = jitter
        self._group = asyncio.TaskGroup()
        self._look_at = look_at
        self.canary = Canary(site.canary)
        self.runs = Runs()
        self.launched: dict[Key, str] = {}
        self.placed: dict[Key, str] = {}
        self.cells = Cells()
        self.pods: dict[str, informer.Informer[Pod]] = {}
        self.walls: dict[str, informer.Informer[fence.Wall]] = {}
        self._watchers: dict[str, list[asyncio.Task[None]]] = {}
        self.policies: informer.Informer[BoundPolicy | Refusal] = informer.Informer(
            api, paths.agent_policies(names.POLICY_NAMESPACE), fence.read_policy, self._on_policy
        )
        self.skills: informer.Informer[GrantedSkill | Refusal] = informer.Informer(
            api, paths.agent_skills(names.POLICY_NAMESPACE), library.read, self._on_policy
        )
        self.bindings: informer.Informer[fence.Binding | None] = informer.Informer(
            api, paths.policy_bindings(), fence.read_binding, self._on_binding
        )
        self.sentinels: informer.Informer[Sentinel] = informer.Informer(
            api, paths.pods(names.SENTINEL_NAMESPACE), read_sentinel, self._on_policy,
            names.SENTINEL_LABEL,
        )  # fmt: skip
        self.admission: informer.Informer[bool] = informer.Informer(
            api, paths.admission_policies(), fence.denies, self._on_policy
        )

    async def run(self, on_synced: Callable[[], None]) -> None:
        """Keep the view true, for ever; cancel it to stop.

        `on_synced` is called once all policies, bindings and runs have been listed: before that,
        nothing may be decided.
        """
        async with self._group as group:
            await self.canary.ask()
            group.create_task(self.canary.watch())
            for source in (
                self.policies,
                self.skills,
                self.admission,
                self.sentinels,
                self.bindings,
            ):
                group.create_task(source.run(self._jitter))
                await source.synced.wait()
            while True:
                listed = await self._try_to_resync()
                if listed:
                    on_synced()
                seconds = RESYNC_SECONDS if listed else RETRY_SECONDS
                await asyncio.sleep(seconds * self._jitter.uniform(0.9, 1.1))

    async def resync(self) -> None:
        """List all runs, and look at each that changed unseen."""
        documents: list[Document] = []
        async for page in self._api.pages(paths.agent_runs(), PAGE):
            documents += page["items"]
        self._look_at(self.runs.replace(documents, int(page["metadata"]["resourceVersion"])))
        self._leave_the_unbound()

    def _leave_the_unbound(self) -> None:
        """Watch no Pods where nothing is bound any more and no run is left."""
        bound = {binding.namespace for binding in self.bindings.store.values() if binding}
        for namespace in set(self.pods) - bound - self.runs.namespaces():
            for watcher in self._watchers.pop(namespace):
                watcher.cancel()
            del self.pods[namespace], self.walls[namespace]
            self.cells.forget(namespace)

    async def _try_to_resync(self) -> bool:
        """Whether all runs could be listed."""
        try:
            await self.resync()
        except (client.ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("runs could not be listed: %s %s", type(error).__name__, error)
            return False
        return True

    def feed(self, kind: str | None, document: Document) -> None:
        """Take an event about an AgentRun."""
        deleted = kind == "DELETED"
        self._look_at(self.runs.remove(document) if deleted else self.runs.put(document))

    def wrote(self, document: Document) -> None:
        """Take a run as the API server returned it after our own write."""
        self._look_at(self.runs.put(document))

    async def observe(self, run: Run, now: datetime) -> Observed:
        """Everything that the decision about a run depends on."""
        source = self.pods.get(run.key[0])
        sees_pods = source is not None and source.synced.is_set() and self._sees_wall(run.key[0])
        pod = self.cells.of(run) or await self._just_launched(run)
        return Observed(
            run=run,
            pod=pod,
            watched=source is not None,
            sees_pods=sees_pods,
            vanished=pod is None and self.launched.get(run.key) == run.uid,
            policies=self.policies_of(run.key[0]) if pod is None else self.holding(run.key[0]),
            config_maps=await config_maps.of(self._api, run, pod),
            skills={name: skill for (_, name), skill in self.skills.store.items()},
            site=self._site,
            canary_answers=self.canary.answers,
            lookout=Lookout(tuple(self.sentinels.store.values())),
            place=0 if run.finished else self._place_of(run),
            now=now,
        )

    def _place_of(self, run: Run) -> int:
        """What goes before this run: unfinished runs, and cells that outlive their runs."""
        order = [other.uid for other in self.in_turn(run.key[0])]
        left_over = sum(uid not in order for uid in self.cells.live(run.key[0]))
        return left_over + order.index(run.uid) if run.uid in order else 0

    async def _just_launched(self, run: Run) -> Pod | None:
        """The Pod that we made and that the watch has not shown yet: the API server knows."""
        if self.launched.get(run.key) != run.uid:
            return None
        try:
            return read_pod(
                await self._api.get(paths.pod(run.key[0], names.child_name(run.key[1], run.uid)))
            )
        except client.ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def policies_of(self, namespace: str) -> tuple[BoundPolicy, ...] | Refusal:
        """The policies that a new cell is made under, or what the namespace's fence lacks."""
        return self._stored(fence.bound_policies(namespace, self._fence(namespace)))

    def holding(self, namespace: str) -> tuple[BoundPolicy, ...] | Refusal:
        """The policies that hold the cells that exist, or what the namespace's fence lacks."""
        return self._stored(fence.holding_policies(namespace, self._fence(namespace)))

    def _stored(self, bound: tuple[str, ...] | Refusal) -> tuple[BoundPolicy, ...] | Refusal:
        stored = {name: policy for (_, name), policy in self.policies.store.items()}
        return fence.resolve(bound, stored)

    def _fence(self, namespace: str) -> fence.Fence:
        """The fence around a namespace, as far as it is known."""
        source = self.walls.get(namespace)
        walls = {name: wall for (_, name), wall in source.store.items()} if source else {}
        return fence.Fence(
            bindings=tuple(binding for binding in self.bindings.store.values() if binding),
            admission_policies=frozenset(
                n for (_, n), good in self.admission.store.items() if good
            ),
            closed=walls.get(names.DEFAULT_DENY) is fence.Wall.CLOSES,
            holes=tuple(sorted(n for n, wall in walls.items() if wall is fence.Wall.OPENS)),
        )

    def _sees_wall(self, namespace: str) -> bool:
        """Whether the NetworkPolicies of a namespace have been listed."""
        return namespace in self.walls and self.walls[namespace].synced.is_set()

    def in_turn(self, namespace: str) -> list[Run]:
        """The unfinished runs of a namespace: those with a place or a cell, then others by age."""
        placed = set(self.placed.values())
        runs = self.runs.unfinished(namespace)
        return sorted(runs, key=lambda run: run.uid not in placed and self.cells.of(run) is None)

    def forget(self, key: Key) -> None:
        """A run is over, or gone: it has no place and no Pod that is yet to be seen."""
        self.launched.pop(key, None)
        self.placed.pop(key, None)

    def _on_policy(self, *_: object) -> None:
        for namespace in self.pods:
            self._look_at({run.key for run in self.runs.unfinished(namespace)})

    def _on_binding(self, _: object, old: fence.Binding | None, new: fence.Binding | None) -> None:
        """Watch each namespace that is bound; a bound one stays watched."""
        for namespace in {binding.namespace for binding in (old, new) if binding is not None}:
            if namespace not in self.pods:
                self._watch(namespace)
            self._look_at({run.key for run in self.runs.unfinished(namespace)})

    def _watch(self, namespace: str) -> None:
        """Follow the cells of one namespace, and the NetworkPolicies that wall it in."""

        def on_pod(_: object, old: Pod | None, new: Pod | None) -> None:
            self._look_at(self.cells.change(namespace, old, new))

        def on_wall(*_: object) -> None:
            self._look_at({run.key for run in self.runs.unfinished(namespace)})

        pods = informer.Informer(
            self._api, paths.pods(namespace), read_pod, on_pod, names.RUN_LABEL
        )
        walls = informer.Informer(
            self._api, paths.network_policies(namespace), fence.read_wall, on_wall
        )
        self.pods[namespace], self.walls[namespace] = pods, walls
        self._watchers[namespace] = [
            self._group.create_task(source.run(self._jitter)) for source in (pods, walls)
        ]
