"""Does real work and says what came of it: one line a test, `= <outcome> <name>`.

`run.py tools|node|go|python-processes|python-rest`, in /workspace, with the standard library alone.
"""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
WORK = Path("/workspace")
Result = tuple[str, str]
# Those of Go's own packages that talk to the kernel.
GO_PACKAGES = (
    "io/fs", "os", "os/exec", "os/signal", "os/user", "net", "runtime/pprof", "sync", "syscall",
    "time", "path/filepath", "internal/poll", "archive/tar",
)  # fmt: skip
MODULE = re.compile(r"\[ *\d+/\d+(?:/\d+)?\] (test_\w+) (passed|skipped|failed|crashed|timed|\w+)")


def python() -> Iterator[Result]:
    """CPython's own tests: each module of a list, and each test in it."""
    modules = (HERE / f"{sys.argv[1]}.txt").read_text().split()
    report = WORK / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "test", "-j4", "--timeout", "300", "--tempdir", str(WORK),
         "--junit-xml", str(report), *modules],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    print(done.stdout, flush=True)
    for name, outcome in MODULE.findall(done.stdout):
        yield outcome, name
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        yield (
            next((k for k in ("error", "failure", "skipped") if k in kinds), "ok"),
            str(case.get("name")),
        )


def steps(*commands: tuple[str, str]) -> Iterator[Result]:
    """Shell commands, one after another: each is a test."""
    for name, command in commands:
        done = subprocess.run(["bash", "-euc", command], cwd=WORK, check=False,
                              capture_output=True, text=True, errors="replace")  # fmt: skip
        if done.returncode:
            print(name, done.returncode, done.stdout, done.stderr, flush=True)
        yield ("ok" if done.returncode == 0 else "failed"), name


def node() -> Iterator[Result]:
    """Node and npm."""
    done = subprocess.run(["node", str(HERE / "node.js")], cwd=WORK, check=False,
                          stdout=subprocess.PIPE, text=True)  # fmt: skip
    print(done.stdout, flush=True)
    yield "ok" if done.returncode == 0 else f"ended with {done.returncode}", "node"
    for outcome, name in re.findall(r"^@ (\w+) (.*)$", done.stdout, re.MULTILINE):
        yield outcome, f"node: {name}"
    yield from steps(
        ("npm init", "mkdir -p app lib && cd lib && npm init --yes"),
        ("npm pack", "cd lib && echo 'module.exports = 42' > index.js && npm pack"),
        ("npm install", "cd app && npm init --yes && npm install --offline ../lib/lib-1.0.0.tgz"),
        ("npm use", "cd app && test $(node -p 'require(\"lib\")') = 42"),
        ("npm run", "cd app && npm pkg set scripts.hello='echo hello' && npm run hello"),
    )


def tools() -> Iterator[Result]:
    """git and a C compiler."""
    yield from steps(
        ("git init", "git config --global user.email a@b.c && git config --global user.name a"
         " && git init -b main one && cd one && cp -r /workload/. . && git add -A"
         " && git commit -m first"),
        ("git branch", "cd one && git switch -c more && echo x >> run.py && git commit -am more"
         " && git switch main && git merge --no-ff more"),
        ("git clone", "git clone one two && cd two && git log --stat"),
        ("git gc", "cd one && git repack -adf && git gc --prune=now && git fsck --full"),
        ("git worktree", "cd one && git worktree add ../three more && git status"),
        ("git daemonless fetch", "cd two && git fetch --all && git pull"),
        ("gcc", "gcc -O2 -Wall -pthread -o program /workload/program.c -lrt && ./program"),
        ("gcc -static", "gcc -static -pthread -o static /workload/program.c && ./static"),
        ("a pipeline", "seq 100000 | sort -R | sort -n | gzip | gunzip | sha256sum"),
        ("tar", "tar czf /workspace/all.tgz one && mkdir -p out && tar xzf all.tgz -C out"),
        ("find", "find / -xdev -type f | head -2000 | xargs -P4 -n50 md5sum 2>/dev/null | wc -l"),
    )  # fmt: skip


def go() -> Iterator[Result]:
    """A Go compiler, and tests of its own library."""
    os.environ |= {"GOCACHE": str(WORK / "cache"), "GOPATH": str(WORK / "go")}
    os.environ |= {"GOTMPDIR": str(WORK), "GOFLAGS": "-mod=mod"}
    yield from steps(("go build", "mkdir -p hello && cd hello && cp /workload/hello.go main.go"
                      " && go mod init hello && go build . && ./hello"))  # fmt: skip
    done = subprocess.run(
        ["go", "test", "-json", "-short", "-count=1", "-vet=off", *GO_PACKAGES],
        cwd="/usr/lib/go-1.19/src", stdout=subprocess.PIPE, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        if event["Action"] in ("pass", "fail", "skip"):
            yield event["Action"], f"go: {event['Package']} {event.get('Test', '')}".strip()
        elif event["Action"] == "output" and "FAIL" in event["Output"]:
            print(event["Output"].strip(), flush=True)


if __name__ == "__main__":
    suites = {"tools": tools, "node": node, "go": go}
    for outcome, name in suites.get(sys.argv[1], python)():
        print("=", outcome, name, flush=True)
