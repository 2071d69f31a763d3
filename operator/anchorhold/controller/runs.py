"""The AgentRuns as far as they are known: fed by events, by lists and by our own writes.

Kopf delivers the events, but it never learns of what was deleted while its watch was down, and
it may deliver an older version after our own write. So the newest version wins, and a list of
all runs, at the start and every ten minutes, removes what is gone.
"""

from collections.abc import Iterable
from typing import Any

from anchorhold.controller.observed import Key, Run, read_run

Document = dict[str, Any]


class Runs:
    """The runs by namespace and name. Each method returns the keys to look at."""

    def __init__(self) -> None:
        self._runs: dict[Key, Run] = {}
        self._gone: dict[Key, int] = {}

    def get(self, key: Key) -> Run | None:
        """The run of this name, as far as is known."""
        return self._runs.get(key)

    def unfinished(self, namespace: str) -> list[Run]:
        """The runs of a namespace that have no end yet, the oldest first."""
        waiting = (run for run in self._runs.values() if run.key[0] == namespace)
        return sorted(
            (run for run in waiting if not run.finished and not run.deleting),
            key=lambda run: (run.created, run.uid),
        )

    def namespaces(self) -> set[str]:
        """The namespaces that hold a run, finished or not."""
        return {namespace for namespace, _ in self._runs}

    def put(self, document: Document) -> set[Key]:
        """Take a version of a run, unless a newer one is known."""
        run = read_run(document)
        known = self._runs.get(run.key)
        seen = self._gone.get(run.key, -1) if known is None else known.version
        if seen >= run.version:
            return set()
        self._runs[run.key] = run
        return {run.key}

    def remove(self, document: Document) -> set[Key]:
        """Take note that a run is gone."""
        run = read_run(document)
        known = self._runs.get(run.key)
        if known is not None and known.version > run.version:
            return set()
        # The answer to our own last write may come later than the news that the run is gone.
        self._gone[run.key] = run.version
        return self._drop(run.key) if known is not None else set()

    def replace(self, documents: Iterable[Document], version: int) -> set[Key]:
        """Take a list of all runs, as it was at `version`."""
        self._gone = {key: seen for key, seen in self._gone.items() if seen > version}
        listed, changed = set(), set[Key]()
        for document in documents:
            listed.add((document["metadata"]["namespace"], document["metadata"]["name"]))
            changed |= self.put(document)
        gone = [k for k, run in self._runs.items() if k not in listed and run.version <= version]
        return changed.union(*(self._drop(key) for key in gone))

    def _drop(self, key: Key) -> set[Key]:
        """Forget a run; those that wait for its place are to be looked at."""
        del self._runs[key]
        return {key}
