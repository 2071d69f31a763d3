"""Records of usage where no API server is."""

from __future__ import annotations

import json
from typing import Any

from anchorhold.gateway.usage.records import Records


class Paper(Records):
    """They outlive who writes them, and can be away. What is written is text, as elsewhere."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.days: dict[str, dict[str, Any]] = {}
        self.writes = 0
        self.away = False

    async def of_run(self, _: str, uid: str) -> dict[str, Any]:
        self._reach()
        return self.runs.get(uid, {})

    async def write_run(self, _: str, uid: str, usage: Any) -> None:  # noqa: ANN401
        self._reach()
        self.writes += 1
        self.runs[uid] = json.loads(json.dumps(usage))

    async def of_day(self, policy: str) -> dict[str, Any]:
        self._reach()
        return self.days.get(policy, {})

    async def write_day(self, policy: str, usage: Any) -> None:  # noqa: ANN401
        self._reach()
        self.writes += 1
        self.days[policy] = json.loads(json.dumps(usage))

    def _reach(self) -> None:
        if self.away:
            raise OSError("the API server is away")
