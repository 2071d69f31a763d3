"""What the gateway knows of the cluster, from its own watches and from nobody's word.

Of a run's status it reads nothing: only that the run is there, that nobody cancelled it, which
rules it asks for, and that the Pod that admission let the controller make for it is alive.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from anchorhold import names
from anchorhold.api.egress import Budget, EgressRule
from anchorhold.api.run import AgentRunSpec
from anchorhold.cluster import client, informer, paths
from anchorhold.gateway import credentials
from anchorhold.gateway.decision import Cell
from anchorhold.policy import fence
from anchorhold.policy.budgets import UNLIMITED, tightest
from anchorhold.policy.egress import of_rule
from anchorhold.policy.grant import Refusal

Document = Mapping[str, Any]
# A watch gets a bookmark every minute: what has been silent for longer is no knowledge any more.
SILENT_SECONDS = 180.0
# How long a new namespace's Pods are waited for before the others are served.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """An AgentRun: the rules that it asks for, none if it is to end, and its own budget."""

    uid: str
    asked: frozenset[str]
    wanted: bool
    budget: Budget = UNLIMITED


@dataclass(frozen=True, slots=True)
class Pod:
    """A cell's Pod: whose it is, where it is, and the digests of the rules it was granted.

    `budget` is what it was granted, None if that can't be read.
    """

    run: str
    uid: str
    address: str
    alive: bool
    granted: Mapping[str, str]
    budget: Budget | None


@dataclass(frozen=True, slots=True)
class Policy:
    """An AgentPolicy: its rules by name with their digests, none where it can't be read."""

    name: str
    suspended: bool
    rules: Mapping[str, tuple[str, EgressRule]]
    budget: Budget = UNLIMITED
    daily: Budget = UNLIMITED


def read_run(document: Document) -> Run:
    """The view of an AgentRun; one that this version can't read asks for nothing."""
    metadata = document["metadata"]
    try:
        spec = AgentRunSpec.parse(document["spec"])
    except ValidationError:
        return Run(metadata["uid"], frozenset(), wanted=False)
    wanted = not spec.cancel and "deletionTimestamp" not in metadata
    if spec.egress is None:
        return Run(metadata["uid"], frozenset(), wanted)
    asked = frozenset(rule.name for rule in spec.egress.rules)
    return Run(metadata["uid"], asked, wanted, spec.egress.budget)


def read_pod(document: Document) -> Pod:
    """The view of a cell's Pod. One without an owner is nobody's."""
    metadata, status = document["metadata"], document.get("status") or {}
    owner: Document = next(iter(metadata.get("ownerReferences") or ()), {})
    annotations = metadata.get("annotations") or {}
    rules = annotations.get(names.RULES_ANNOTATION, "").split()
    return Pod(
        run=owner.get("name", ""),
        uid=owner.get("uid", ""),
        address=status.get("podIP", ""),
        alive=status.get("phase") in ("Pending", "Running") and "deletionTimestamp" not in metadata,
        granted={name: digest for name, _, digest in (rule.partition("=") for rule in rules)},
        budget=granted_budget(annotations.get(names.EFFECTIVE_ANNOTATION, "{}")),
    )


def granted_budget(record: str) -> Budget | None:
    """The budget in the record that a cell carries, so that a wider one does not reach it."""
    try:
        return Budget.parse(json.loads(record).get("effective", {}).get("budget", {}))
    except (ValueError, AttributeError, RecursionError):
        return None


def read_policy(document: Document) -> Policy:
    """The view of an AgentPolicy; one that this version can't read allows nothing."""
    policy = fence.read_policy(document)
    if isinstance(policy, Refusal):
        return Policy(document["metadata"]["name"], suspended=True, rules={})
    rules = {rule.name: (of_rule(rule), rule) for rule in policy.spec.egress.rules}
    egress = policy.spec.egress
    return Policy(policy.name, policy.spec.suspend, rules, egress.budget, egress.daily_budget)


