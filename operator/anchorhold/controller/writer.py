"""Everything that the controller writes: cells, statuses, Events, and the end of a Pod."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from anchorhold import names
from anchorhold.cluster import client, paths
from anchorhold.controller import cells, events, metrics, plan
from anchorhold.controller.observed import Observed, Pod, Run
from anchorhold.controller.view import View
from anchorhold.policy import identity
from anchorhold.policy.grant import Grant
from anchorhold.policy.window import CLOSED, Window

# Refusals of the API server that a run's author sees while the controller tries again.
SHOWN = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)

_log = logging.getLogger(__name__)
Document = dict[str, Any]
# With zero the Pod would be gone from the API before it is gone from its node.
AT_ONCE_SECONDS = 1


class Writer:
    """Carries plans out, and tells the view what it wrote.

    `key` reads the key that signs the runs' tokens, as it is at that moment.
    """

    def __init__(self, api: client.Client, view: View, key: Callable[[], bytes]) -> None:
        self._api = api
        self._view = view
        self._key = key

    async def apply(self, observed: Observed, decided: plan.Plan) -> None:
        """Write what a plan says, in the order that survives a crash."""
        if decided.launch is not None:
            await self._launch(observed, decided.launch)
        if decided.status is not None:
            await self._report(observed.run, decided.status)
        if decided.shorten is not None:
            await self._shorten(observed.run.key[0], *decided.shorten)
        if decided.delete_pod is not None:
            grace = AT_ONCE_SECONDS if decided.at_once else None
            await self.delete(observed.run.key[0], decided.delete_pod, grace)
        if decided.delete_run:
            run = observed.run
            await self._api.delete(paths.agent_run(*run.key), run.uid)

    async def _launch(self, observed: Observed, grant: Grant) -> None:
        """Make the cell, or say why it was denied, and try again."""
        # Before anything is awaited: whoever is judged meanwhile must see that the place is taken.
        self._view.placed[observed.run.key] = grant.request.uid
        try:
            refusal = await cells.launch(self._api, grant, await self._way_out(grant))
        except client.ApiError as error:
            if error.status in SHOWN:
                await self._report(observed.run, plan.denied(observed, grant, error.message))
            raise
        if refusal is None:
            self._view.launched[observed.run.key] = grant.request.uid
            return
        await self._report(observed.run, plan.end(observed, refusal.reason, refusal.message).status)

    async def _way_out(self, grant: Grant) -> Window:
        """Where the run's gateway is at this moment, and the token that the run has there."""
        if not grant.gateway:
            return CLOSED
        service = await self._api.get(paths.service(names.GATEWAY_NAMESPACE, grant.gateway))
        address = f"{service['spec']['clusterIP']}:{names.GATEWAY_PORT}"
        return Window(address, identity.token(self._key(), grant.request.uid))

    async def _report(self, run: Run, wanted: Document | None) -> None:
        """Write a status, onto the very version that was judged: a conflict is tried again.

        The version also tells a run from a later one of its name. The uid would not: the API
        server ignores it in a patch of the status.
        """
        if wanted is None:
            return
        namespace, name = run.key
        body = {"metadata": {"resourceVersion": str(run.version)}, "status": wanted}
        try:
            stored = await self._api.patch(paths.agent_run_status(namespace, name), body)
        except client.ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return
            raise
        self._view.wrote(stored)
        await self._announce(run, wanted)

    async def _announce(self, run: Run, written: Document) -> None:
        """Say once what a run has come to: a log line, a figure, and an Event if it failed."""
        succeeded = next(c for c in written["conditions"] if c["type"] == "Succeeded")
        reason, message = succeeded["reason"], succeeded["message"]
        metrics.TRANSITIONS.labels(reason).inc()
        where = {"namespace": run.key[0], "run": run.key[1], "uid": run.uid}
        _log.info("run", extra={**where, "reason": reason, "detail": message})
        if succeeded["status"] != "False":
            return
        event = events.of_run(run, reason, message, succeeded["lastTransitionTime"])
        try:
            await self._api.create(paths.events(run.key[0]), event)
        except client.ApiError as error:
            _log.warning("no Event was written: %s", error, extra=where)

    async def delete(self, namespace: str, pod: Pod, grace_seconds: int | None = None) -> None:
        """Delete this very Pod; a namesake is spared."""
        await self._api.delete(paths.pod(namespace, pod.name), pod.uid, grace_seconds)

    async def _shorten(self, namespace: str, pod: Pod, seconds: int) -> None:
        """Give a cell less time; Kubernetes never lets a deadline grow."""
        body = {"spec": {"activeDeadlineSeconds": seconds}}
        await self._api.patch(paths.pod(namespace, pod.name), body)
