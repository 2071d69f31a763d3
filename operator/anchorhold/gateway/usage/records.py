"""Where usage is written down: a run's in its own status, a policy's day in a ConfigMap of ours.

The ConfigMap has the name of this gateway's Pod and is made by the chart, so that the gateway
needs no right but to change it; each gateway writes its own, so that no two can disagree.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from anchorhold import names
from anchorhold.cluster import client, paths

Document = Mapping[str, Any]
TRIES = 5


class GoneError(Exception):
    """The run of this uid does not exist any more; there may be a namesake."""


class Records:
    """The records of usage, as the API server has them. `pod` is the name of our own Pod."""

    def __init__(self, api: client.Client, pod: str) -> None:
        self._api = api
        self._days = paths.config_map(names.GATEWAY_NAMESPACE, f"{pod}-usage")

    async def of_run(self, run: str, uid: str) -> Document:
        """What is on record for a run. Raises GoneError, or one of `client.FAULTS`."""
        found = await self._run(run, uid)
        return dict((found.get("status") or {}).get("usage") or {})

    async def write_run(self, run: str, uid: str, usage: Document) -> None:
        """Put it on record, for this very run: the version that was read tells it from namesakes.

        Raises GoneError, or one of `client.FAULTS`.
        """
        namespace, _, name = run.partition("/")
        for left in reversed(range(TRIES)):
            version = (await self._run(run, uid))["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "status": {"usage": usage}}
            try:
                await self._api.patch(paths.agent_run_status(namespace, name), body)
            except client.ApiError as error:
                # The controller wrote meanwhile.
                if error.status != HTTPStatus.CONFLICT or left == 0:
                    raise
            else:
                return

    async def of_day(self, policy: str) -> Document:
        """What is on record for a policy: of whichever day was the last."""
        found = await self._api.get(self._days)
        return dict(json.loads((found.get("data") or {}).get(policy, "{}")))

    async def write_day(self, policy: str, usage: Document) -> None:
        """Put it on record."""
        await self._api.patch(self._days, {"data": {policy: json.dumps(usage)}})

    async def _run(self, run: str, uid: str) -> client.Manifest:
        namespace, _, name = run.partition("/")
        try:
            found = await self._api.get(paths.agent_run(namespace, name))
        except client.ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise GoneError(run) from error
            raise
        if found["metadata"]["uid"] != uid:
            raise GoneError(run)
        return found