class View:
    """The living runs and what they may reach, as far as is known."""

    def __init__(self, api: client.Client, jitter: random.Random) -> None:
        self._api = api
        self._jitter = jitter
        self._group = asyncio.TaskGroup()
        self._cells: dict[str, tuple[str, Pod]] = {}
        self._begun: dict[str, float] = {}
        self.pods: dict[str, informer.Informer[Pod]] = {}
        self.runs = informer.Informer(api, paths.agent_runs(), read_run, ignore)
        self.policies = informer.Informer(
            api, paths.agent_policies(names.POLICY_NAMESPACE), read_policy, ignore
        )
        self.secrets = informer.Informer(
            api, paths.secrets(names.GATEWAY_NAMESPACE), credentials.read, ignore
        )
        self.bindings = informer.Informer(
            api, paths.policy_bindings(), fence.read_binding, self._on_binding
        )

    async def run(self) -> None:
        """Keep the view true, for ever; cancel it to stop."""
        async with self._group as group:
            for source in (self.runs, self.policies, self.secrets, self.bindings):
                group.create_task(source.run(self._jitter))

    def is_complete(self) -> bool:
        """Whether everything that some run may hang on has been listed, and is still followed.

        A namespace whose Pods we may not see holds up nobody but itself: one that is not bound any
        more, or one whose release is from before there was a gateway.
        """
        held = [pods for namespace, pods in self.pods.items() if self._is_awaited(namespace)]
        return follows(self.runs, self.policies, self.secrets, self.bindings, *held)

    def _is_awaited(self, namespace: str) -> bool:
        waited = asyncio.get_running_loop().time() - self._begun[namespace]
        seen = self.pods[namespace].synced.is_set()
        return bool(self._policies(namespace)) and (seen or waited < PATIENCE_SECONDS)

    def cell(self, uid: str) -> Cell | None:
        """The run with this uid, if it lives, with the rules that hold for it at this moment."""
        namespace, pod = self._cells.get(uid, ("", None))
        if pod is None or not (pod.alive and pod.address) or pod.budget is None:
            return None
        sources = (self.runs, self.policies, self.secrets, self.bindings, self.pods[namespace])
        if not follows(*sources):
            return None
        run = self.runs.store.get((namespace, pod.run))
        if run is None or run.uid != uid or not run.wanted:
            return None
        policies = self._policies(namespace)
        return Cell(
            run=f"{namespace}/{pod.run}",
            uid=uid,
            address=pod.address,
            policies=tuple(policy.name for policy in policies),
            rules=tuple(usable(run, pod, policies)) if policies else (),
            suspended=not policies or any(policy.suspended for policy in policies),
            budget=tightest([run.budget, pod.budget, *(policy.budget for policy in policies)]),
            daily=tuple((p.name, p.daily) for p in policies if p.daily != UNLIMITED),
        )

    def kept(self, name: str) -> credentials.Keeping | None:
        """The Secret of this name, as it is now."""
        return self.secrets.store.get((names.GATEWAY_NAMESPACE, name))

    def _policies(self, namespace: str) -> list[Policy]:
        """The policies that hold a namespace; none where the fence of bindings lacks a part."""
        bindings = tuple(binding for binding in self.bindings.store.values() if binding)
        taken = fence.holding_policies(namespace, standing(bindings))
        if isinstance(taken, Refusal):
            return []
        found = [self.policies.store.get((names.POLICY_NAMESPACE, name)) for name in taken]
        return [policy or Policy("", suspended=True, rules={}) for policy in found]

    def _on_binding(self, _: object, old: fence.Binding | None, new: fence.Binding | None) -> None:
        for namespace in {binding.namespace for binding in (old, new) if binding is not None}:
            if namespace not in self.pods:
                self._watch(namespace)

    def _watch(self, namespace: str) -> None:
        """Follow the cells of one namespace."""

        def on_pod(_: object, old: Pod | None, new: Pod | None) -> None:
            if old is not None:
                self._cells.pop(old.uid, None)
            if new is not None:
                self._cells[new.uid] = (namespace, new)

        pods = informer.Informer(
            self._api, paths.pods(namespace), read_pod, on_pod, names.RUN_LABEL
        )
        self.pods[namespace] = pods
        self._begun[namespace] = asyncio.get_running_loop().time()
        self._group.create_task(pods.run(self._jitter))


def follows(*sources: informer.Informer[Any]) -> bool:
    """Whether each has been listed, and its watch has not fallen silent."""
    now = asyncio.get_running_loop().time()
    return all(
        source.synced.is_set() and now - source.last_activity < SILENT_SECONDS for source in sources
    )


def ignore(*_: object) -> None:
    """Nobody waits for this change: each request looks at what is known then."""


def standing(bindings: tuple[fence.Binding, ...]) -> fence.Fence:
    """A fence of these bindings; whether its walls stand is for the controller to see."""
    admission = frozenset((*names.LIMITS_POLICIES, *names.FLOOR_POLICIES))
    return fence.Fence(bindings, admission, closed=True, holes=())


def usable(run: Run, pod: Pod, policies: list[Policy]) -> list[EgressRule]:
    """The rules that the run asks for, was granted, and has in every policy as they were then."""
    first = policies[0].rules
    return [
        first[name][1]
        for name, digest in pod.granted.items()
        if name in run.asked
        and all(policy.rules.get(name, ("",))[0] == digest for policy in policies)
    ]
