"""Which system calls a cell may make, and what becomes of a cell whose node lacks the profile."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import calls
import filters
from agents import Agents, changed_policy, condition
from attempts import Attempts
from bed.installation import CLUSTER
from bed.kube import Kubectl, wait_for
from bed.profile import FILE, NAME, PROFILE

CONTROL = "seccomp"
NODE = "anchorhold-node"
ON_THE_NODE = CLUSTER / "node" / "kubelet" / "seccomp" / NAME
ALLOWED = "SCMP_ACT_ALLOW"
# More calls than any kernel has by now.
ALL_CALLS = range(600)


def expected() -> dict[int, str]:
    """What the profile says to every call that does not depend on its arguments."""
    rules = [(rule, rule.get("args")) for rule in PROFILE["syscalls"]]
    known = {
        number: "ALLOW" if rule["action"] == ALLOWED else f"ERRNO({rule['errnoRet']})"
        for rule, arguments in rules
        for number in map(filters.number, rule["names"])
        if number is not None and not arguments
    }
    depends = {filters.number(name) for rule, arguments in rules if arguments
               for name in rule["names"]}  # fmt: skip
    # runc answers what is newer than all that is named as a kernel without it does.
    others = {number: "ERRNO(1)" if number < max(known) else "ERRNO(38)" for number in ALL_CALLS}
    return {number: answer for number, answer in (others | known).items() if number not in depends}


# ---- the filter ------------------------------------------------------------------------------


def test_a_running_cell_has_exactly_the_filter_of_the_profile(agents: Agents, attempts: Attempts):
    """Read from the kernel, while it runs; and no capability that could take it off."""
    name = agents.running()
    (cell,) = agents.pods(name)
    pid = filters.first(cell)

    seen = filters.status(pid)
    (found,) = filters.of_process(pid)

    assert (seen["Seccomp"], seen["Seccomp_filters"], seen["NoNewPrivs"]) == ("2", "1", "1")
    assert {seen[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    wanted = expected()
    assert {number: found.answer(number) for number in wanted} == wanted
    passing = [number for number, answer in wanted.items() if answer == "ALLOW"]
    assert set(passing) >= {0, 1, 59, 231}, "read, write, execve, exit_group"
    for number in ALL_CALLS:
        assert found.answer(number, arch=filters.I386) == "KILL"
        assert found.answer(number | filters.X32_BIT) in ("KILL", "ERRNO(38)")
    assert agents.get(name)["status"]["effective"]["seccomp"] == NAME
    attempts.record(
        CONTROL, f"each of {len(wanted)} numbers, against the filter read from the kernel",
        "the node", f"{len(passing)} pass, as the profile says", "see the attempts below",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "words", "answer"),
    [
        ("socket", (1, 1, 0), "ALLOW"),
        ("socket", (2, 1, 0), "ALLOW"),
        ("socket", (2, 2, 17), "ALLOW"),
        ("socket", (2, 2, 136), "ALLOW"),
        ("socket", (2, 5, 132), "ERRNO(1)"),
        ("socket", (10, 1, 0), "ERRNO(97)"),
        ("socket", (16, 3, 0), "ALLOW"),
        ("socket", (16, 3, 9), "ERRNO(1)"),
        *(("socket", (family, 1, 0), "ERRNO(1)") for family in range(46) if family not in
          (1, 2, 10, 16)),
        ("socketpair", (1, 1, 0), "ALLOW"),
        ("socketpair", (2, 1, 0), "ERRNO(1)"),
        ("clone", (0x003D0F00,), "ALLOW"),
        *(("clone", (flag | 17,), "ERRNO(1)") for flag in (0x00020000, 0x02000000, 0x04000000,
          0x08000000, 0x10000000, 0x20000000, 0x40000000)),
        ("socket", (2 | 1 << 32, 1, 0), "ERRNO(1)"),
        ("personality", (0,), "ALLOW"),
        ("personality", (0x0040000,), "ERRNO(1)"),
    ],
)  # fmt: skip
def test_arguments_are_filtered(found: filters.Filter, call: str, words: tuple[int], answer: str):
    """By the very filter of a running cell."""
    number = filters.number(call)
    assert number is not None
    assert found.answer(number, *words) == answer


@pytest.fixture(scope="module")
def found(kubectl: Kubectl, author: Kubectl, tenant: str, image: str) -> filters.Filter:
    """The filter of a cell."""
    agents = Agents(author, kubectl, tenant, image)
    try:
        (cell,) = agents.pods(agents.running())
        (read,) = filters.of_process(filters.first(cell))
    finally:
        agents.remove_all()
    return read


# ---- attempts --------------------------------------------------------------------------------


def test_dangerous_calls_fail_in_a_cell_and_not_without_the_profile(
    agents: Agents, kubectl: Kubectl, attempts: Attempts
):
    """The control is root in a user namespace, with the capabilities that the calls ask for."""
    name = agents.submit(calls.program())

    run = agents.end(name)

    inside = json.loads(run["status"]["result"]["message"])
    outside = calls.unfiltered(kubectl, agents.image)
    expected = {a.what: a.cell for a in (*calls.ATTEMPTS, *calls.ALLOWED) if a.what in inside}
    entry = inside.pop(calls.ENTRY, "SIGSYS")
    assert inside == expected
    assert entry == "SIGSYS"
    for attempt in calls.ATTEMPTS:
        if attempt.what in inside:
            got = outside[attempt.what]
            attempts.record(CONTROL, attempt.what, "a cell", inside[attempt.what], got)
    attempts.record(CONTROL, calls.ENTRY, "a cell", entry, outside.get(calls.ENTRY, "none there"))
    missed = {
        a.what: outside[a.what]
        for a in (*calls.ATTEMPTS, *calls.ALLOWED)
        if a.what in inside and a.control not in ("*", outside[a.what])
    }
    assert missed == {}
    assert not [a.what for a in calls.ATTEMPTS if inside.get(a.what) == outside.get(a.what, "-")]
    assert outside.get(calls.ENTRY, calls.SUCCESS) == calls.SUCCESS


@pytest.mark.long
def test_a_policy_can_ask_for_the_runtimes_own_profile(agents: Agents, kubectl: Kubectl):
    """It allows IPv6, for one; the status says which profile it was."""
    open_one = "import socket; socket.socket(socket.AF_INET6)"
    with changed_policy(kubectl, agents.namespace, {"seccomp": "RuntimeDefault"}):
        wait_for(lambda: runs_with_default(agents), 60, "the policy to be known")
        run = agents.end(agents.submit(open_one))
    closed = agents.end(agents.submit(open_one))

    assert run["status"]["effective"]["seccomp"] == "RuntimeDefault"
    assert condition(run)["reason"] == "Completed"
    assert condition(closed)["reason"] == "AgentFailed"
    assert closed["status"]["effective"]["seccomp"] == NAME


def runs_with_default(agents: Agents) -> bool:
    """Whether runs get the runtime's own profile by now."""
    run = agents.end(agents.submit())
    return bool(run["status"]["effective"]["seccomp"] == "RuntimeDefault")


