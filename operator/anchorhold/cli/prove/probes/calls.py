"""Makes system calls that no cell may make, each in a process of its own."""

import ctypes
import mmap
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
ARCH = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def probe(settings):
    """The answer to each call; 'there' shows that the probe can tell a yes from a no."""
    found = {
        row[0]: in_child(call(row[1][ARCH], row[2])) for row in settings["calls"] if row[1][ARCH]
    }
    if ARCH == 0:
        found["32-bit entry"] = in_child(entry)
    found["there"] = in_child(call((39, 172)[ARCH], []))
    return found


def call(number, words):
    """One call: a text is a pointer to it."""

    def act():
        kept = [
            ctypes.create_string_buffer(word.encode())
            if isinstance(word, str)
            else ctypes.c_long(word)
            for word in words
        ]
        if LIBC.syscall(ctypes.c_long(number), *kept) == -1:
            raise OSError(ctypes.get_errno(), "")

    return act


def entry():
    """Getpid by `int 0x80`: mov eax, 20; int 0x80; ret."""
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b814000000cd80c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() != os.getpid():
        raise OSError(errno.ENOSYS, "")
