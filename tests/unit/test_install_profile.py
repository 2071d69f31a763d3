"""The program that puts the seccomp profile on a node, run as its Pod runs it."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anchorhold.inside import install_profile

CONTENT = b'{"defaultAction": "SCMP_ACT_ERRNO"}\n'
NAME = f"agent-{hashlib.sha256(CONTENT).hexdigest()[:16]}.json"


def test_the_file_is_named_after_its_content(tmp_path: Path):
    install_profile.install(CONTENT, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_file_that_somebody_changed_is_replaced_and_not_written_into(tmp_path: Path):
    """Who has the old file open keeps what was in it."""
    changed = tmp_path / NAME
    changed.write_bytes(b"{}")
    with changed.open("rb") as before:
        install_profile.install(CONTENT, tmp_path)

        assert before.read() == b"{}"
    assert changed.read_bytes() == CONTENT


def test_a_file_that_is_there_is_left_alone(tmp_path: Path):
    install_profile.install(CONTENT, tmp_path)
    first = (tmp_path / NAME).stat()

    install_profile.install(CONTENT, tmp_path)

    assert (tmp_path / NAME).stat() == first


def test_files_of_other_versions_stay(tmp_path: Path):
    """A cell that was made for one of them may be about to start."""
    (tmp_path / "agent-0000000000000000.json").write_bytes(b"{}")

    install_profile.install(CONTENT, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "agent-0000000000000000.json",
        NAME,
    ]


def test_it_stays_until_it_is_told_to_end(tmp_path: Path):
    """Alone, without anything of ours to import."""
    source, folder = tmp_path / "agent.json", tmp_path / "node"
    source.write_bytes(CONTENT)
    folder.mkdir()
    program = [sys.executable, "-I", install_profile.__file__, str(source), str(folder)]
    with subprocess.Popen(  # noqa: S603  # our own program
        program, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == 0
    assert said == f"installed {NAME}\n"
    assert (folder / NAME).read_bytes() == CONTENT


def test_it_puts_the_file_back_when_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It looks, waits, and looks again."""
    source = tmp_path / "agent.json"
    source.write_bytes(CONTENT)
    folder = tmp_path / "node"
    folder.mkdir()
    waits: list[bool] = []

    def wait(_signals: object, _seconds: float) -> object:
        waits.append((folder / NAME).is_file())
        (folder / NAME).unlink()
        return None if len(waits) == 1 else object()

    monkeypatch.setattr(install_profile.signal, "sigtimedwait", wait)
    monkeypatch.setattr(install_profile.signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["install", str(source), str(folder)])
    install_profile.main()

    assert waits == [True, True]