@pytest.mark.long
def test_tightening_the_profile_ends_what_runs_without_it(agents: Agents, kubectl: Kubectl):
    """Loosening it ends nothing."""
    with changed_policy(kubectl, agents.namespace, {"seccomp": "RuntimeDefault"}):
        wait_for(lambda: runs_with_default(agents), 60, "the policy to be known")
        loose = agents.running()
    ended = agents.end(loose)

    assert condition(ended)["reason"] == "PolicyRevoked"
    assert "`seccomp` must be 'Agent', not 'RuntimeDefault'" in condition(ended)["message"]
    strict = agents.running()
    with changed_policy(kubectl, agents.namespace, {"seccomp": "RuntimeDefault"}):
        wait_for(lambda: runs_with_default(agents), 60, "the policy to be known")
        assert condition(agents.get(strict))["reason"] == "Running"


# ---- the node --------------------------------------------------------------------------------


def test_the_installer_has_put_the_profile_on_the_node(kubectl: Kubectl, tenant: str):
    """Whole, and nothing but root's; the installer itself is nobody on the node."""
    (pod,) = kubectl.items("pods", NODE)
    pid = filters.first(pod)

    assert ON_THE_NODE.read_bytes() == FILE.read_bytes()
    stat = ON_THE_NODE.stat()
    assert (stat.st_uid, oct(stat.st_mode & 0o777)) == (0, "0o644")
    seen = filters.status(pid)
    assert int(seen["Uid"].split()[0]) >= 65_536
    assert (seen["CapEff"], seen["NoNewPrivs"], seen["Seccomp"]) == ("0" * 16, "1", "2")


@contextmanager
def missing(kubectl: Kubectl) -> Iterator[None]:
    """A node from which the profile and its installer are gone, for as long as a block runs."""
    daemon_set = ("patch", "daemonset", "anchorhold-seccomp", "-n", NODE, "--type=merge", "-p")
    path = {"spec": {"template": {"spec": {"nodeSelector": {"no-such": "node"}}}}}
    kubectl(*daemon_set, json.dumps(path))
    wait_for(lambda: not kubectl.items("pods", NODE), 60, "the installer to be gone")
    ON_THE_NODE.unlink()
    try:
        yield
    finally:
        path["spec"]["template"]["spec"]["nodeSelector"] = {"no-such": None}  # type: ignore[dict-item]
        kubectl(*daemon_set, json.dumps(path))
        wait_for(ON_THE_NODE.exists, 60, "the profile to be back")


@pytest.mark.long
def test_a_node_without_the_profile_starts_nothing(
    agents: Agents, kubectl: Kubectl, attempts: Attempts
):
    """The run ends as ProfileMissing and the agent never ran; with the file, the next one runs."""
    with missing(kubectl):
        name = agents.submit("print('ran')")
        (cell,) = wait_for(lambda: agents.pods(name), 30, "the cell")
        run = agents.end(name)
        wait_for(lambda: not agents.pods(name), 60, "the cell to be gone")

    assert condition(run)["reason"] == "ProfileMissing"
    assert NAME in condition(run)["message"]
    assert "startTime" not in run["status"]
    assert "exitCode" not in run["status"]
    assert cell["spec"]["securityContext"]["seccompProfile"]["localhostProfile"] == NAME
    after = agents.completes()
    attempts.record(
        CONTROL, "a run where the node lacks the profile", "a cell",
        condition(run)["reason"], condition(after)["reason"],
    )  # fmt: skip
