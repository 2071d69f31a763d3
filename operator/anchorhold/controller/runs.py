"""The AgentRuns as far as they are known: fed by events, by lists and by our own writes.

Kopf delivers the events, but it never learns of what was deleted while its watch was down, and
it may deliver an older version after our own write. So the newest version wins, and a list of
all runs, at the start and every ten minutes, removes what is gone.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from anchorhold.controller.observed import Key, Pod, Run, has_ended, read_run

Document = dict[str, Any]


class Runs:
    """The runs by namespace and name. Each method returns the keys to look at."""

    def __init__(self) -> None:
        self._runs: dict[Key, Run] = {}
        self._unfinished: defaultdict[str, dict[Key, Run]] = defaultdict(dict)
        self._gone: dict[Key, int] = {}

    def get(self, key: Key) -> Run | None:
        """The run of this name, as far as is known."""
        return self._runs.get(key)

    def unfinished(self, namespace: str) -> list[Run]:
        """The runs of a namespace that have no end yet, the oldest first."""
        runs = self._unfinished[namespace].values()
        return sorted(runs, key=lambda run: (run.created, run.uid))

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
        if run.finished or run.deleting:
            self._unfinished[run.key[0]].pop(run.key, None)
        else:
            self._unfinished[run.key[0]][run.key] = run
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
        self._unfinished[key[0]].pop(key, None)
        return {key}


class Cells:
    """The cells by the run that they say they belong to, as the watches of Pods show them."""

    def __init__(self) -> None:
        self._cells: defaultdict[Key, dict[str, Pod]] = defaultdict(dict)
        self._live: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def named(self, key: Key) -> list[Pod]:
        """The Pods that say they belong to a run of this name, of whatever uid."""
        return list(self._cells[key].values()) if key in self._cells else []

    def of(self, run: Run) -> Pod | None:
        """The Pod of this very run."""
        return next((pod for pod in self.named(run.key) if pod.owner_uid == run.uid), None)

    def live(self, namespace: str) -> list[str]:
        """The uids of the runs whose cells may still do something."""
        return list(self._live[namespace].values())

    def change(self, namespace: str, old: Pod | None, new: Pod | None) -> set[Key]:
        """Take what a watch says of one Pod; returns the runs that it is about."""
        if old is not None:
            self._live[namespace].pop(old.name, None)
            cells = self._cells[namespace, old.owner_name]
            cells.pop(old.name, None)
            if not cells:
                del self._cells[namespace, old.owner_name]
        if new is not None:
            self._cells[namespace, new.owner_name][new.name] = new
            if not has_ended(new):
                self._live[namespace][new.name] = new.owner_uid
        return {(namespace, pod.owner_name) for pod in (old, new) if pod is not None}

    def forget(self, namespace: str) -> None:
        """Drop what was known of a namespace that nobody watches any more."""
        self._live.pop(namespace, None)
        for key in [key for key in self._cells if key[0] == namespace]:
            del self._cells[key]
