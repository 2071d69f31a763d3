"""What runs on each node beside the cells: what it tries, what it finds, what it says."""

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anchorhold.inside import boundary, netgate, sentinel, survey

REACHED = "10.96.0.1:443"


@pytest.fixture
def word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the last word goes."""
    path = tmp_path / "word"
    monkeypatch.setattr(netgate, "LAST_WORD", path)
    monkeypatch.setattr(survey, "LAST_WORD", path)
    return path


@pytest.mark.parametrize(
    ("closed_rounds", "first", "message"),
    [
        pytest.param(5, '{"reason": "",', f"the sentinel could reach {REACHED}", id="later"),
        pytest.param(0, "", f"the cell could reach {REACHED}", id="from the start"),
    ],
)
def test_a_sentinel_that_gets_out_says_so_and_ends(
    word: Path, monkeypatch: pytest.MonkeyPatch, closed_rounds: int, first: str, message: str
):
    """While nothing answers it has said so: the kubelet's probe sees that there is a word."""
    rounds = iter([[]] * closed_rounds)
    said: list[str] = []

    def answering(_: object) -> list[str]:
        said.append(word.read_text() if word.exists() else "")
        return next(rounds, [REACHED])

    monkeypatch.setattr(netgate, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(sentinel, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(boundary, "answering", answering)

    with pytest.raises(SystemExit) as ended:
        sentinel.main()

    assert ended.value.code == 1
    assert said[-1].startswith(first)
    verdict = json.loads(word.read_text())
    assert (verdict["reason"], verdict["message"]) == ("BoundaryOpen", message)


def findings(look: Callable[[], Iterator[survey.Finding]]) -> list[str]:
    return [what for what, _ in look()]


def test_tasks_that_can_be_started_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "TASKS", 3)

    assert findings(survey.tasks) == ["processes: a cell can start 3 and more"]


def test_a_limit_of_tasks_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The kernel says no, and Python says it so."""

    def start(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)

    assert findings(survey.tasks) == []


@pytest.mark.parametrize("honoured", [True, False])
def test_a_volume_of_the_image_is_a_finding_where_it_is_honoured(
    monkeypatch: pytest.MonkeyPatch,
    honoured: bool,  # noqa: FBT001  # a table
):
    monkeypatch.setattr(survey, "VOLUME", Path("/proc" if honoured else "/proc/self"))

    assert bool(findings(survey.volumes)) is honoured


ROWS = """\
1 0 0:1 / {0} rw,relatime - overlay overlay rw,lowerdir=/a
2 1 0:2 / {0}/sized rw,nosuid - tmpfs shm rw,size=65536k,inode64
3 1 8:1 /w {0}/workspace rw,relatime shared:1 - ext4 /dev/vda rw
4 1 8:1 /x {0}/file rw,relatime shared:1 - ext4 /dev/vda rw
5 1 0:5 / {0}/queue rw - mqueue mqueue rw
6 1 8:1 /y {0}/volume rw - ext4 /dev/vda rw
7 1 0:7 /full {0}/device rw - devtmpfs devtmpfs rw
"""
FILES = "disk: `{0}/workspace` may hold any number of files"
SIZE = "disk: the file `{0}/file` may have any size"


@pytest.mark.parametrize(
    ("largest", "found"),
    [(resource.RLIM_INFINITY, [FILES, SIZE]), (64 * 2**20, [FILES])],
    ids=["without a limit of files", "with one"],
)
def test_what_is_writable_and_not_sized_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int, found: list[str]
):
    """Not what cannot be written, what is sized, what holds nothing, and what is said elsewhere."""
    mounts, folder = tmp_path / "mountinfo", tmp_path / "m"
    (folder / "workspace").mkdir(parents=True)
    (folder / "file").touch()
    os.mkfifo(folder / "device")
    mounts.write_text(ROWS.format(folder), encoding="utf-8")
    monkeypatch.setattr(survey, "MOUNTS", mounts)
    monkeypatch.setattr(survey, "VOLUME", folder / "volume")
    monkeypatch.setattr(os, "access", lambda path, _: path != str(folder))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (largest, largest))

    assert findings(survey.paths) == [text.format(folder) for text in found]


def test_a_survey_s_last_word_is_what_the_controller_reads(
    word: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(survey, "TASKS", 1)

    survey.main()

    found: list[dict[str, Any]] = json.loads(word.read_text())
    assert all(set(row) == {"what", "setting"} for row in found)
    assert found[0]["what"] == "processes: a cell can start 1 and more"
