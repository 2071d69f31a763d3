"""The seccomp profile as it is written: what it allows, and what it does not."""

import pytest
import seccompute

from bed.profile import NAME, PROFILE

ALLOWED, ANSWERED = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
RULES = PROFILE["syscalls"]
# Every flag of clone(2) that makes a namespace. CLONE_NEWTIME can be given to other calls only.
NEW_NAMESPACES = (
    0x00020000,
    0x02000000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
# What no cell may call, whatever the arguments.
CLOSED = [
    "_sysctl", "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime",
    "create_module", "delete_module", "fanotify_init", "fanotify_mark", "finit_module",
    "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy",
    "init_module", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup",
    "io_submit", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl",
    "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind",
    "memfd_secret", "migrate_pages", "modify_ldt", "mount", "mount_setattr", "move_mount",
    "move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree",
    "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_mrelease",
    "process_vm_readv", "process_vm_writev", "ptrace", "query_module", "quotactl",
    "quotactl_fd", "reboot", "remap_file_pages", "request_key", "set_mempolicy",
    "set_mempolicy_home_node", "setdomainname", "sethostname", "setns", "settimeofday",
    "socketcall", "swapoff", "swapon", "sysfs", "syslog", "umount", "umount2", "unshare",
    "uselib", "userfaultfd", "ustat", "vhangup", "vmsplice",
]  # fmt: skip


def rules(name: str, action: str) -> list[dict[int, tuple[str, int]]]:
    """What the rules of one call ask of its arguments: index -> operator and value."""
    return [
        {arg["index"]: (arg["op"].removeprefix("SCMP_CMP_"), arg["value"])
         for arg in rule.get("args", ())}
        for rule in RULES
        if name in rule["names"] and rule["action"] == action
    ]  # fmt: skip


def test_what_is_not_named_is_denied():
    assert PROFILE["defaultAction"] == ANSWERED
    assert PROFILE["defaultErrnoRet"] == EPERM
    assert {rule["action"] for rule in RULES} == {ALLOWED, ANSWERED}


def test_the_native_entries_are_the_only_ones():
    """A runtime kills what comes in by another: i386's `int 0x80` for one."""
    assert PROFILE["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]


@pytest.mark.parametrize("name", CLOSED)
def test_no_rule_allows(name: str):
    assert rules(name, ALLOWED) == []


def test_clone_makes_no_namespace_and_clone3_falls_back_to_it():
    assert rules("clone", ALLOWED) == [{0: ("MASKED_EQ", sum(NEW_NAMESPACES))}]
    assert rules("clone3", ALLOWED) == []
    assert errors("clone3") == {ENOSYS}


def test_sockets_are_of_three_families():
    """UNIX, IPv4 with TCP, UDP or UDP-Lite, and netlink for routes; IPv6 is said to be absent."""
    unix, inet, inet6, netlink = 1, 2, 10, 16
    assert rules("socketpair", ALLOWED) == [{0: ("EQ", unix)}]
    assert rules("socket", ALLOWED) == [
        {0: ("EQ", unix)},
        *({0: ("EQ", inet), 2: ("EQ", protocol)} for protocol in (0, 6, 17, 136)),
        {0: ("EQ", netlink), 2: ("EQ", 0)},
    ]
    assert rules("socket", ANSWERED) == rules("socketpair", ANSWERED) == [{0: ("EQ", inet6)}]
    assert errors("socket") == {EAFNOSUPPORT}


def errors(name: str) -> set[int]:
    """What the rules that name a call answer with."""
    return {rule["errnoRet"] for rule in RULES if name in rule["names"] and "errnoRet" in rule}


def test_no_rule_asks_twice_about_one_argument():
    """runc takes that as two rules, either of which is enough: opencontainers/runc#2735."""
    for rule in RULES:
        indices = [arg["index"] for arg in rule.get("args", ())]
        assert len(indices) == len(set(indices)), rule["comment"]


def test_no_call_is_allowed_both_always_and_under_a_condition():
    """The condition would mean nothing."""
    always = {name for rule in RULES if "args" not in rule for name in rule["names"]}
    sometimes = {name for rule in RULES if "args" in rule for name in rule["names"]}

    assert always & sometimes == set()


def test_every_rule_says_why_and_is_in_order():
    for rule in RULES:
        assert rule["comment"].endswith(".")
        assert rule["names"] == sorted(set(rule["names"]))


def test_its_name_fits_the_status_and_says_what_is_in_it():
    assert NAME.startswith("anchorhold/agent-")
    assert len(NAME) == len("anchorhold/agent-") + 16 + len(".json")


def test_its_grade_is_a():
    """`seccompute` looks at about sixty dangerous calls by name, and at nothing else: not at socket
    families, architectures or errors. The tests here and on the cluster do.
    """
    result = seccompute.score_profile(PROFILE)

    assert (result.grade, result.score) == ("A", 100)
    assert not result.forced_failure
    assert result.warnings == []
    assert [found.syscall for found in result.tier_findings] == ["clone"]


def test_a_grade_can_be_worse():
    """The control: with one call more it is no longer an A."""
    opened = {**PROFILE, "syscalls": [*RULES, {"names": ["bpf"], "action": ALLOWED}]}

    assert seccompute.score_profile(opened).grade == "F"
