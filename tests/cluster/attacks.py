"""What a hostile agent does against its limits, each as one run, and what must become of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What the test node's kubelet allows a Pod; the kernel counts threads, and the Pod's own container.
PIDS = 256
Seen = dict[str, Any]


def anything(_: Seen) -> bool:
    """For what does not live to tell."""
    return True


def is_full(seen: Seen) -> bool:
    """Whether a folder took its size and no more."""
    return seen == {"mebibytes": 64, "error": "No space left on device"}


@dataclass(frozen=True)
class Attack:
    """A run: what it does, with how much room, how it ends, and what it saw until then.

    `without` says what shows that it was the limit; each of these is another run or test.
    """

    name: str
    code: str
    reason: str
    without: str = ""
    saw: Callable[[Seen], bool] = anything
    cpu: str = "75m"
    memory: str = "64Mi"
    seconds: int = 100

    def __str__(self) -> str:
        return self.name

    @property
    def wishes(self) -> dict[str, Any]:
        """The run's spec, but for what every agent has."""
        resources = {"cpu": self.cpu, "memory": self.memory}
        return {"resources": resources, "activeDeadlineSeconds": self.seconds}


ATTACKS = (
    Attack(
        "a fork bomb", "import fork_bomb", "DeadlineExceeded",
        "600 processes of one user, outside of any cell",
        saw=lambda seen: 1 <= seen["children"] < PIDS and seen["error"] == "EAGAIN",
        memory="256Mi", seconds=60,
    ),
    Attack(
        "16 children that take 16 MiB each", "import memory_bomb as m; m.by_children(16)",
        "OutOfMemory", "8 such children in 256Mi: Completed",
    ),
    Attack(
        "filling /dev/shm", "import memory_bomb as m; m.by_file('/dev/shm')", "OutOfMemory",
        "with 256Mi it is full at 64 MiB", saw=lambda seen: seen["mebibytes"] <= 64,
    ),
    Attack(
        "filling /tmp", "import memory_bomb as m; m.by_file('/tmp')", "OutOfMemory",
        "with 256Mi it is full at 64 MiB", saw=lambda seen: seen["mebibytes"] <= 64,
    ),
    Attack(
        "spinning on eight CPUs", "import spinning", "DeadlineExceeded",
        "the neighbour runs on", memory="128Mi", seconds=60,
    ),
    Attack(
        "filling /workspace", "import disk_bomb as d; d.by_bytes('/workspace/fill')",
        "DiskExceeded", "32 MiB: Completed",
    ),
    Attack(
        "a million empty files in /tmp", "import disk_bomb as d; d.by_names('/tmp')",
        "OutOfMemory", "10,000: Completed", saw=lambda seen: seen["files"] < 1_000_000,
    ),
    Attack(
        "flooding the log", "import disk_bomb as d; d.by_log()", "DiskExceeded",
        "8 MiB: Completed", cpu="100m",
    ),
    Attack(
        "leaving five deaf daemons behind", "import daemons", "Completed",
        "all five live while the agent does",
        saw=lambda seen: seen["daemons"] == 5 and seen["alive"] == 5,
    ),
    Attack(
        "hearing no signal", "import deaf", "DeadlineExceeded", "the neighbour runs on",
        saw=lambda seen: bool(seen["deaf"]), seconds=60,
    ),
)  # fmt: skip
# What no limit of the cell ends: it completes, and what it took is measured on the node.
UNSIZED = (
    Attack(
        "300 MiB into the termination file",
        "import disk_bomb as d, os; d.by_bytes(os.environ['ANCHORHOLD_RESULT'], 300)", "Completed",
    ),
    Attack(
        "100,000 empty files in /workspace",
        "import disk_bomb as d; d.by_names('/workspace', 100_000)", "Completed",
        saw=lambda seen: seen["files"] == 100_000, cpu="500m",
    ),
)  # fmt: skip
# The same programs with more room, or with a smaller wish.
CONTROLS = (
    Attack(
        "8 children that take 16 MiB each", "import memory_bomb as m; m.by_children(8)",
        "Completed", saw=lambda seen: seen == {"children": 8, "end": 0}, memory="256Mi",
    ),
    Attack(
        "filling /dev/shm with more memory", "import memory_bomb as m; m.by_file('/dev/shm')",
        "Completed", saw=is_full, memory="256Mi",
    ),
    Attack(
        "filling /tmp with more memory", "import memory_bomb as m; m.by_file('/tmp')",
        "Completed", saw=is_full, memory="256Mi",
    ),
    Attack(
        "32 MiB in /workspace", "import disk_bomb as d; d.by_bytes('/workspace/fill', 32)",
        "Completed", saw=lambda seen: seen == {"mebibytes": 32},
    ),
    Attack(
        "10,000 empty files in /tmp", "import disk_bomb as d; d.by_names('/tmp', 10_000)",
        "Completed", saw=lambda seen: seen["files"] == 10_000,
    ),
    Attack(
        "8 MiB in the log", "import disk_bomb as d; d.by_log(8)", "Completed",
        saw=lambda seen: seen == {"mebibytes": 8},
    ),
)  # fmt: skip
