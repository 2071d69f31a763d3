"""The system call filter that a process of a cell really has, and what it says to a call.

`ceccomp` reads it from the kernel. Its instructions are interpreted here: what ceccomp prints of
some jumps beside them is off by one ('<=' for '<'), and so is what it makes of that.
"""

import ctypes
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bed.kube import Document
from onnode import processes

CECCOMP = Path(sys.executable).with_name("ceccomp")
# How the kernel names entries (linux/audit.h), and libseccomp their tables of calls.
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
X32_BIT = 0x40000000
LOAD, AND, RETURN, JUMP = 0x20, 0x54, 0x06, 0x05
# linux/bpf_common.h: jumps that compare the value with a constant.
TESTS = {
    0x15: lambda value, constant: value == constant,
    0x25: lambda value, constant: value > constant,
    0x35: lambda value, constant: value >= constant,
    0x45: lambda value, constant: value & constant != 0,
}
ACTIONS = {0x7FFF0000: "ALLOW", 0x00050000: "ERRNO", 0x80000000: "KILL", 0x00000000: "KILL"}


@dataclass(frozen=True)
class Filter:
    """A filter: code, jump if true, jump if false, constant."""

    instructions: tuple[tuple[int, int, int, int], ...]

    def answer(self, call: int, *words: int, arch: int = X86_64) -> str:
        """What it says to a call: 'ALLOW', 'ERRNO(1)' with the error's number, or 'KILL'."""
        data = [call, arch, 0, 0]
        for word in (*words, *(0,) * (6 - len(words))):
            data += [word & 0xFFFFFFFF, word >> 32]
        found = self.run(data)
        action = ACTIONS[found & 0xFFFF0000]
        return f"ERRNO({found & 0xFFFF})" if action == "ERRNO" else action

    def run(self, data: list[int]) -> int:
        """What the program returns for `struct seccomp_data`, as words."""
        value = place = 0
        while True:
            code, if_true, if_false, constant = self.instructions[place]
            place += 1
            if code == RETURN:
                return constant
            if code == LOAD:
                value = data[constant // 4]
            elif code == AND:
                value &= constant
            elif code == JUMP:
                place += constant
            else:
                place += if_true if TESTS[code](value, constant) else if_false


def of_process(pid: int) -> list[Filter]:
    """The filters of a process, which the kernel shows to root."""
    done = subprocess.run(  # noqa: S603  # A program of our own environment.
        [str(CECCOMP), "trace", "--color", "never", "--pid", str(pid)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    tables = done.stdout.split("Line  CODE")[1:]
    return [Filter(tuple(map(instruction, filter(is_instruction, t.splitlines())))) for t in tables]


def is_instruction(line: str) -> bool:
    """Whether a line is ' 0001: 0x20 0x00 0x00 0x00000004 $A = $arch'."""
    return line.strip()[:4].isdigit()


def instruction(line: str) -> tuple[int, int, int, int]:
    """One instruction of the table."""
    code, if_true, if_false, constant = (int(word, 16) for word in line.split()[1:5])
    return code, if_true, if_false, constant


def number(name: str) -> int | None:
    """The number of a call on x86_64, or None where the runtime's libseccomp knows no such call."""
    library = ctypes.CDLL("libseccomp.so.2")
    found: int = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(X86_64), name.encode())
    return found if found >= 0 else None


def first(pod: Document) -> int:
    """The first process of a Pod's one container; the kubelet's probes come and go beside it."""
    found = []
    for pid in processes(pod["metadata"]["uid"]):
        try:
            told = status(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if told["Name"] != "pause" and told["NSpid"].split()[-1] == "1":
            found.append(pid)
    (only,) = found
    return only


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
