"""The command line: `PYTHONPATH=tests python3 -m onenode <command>`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from onenode import base, build, images, node, packages, paths, registry, snapshot
from onenode.faults import Fault

Command = Callable[[argparse.Namespace], bool]
Add = Callable[[str, Command, str], argparse.ArgumentParser]


def _build(asked: argparse.Namespace) -> bool:
    packages.install()
    build.build(asked.names)
    return True


def _up(_: argparse.Namespace) -> bool:
    node.up(paths.here())
    return True


def _down(_: argparse.Namespace) -> bool:
    node.down(paths.here())
    return True


def _status(_: argparse.Namespace) -> bool:
    return node.status(paths.here())


def _stop(asked: argparse.Namespace) -> bool:
    node.stop(paths.here(), asked.name)
    return True


def _start(asked: argparse.Namespace) -> bool:
    node.start(paths.here(), asked.name)
    return True


def _snapshot(asked: argparse.Namespace) -> bool:
    snapshot.write(asked.file)
    return True


def _diff(asked: argparse.Namespace) -> bool:
    found = snapshot.compare(asked.file)
    print("\n".join(found) if found else "Nothing differs.")
    return not found


def _base(_: argparse.Namespace) -> bool:
    print(base.archive())
    return True


def _image(asked: argparse.Namespace) -> bool:
    wish = images.Wish(asked.context, asked.file, tuple(asked.build_arg), asked.packages)
    print(registry.push(asked.name, images.archive(wish), private=asked.private))
    return True


def _push(asked: argparse.Namespace) -> bool:
    print(registry.push(asked.name, asked.archive))
    return True


class Commands:
    """The commands of one parser."""

    def __init__(self) -> None:
        self.parser = argparse.ArgumentParser(
            "onenode", description="A real, sealed Kubernetes node."
        )
        self._commands = self.parser.add_subparsers(required=True, metavar="command")

    def add(self, name: str, command: Command, promise: str) -> argparse.ArgumentParser:
        """Add a command; its promise is its help."""
        parser = self._commands.add_parser(name, help=promise, description=promise)
        parser.set_defaults(command=command)
        return parser


def _node_commands(add: Add) -> None:
    names = add("build", _build, "Install missing packages, compile missing components.")
    names.add_argument("names", nargs="*", help="components; all by default")
    add("up", _up, "Start the node, or keep the one that runs; return when it is ready.")
    add("down", _down, "End the node and leave nothing behind but logs and volumes.")
    add("status", _status, "Print a line for each component; fail if one died.")
    add("stop", _stop, "Stop one component.").add_argument("name")
    add("start", _start, "Start one component that was stopped or died.").add_argument("name")


def _snapshot_commands(add: Add) -> None:
    record = add("snapshot", _snapshot, "Record processes, mounts, links, namespaces and groups.")
    record.add_argument("file", type=Path)
    compare = add("diff", _diff, "Print what differs from a record; fail if anything does.")
    compare.add_argument("file", type=Path)


def _image_commands(add: Add) -> None:
    add("base", _base, "Make the local base image if it is missing; print its archive.")
    image = add("image", _image, "Build an image, push it to the node, print its reference.")
    image.add_argument("name")
    image.add_argument("--context", type=Path, required=True, metavar="DIR")
    image.add_argument("--file", type=Path, metavar="DOCKERFILE", help="by default the context's")
    image.add_argument("--private", action="store_true", help="into the registry with a password")
    image.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    image.add_argument("--packages", default="", help="of Debian, more for the base")
    push = add("push", _push, "Push an OCI archive to the node, print its reference.")
    push.add_argument("name")
    push.add_argument("archive", type=Path)


def main() -> int:
    """Run one command; its Faults are messages, not tracebacks."""
    commands = Commands()
    for group in (_node_commands, _snapshot_commands, _image_commands):
        group(commands.add)
    asked = commands.parser.parse_args()
    try:
        return 0 if asked.command(asked) else 1
    except Fault as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
