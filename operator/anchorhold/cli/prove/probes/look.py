"""Looks around: who it is, whose kernel it is on, and what lies around that opens something."""

import itertools
import re
import resource

TOKEN = rb"eyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{15,}"
KEY = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}"
SECRETS = {
    "a token": TOKEN,
    "a private key": KEY,
    "a kubeconfig": rb"client-(key|certificate)-data:",
}
PLACES = (
    "/run",
    "/var/run",
    "/etc",
    "/root",
    "/home",
    "/tmp",
    "/workspace",
    "/inputs",
    "/skills",
    "/mnt",
)
MOST_BYTES, MOST_FILES = 1 << 20, 20_000
PLANTED = "/workspace/.planted" if os.path.isdir("/workspace") else "/tmp/.planted"
MADE_UP = "eyJ" + "a" * 20 + ".eyJ" + "b" * 20 + "." + "c" * 20


def probe(_):
    """Everything at once."""
    with open(PLANTED, "w", encoding="ascii") as file:
        file.write(MADE_UP)
    rows = [line.partition(":") for line in open("/proc/self/status")]
    status = {key: value.strip() for key, _, value in rows}
    looked = list(itertools.islice(places(), MOST_FILES))
    found = [[what, path] for path in looked for what in holds(path)]
    planted = ["a token", PLANTED] in found
    return {
        "users": open("/proc/self/uid_map").read().split(),
        "kernel": open("/proc/version").read().strip(),
        "process": {key: status.get(key, "") for key in ("CapEff", "NoNewPrivs", "Seccomp", "Uid")},
        "planted": planted,
        "found": [pair for pair in found if pair[1] != PLANTED][:10],
        "accounts": os.path.exists("/var/run/secrets/kubernetes.io"),
        "looked": len(looked),
        "whole": len(looked) < MOST_FILES,
        "file": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "writable": writable_mounts(),
        "openers": openers(),
    }


def places():
    """Files that somebody may have put there, and what every process is told."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        yield "/proc/%s/environ" % pid
        yield "/proc/%s/cmdline" % pid
    for top in PLACES:
        for folder, _, files in os.walk(top):
            for name in files:
                path = os.path.join(folder, name)
                if os.path.isfile(path):  # And no pipe, which would wait for ever.
                    yield path


def holds(path):
    """What a file holds that opens something."""
    try:
        if path.startswith("/proc/") or os.path.getsize(path) <= MOST_BYTES:
            with open(path, "rb") as file:
                text = file.read(MOST_BYTES)
            return [what for what, pattern in SECRETS.items() if re.search(pattern, text)]
    except OSError:
        pass
    return []


# What lies there is the kernel's, and keeps nothing.
SMALL_BYTES = 1 << 30
KERNEL = ("proc", "sysfs", "mqueue", "devpts", "cgroup", "cgroup2")


def writable_mounts():
    """Each mount that can be written and keeps what it gets: its kind, and whether it is sized."""
    rows = {}
    for line in open("/proc/self/mountinfo"):
        mounted, source = line.split(" - ", 1)
        point, kind = mounted.split()[4], source.split()[0]
        keeps = os.path.isdir(point) or os.path.isfile(point)
        if keeps and kind not in KERNEL and os.access(point, os.W_OK):
            rows[point] = [kind, "size=" in source or total(point) <= SMALL_BYTES]
    return rows


def total(point):
    """How large a file system says it is: a small one is one of its own."""
    found = os.statvfs(point)
    return found.f_blocks * found.f_frsize


# What public escapes from containers begin with: each of these opens a door to the node.
DOORS = {
    "the runtime's socket": ("/var/run/docker.sock", os.W_OK),
    "containerd's socket": ("/run/containerd/containerd.sock", os.W_OK),
    "core_pattern": ("/proc/sys/kernel/core_pattern", os.W_OK),
    "the node's memory": ("/dev/mem", os.R_OK),
    "kcore": ("/proc/kcore", os.R_OK),
    "sysrq": ("/proc/sysrq-trigger", os.W_OK),
    "uevent_helper": ("/sys/kernel/uevent_helper", os.W_OK),
    "cgroups": ("/sys/fs/cgroup", os.W_OK),
    "debugfs": ("/sys/kernel/debug/tracing", os.R_OK),
    "a disk": ("/dev/sda", os.R_OK),
    "fuse": ("/dev/fuse", os.W_OK),
    "kvm": ("/dev/kvm", os.W_OK),
}


def openers():
    """Which of the doors are open."""
    return [name for name, (path, way) in DOORS.items() if os.access(path, way)]
