"""`kubectl anchorhold pack`: a folder becomes an AgentSkill, or one sentence says why not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from anchorhold import names
from anchorhold.api import skill
from anchorhold.cli import __main__ as command
from anchorhold.cli import packing
from anchorhold.policy import library
from anchorhold.policy.grant import GrantedSkill

HEAD = "---\nname: read-pdf\ndescription: >-\n  Reads\n  a PDF.\n---\n# Read\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small skill."""
    found = tmp_path / "read-pdf"
    (found / "scripts").mkdir(parents=True)
    (found / "SKILL.md").write_text(HEAD, encoding="utf-8")
    (found / "scripts/read.py").write_bytes("print('ä')\r\n".encode())
    return found


def test_what_is_printed_is_a_skill_that_is_granted_once_it_is_reviewed(folder: Path):
    """The controller computes the same digest from it."""
    done = CliRunner().invoke(command.main, ["pack", str(folder)])

    document = yaml.safe_load(done.stdout)
    assert (document["kind"], document["metadata"]) == (
        "AgentSkill", {"name": "read-pdf", "namespace": names.POLICY_NAMESPACE},
    )  # fmt: skip
    document["metadata"]["annotations"] = {names.REVIEWED_BY_ANNOTATION: "alice"}
    assert library.read(document) == GrantedSkill(
        "read-pdf",
        document["spec"]["digest"],
        "Reads a PDF.",
        {"SKILL.md": HEAD, "scripts/read.py": "print('ä')\r\n"},
    )


def test_a_reviewer_sees_texts_line_by_line(folder: Path):
    done = CliRunner().invoke(command.main, ["pack", str(folder)])

    assert "content: |\n      ---\n      name: read-pdf\n" in done.stdout


def test_a_refusal_is_one_sentence_and_no_yaml(folder: Path):
    (folder / "link").symlink_to("/etc/passwd")

    done = CliRunner().invoke(command.main, ["pack", str(folder)])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: 'link' must be a file, and not a link\n"


def write(path: str, text: str | bytes = "") -> Callable[[Path], object]:
    """A step that writes a file."""

    def step(folder: Path) -> None:
        target = Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(path)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())

    return step


def several(number: int, size: int) -> Callable[[Path], object]:
    """A step that writes so many files of a size."""
    return lambda folder: [write(f"{n}.txt", "x" * size)(folder) for n in range(number)]


MADE_OF = (
    " must be made of letters, digits, '.', '_' and '-', with folders in lower case, and nothing "
)
OFFENCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file": (
        lambda f: (f / "a").symlink_to("SKILL.md"),
        "'a' must be a file, and not a link",
    ),
    "a link to a folder": (
        lambda f: (f / "a").symlink_to("/"),
        "'a' must be a file, and not a link",
    ),
    "a link to nothing": (
        lambda f: (f / "a").symlink_to("b"),
        "'a' must be a file, and not a link",
    ),
    "a link further down": (
        lambda f: (f / "scripts/a").symlink_to("read.py"),
        "'scripts/a' must be a file, and not a link",
    ),
    "a pipe": (lambda f: os.mkfifo(f / "a"), "'a' must be a file, and not a special file"),
    "a hidden file": (write(".env"), "'.env'" + MADE_OF),
    "a hidden folder": (write(".git/config"), "'.git/config'" + MADE_OF),
    "an option": (write("-rf"), "'-rf'" + MADE_OF),
    "a folder in capitals": (write("Docs/a"), "'Docs/a'" + MADE_OF),
    "a backslash": (write("a\\b"), "'a\\\\b'" + MADE_OF),
    "a line break": (write("a\n"), "'a\\n'" + MADE_OF),
    "a letter that only looks like another": (write("re\u0430d"), "'re\\u0430d'" + MADE_OF),
    "a name that is no text": (write("a\udcff"), "'a\\udcff'" + MADE_OF),
    "two names that differ in case only": (
        write("skill.md"),
        "'SKILL.md' and 'skill.md' must not differ in case only",
    ),
    "a picture": (write("a.png", b"\x89PNG"), "'a.png' must be text in UTF-8"),
    "an escape sequence": (
        write("a", "\x1b[2J"),
        "'a' must have no control characters but tabs and line breaks",
    ),
    "a file that is too large": (
        write("a", "ä" * (skill.MAX_FILE_CHARACTERS + 1)),
        "'a' must have at most '131072' characters",
    ),
    "too many files": (several(31, 1), "must have at most '32' files"),
    "too much altogether": (several(4, 131_072), "must have at most '524288' characters together"),
    "no SKILL.md": (
        lambda f: (f / "SKILL.md").unlink(),
        "'SKILL.md' must begin with its `name` and `description` between '---'",
    ),
    "no front matter": (
        write("SKILL.md", "# Read\n"),
        "'SKILL.md' must begin with its `name` and `description` between '---'",
    ),
    "front matter that is no YAML": (
        write("SKILL.md", "---\n[\n---\n"),
        "'SKILL.md' must have a `description` at its top, as YAML",
    ),
    "no description": (
        write("SKILL.md", "---\nname: read-pdf\n---\n"),
        "'SKILL.md' must have a `description` at its top, as YAML",
    ),
    "another name": (
        write("SKILL.md", HEAD.replace("read-pdf", "other")),
        "'SKILL.md' must have the `name` 'read-pdf', which is the folder's",
    ),
    "a description that is too long": (
        write("SKILL.md", HEAD.replace("a PDF", "x" * 1_024)),
        "`description`: String should have at most 1024 characters",
    ),
}


@pytest.mark.parametrize("what", OFFENCES)
def test_no_skill_is_made_of_a_folder_with(folder: Path, what: str):
    offend, sentence = OFFENCES[what]
    packing.agent_skill(folder)  # The control: without the offence it is one.
    offend(folder)

    with pytest.raises(packing.RefusedError) as refusal:
        packing.agent_skill(folder)

    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("absent", "must be a folder"),
        ("Capitals", "'Capitals' must be at most 40 lower-case letters, digits and dashes"),
        ("index.md", "'index.md' must be at most 40"),
        ("a" * 41, "must be at most 40"),
    ],
)
def test_a_folder_must_be_one_and_have_the_name_of_a_skill(
    tmp_path: Path, name: str, sentence: str
):
    if name != "absent":
        (tmp_path / name).mkdir()

    with pytest.raises(packing.RefusedError) as refusal:
        packing.agent_skill(tmp_path / name)

    assert sentence in str(refusal.value)


def test_a_link_to_a_folder_is_none(folder: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(folder)

    with pytest.raises(packing.RefusedError, match="must be a folder"):
        packing.agent_skill(tmp_path / "link")


def test_as_many_files_and_characters_as_there_may_be_are_packed(folder: Path):
    (folder / "scripts/read.py").unlink()
    several(30, 17_000)(folder)
    rest = skill.MAX_CHARACTERS - 30 * 17_000 - len(HEAD)
    write("rest", "x" * rest)(folder)

    assert len(packing.agent_skill(folder)["spec"]["files"]) == skill.MAX_FILES
