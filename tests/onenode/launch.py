"""Starting one component in its namespaces and its control group."""

from __future__ import annotations

from collections.abc import Mapping

from onenode import build, cgroups, components, mounts, network, processes, state
from onenode.components import MOUNTS, Component
from onenode.faults import Fault
from onenode.paths import Places

# The shell joins the group and then becomes the component: nothing it does can happen outside.
_JOIN = 'cd / && echo $$ >"$0" && exec "$@"'


def table(places: Places) -> Mapping[str, Component]:
    """Return every component of this checkout's node."""
    return components.components(places, build.programs())


def start(places: Places, record: state.Record, component: Component) -> state.Record:
    """Start a component and write down its process."""
    holder = record.processes[MOUNTS]
    enter = (*network.inside(component.network), *mounts.inside(holder)[1:])
    argv = (*enter, *component.argv)
    return _start(places, record, component.name, argv, component.environment)


def start_mounts(places: Places, record: state.Record) -> state.Record:
    """Start the process that holds the mount namespace."""
    return _start(places, record, MOUNTS, mounts.holder(places), {})


def _start(
    places: Places, record: state.Record, name: str, argv: tuple[str, ...], extra: Mapping[str, str]
) -> state.Record:
    group = cgroups.components() / "cgroup.procs"
    joining = ["sh", "-c", _JOIN, str(group), *argv]
    process = processes.spawn(joining, places.log / f"{name}.log", extra)
    return state.save(record.started(name, process))


def last_words(places: Places, name: str, lines: int = 20) -> str:
    """Return the end of a component's log."""
    log = places.log / f"{name}.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def check(places: Places, record: state.Record) -> None:
    """Fail at once, with its last words, when a component has died."""
    for name in record.dead:
        raise Fault(f"`{name}` died. The end of its log:\n{last_words(places, name)}")
