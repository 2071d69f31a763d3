"""The node as a whole: up, down, how it is, and its components one by one."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onenode import (
    build,
    cgroups,
    components,
    configs,
    launch,
    leftovers,
    mounts,
    network,
    paths,
    pki,
    processes,
    registry,
    settings,
    shell,
    state,
    waiting,
)  # fmt: skip
from onenode.api import Api
from onenode.faults import Fault
from onenode.paths import Places

BOUND_SECONDS = 120
REGISTRIES = ("registry", "private-registry")


@dataclass(slots=True)
class Start:
    """One start of the node; it carries the record from step to step."""

    places: Places
    record: state.Record

    def run(self, *names: str) -> None:
        """Start components, in this order."""
        table = launch.table(self.places)
        for name in names:
            self.record = launch.start(self.places, self.record, table[name])

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, for as long as every component lives."""
        check = functools.partial(launch.check, self.places, self.record)
        waiting.until(condition, what, BOUND_SECONDS, check)


def up(places: Places) -> None:
    """Return when a node of this checkout is ready; a healthy one is kept."""
    with state.lock():
        record = state.load()
        if record and healthy(places, record):
            shell.say("The node is up already.")
            return
        if leftovers.exist():
            whose = f" of {record.checkout}" if record else ""
            shell.say(f"Removing what an earlier node{whose} has left.")
            leftovers.clean(record, places)
        _start(places)


def healthy(places: Places, record: state.Record) -> bool:
    """Say whether this checkout's node runs, whole."""
    if record.checkout != str(places.checkout) or record.built != _built(build.programs()):
        return False
    whole = set(record.processes) == {components.MOUNTS, *launch.table(places)}
    calm = whole and not record.stopped and not record.dead and network.ipv6_is_closed()
    return calm and Api(places).node_ready()


def _built(programs: Mapping[str, Path]) -> tuple[str, ...]:
    return tuple(sorted({str(path.parent) for path in programs.values()}))


def _start(places: Places) -> None:
    begun = time.monotonic()
    programs = build.programs()
    made = (*network.missing(), *mounts.missing(places))
    record = state.save(state.Record(str(places.checkout), state.boot(), _built(programs), made))
    _prepare(places)
    mounts.prepare(places)
    pki.create(places.pki)
    configs.write(places, programs)
    network.create()
    cgroups.create()
    start = Start(places, launch.start_mounts(places, record))
    start.until(mounts.READY.exists, "The mount namespace")
    _control_plane(start)
    _workers(start)
    _hand_over(places, programs)
    shell.say(f"The node is up after {time.monotonic() - begun:.1f} seconds.")


def _prepare(places: Places) -> None:
    places.cluster.mkdir(exist_ok=True)
    # What lies here belongs to nobody's commit.
    (places.cluster / ".gitignore").write_text("*\n")
    shutil.rmtree(places.log, ignore_errors=True)
    for folder in (places.log, places.data, places.bin, places.volumes):
        folder.mkdir(exist_ok=True)


def _control_plane(start: Start) -> None:
    api = Api(start.places)
    start.run("world", "etcd", "kube-apiserver", "containerd", *REGISTRIES)
    start.until(registry.answer, "The registries' first answers")
    registry.push_program(build.programs()["pause"], "3")
    # The kubelet exits when it is there before containerd's socket.
    start.until(paths.CONTAINERD_SOCKET.is_socket, "containerd's socket")
    start.until(api.ready, "The API server's readiness")


def _workers(start: Start) -> None:
    api = Api(start.places)
    start.run("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    # kube-router exits when the Node is not registered, and then nothing is enforced.
    start.until(api.registered, "The Node's registration")
    start.run("kube-router")
    start.until(_fenced, "kube-router's first rules")
    start.until(api.node_ready, "The Node's readiness")
    start.until(api.accounts_ready, "The default ServiceAccount")
    start.until(_world_answers, "An answer of `world`")
    launch.check(start.places, start.record)


def _fenced() -> bool:
    enter = network.inside(settings.NODE_NETWORK)
    return shell.succeeds(*enter, "iptables", "-w", "-S", "KUBE-ROUTER-FORWARD")


def _world_answers() -> bool:
    return shell.succeeds(*components.world_check())


def _hand_over(places: Places, programs: Mapping[str, Path]) -> None:
    for name in ("kubectl", "helm", "ctr"):
        link = places.bin / name
        link.unlink(missing_ok=True)
        link.symlink_to(programs[name])
    places.registry.write_text(f"{settings.REGISTRY}\n")
    places.kubeconfig.touch(mode=0o600)
    places.kubeconfig.write_text((places.pki / "admin.kubeconfig").read_text())


def down(places: Places) -> None:
    """Return when nothing of a node is left on this machine, whoever started it."""
    with state.lock():
        if not leftovers.exist():
            shell.say("No node is running.")
            return
        begun = time.monotonic()
        leftovers.clean(state.load(), places)
        shell.say(f"The node is down after {time.monotonic() - begun:.1f} seconds.")


def dead_components() -> list[str]:
    """Return the components that died by themselves; a Fault when no node was started."""
    return _record().dead


def status(places: Places) -> bool:
    """Print a line for each component; say whether all live that nobody stopped."""
    record = _record()
    for name, process in record.processes.items():
        print(f"{name:25}{_condition(record, name, process)}")
    for name in record.dead:
        owner = Places(Path(record.checkout))
        print(f"\nThe end of the log of {name}:\n{launch.last_words(owner, name)}")
    if record.checkout != str(places.checkout):
        print(f"\nThis node belongs to {record.checkout}.")
    return not record.dead


def _condition(record: state.Record, name: str, process: processes.Process) -> str:
    if name in record.stopped:
        return "stopped"
    return f"alive, process {process.pid}" if process.alive else "dead"


def _record() -> state.Record:
    record = state.load()
    if record is None:
        raise Fault("No node is running.")
    return record


def stop(places: Places, name: str) -> None:
    """End one component; what it started, such as containers, goes on."""
    with state.lock():
        record = _own(places, name)
        # Written first, so that nobody who looks meanwhile thinks that it died.
        state.save(record.ended(name))
        processes.stop(record.processes[name])


def start(places: Places, name: str) -> None:
    """Start one component that was stopped or died."""
    with state.lock():
        record = _own(places, name)
        if record.processes[name].alive:
            shell.say(f"{name} is running already.")
            return
        launch.start(places, record, launch.table(places)[name])


def _own(places: Places, name: str) -> state.Record:
    record = _record()
    if record.checkout != str(places.checkout):
        raise Fault(f"The node that runs belongs to {record.checkout}.")
    names = [each for each in record.processes if each != components.MOUNTS]
    if name not in names:
        raise Fault(f"There is no component `{name}`; there are {', '.join(names)}.")
    return record
