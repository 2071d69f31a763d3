"""The system call filter that a process of a cell really has, read by `ceccomp` from the kernel."""

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile

from bed.kube import Document

CECCOMP = Path(sys.executable).with_name("ceccomp")


@dataclass(frozen=True)
class Filter:
    """A filter, as text."""

    text: str

    @cached_property
    def file(self) -> str:
        """A file that holds it; it goes with the machine's temporary files."""
        with NamedTemporaryFile("w", suffix=".filter", delete=False) as file:
            file.write(self.text)
        return file.name

    def answer(self, call: str, *words: int, arch: str = "") -> str:
        """What the filter says to a call, for instance 'ALLOW', 'ERRNO(1)' or 'KILL'."""
        where = ("--arch", arch) if arch else ()
        said = ceccomp("emu", "--quiet", *where, self.file, call, *(str(word) for word in words))
        return said.strip().removeprefix("return ")


def ceccomp(*words: str) -> str:
    """Run ceccomp."""
    done = subprocess.run(  # noqa: S603  # A program of our own environment.
        [str(CECCOMP), words[0], "--color", "never", *words[1:]],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def of_process(pid: int) -> list[Filter]:
    """The filters of a process, whose names the kernel lets root read."""
    text = ceccomp("trace", "--pid", str(pid))
    parts = text.split(" Line  CODE")[1:]
    return [Filter(f" Line  CODE{part}") for part in parts]


def processes(pod: Document) -> list[int]:
    """The processes of a Pod, but for the one that holds its namespaces open."""
    uid = pod["metadata"]["uid"]
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            inside = uid in path.read_text()
            name = path.with_name("comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if inside and name != "pause":
            found.append(int(path.parent.name))
    return found


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
