"""The skills of this repository: each can be packed, and its script does what SKILL.md says."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml

from anchorhold.cli import packing

ROOT = Path(__file__).parents[2] / "skills"
SKILLS = sorted(ROOT.iterdir())
READ_PDF = ROOT / "read-pdf/scripts/read_pdf.py"


def run(script: Path, *words: str | Path, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a script as an agent does: without anything that is not in the standard library."""
    command = [sys.executable, "-I", str(script), *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize("folder", SKILLS, ids=lambda folder: folder.name)
def test_a_skill_can_be_packed(folder: Path):
    document = packing.agent_skill(folder)

    assert document["metadata"]["name"] == folder.name
    assert {f["path"] for f in document["spec"]["files"]} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("folder", SKILLS, ids=lambda folder: folder.name)
def test_a_skill_names_its_scripts_by_where_they_lie_in_a_cell(folder: Path):
    text = (folder / "SKILL.md").read_text(encoding="utf-8")

    for script in (folder / "scripts").iterdir():
        assert f"/skills/{folder.name}/scripts/{script.name}" in text


# --- read-pdf -------------------------------------------------------------------------------------

TO_UNICODE = b"""/CIDInit /ProcSet findresource begin begincmap
1 begincodespacerange <0000> <FFFF> endcodespacerange
2 beginbfchar <0001> <0047> <0002> <00FC> endbfchar
2 beginbfrange <0003> <0004> <0072> <0005> <0006> [<00660069> <D83DDE00>] endbfrange
endcmap"""


def stream(data: bytes, more: bytes = b"", *, packed: bool = True) -> bytes:
    body = zlib.compress(data) if packed else data
    how = b"/Filter /FlateDecode " if packed else b""
    return b"<< %s%s /Length %d >>\nstream\n%s\nendstream" % (how, more, len(body), body)


def pdf(objects: dict[int, bytes], head: bytes = b"%PDF-1.7\n") -> bytes:
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % item for item in objects.items())
    return head + body + b"trailer << /Root 1 0 R >>\n%%EOF\n"


def pages(*contents: bytes, font: bytes = b"<< /Type /Font /Subtype /Type1 >>") -> dict[int, bytes]:
    """A file of so many pages, with one font that they inherit."""
    kids = b" ".join(b"%d 0 R" % (10 + n) for n in range(len(contents)))
    found = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [%s] /Resources << /Font << /F1 3 0 R >> >> >>" % kids,
        3: font,
    }
    for number, content in enumerate(contents):
        found[10 + number] = b"<< /Type /Page /Contents %d 0 R >>" % (50 + number)
        found[50 + number] = content
    return found


HELLO = rb"BT /F1 12 Tf 72 700 Td (Hello, \(nested\) w\366rld) Tj 0 -14 Td [(on) -300 (two)] TJ ET"
OBJECTS = (
    b"20 0 21 34 "
    + b"<< /Type /Catalog /Pages 21 0 R >>".ljust(34)
    + (b"<< /Type /Pages /Kids [22 0 R] >>")
)
READ: dict[str, tuple[bytes, str]] = {
    "two pages, packed and not": (
        pdf(pages(stream(HELLO), stream(b"BT (Second) ' ET", packed=False))),
        "--- page 1 ---\nHello, (nested) wörld\non two\n--- page 2 ---\nSecond\n",
    ),
    "a font with codes of its own": (
        pdf(
            pages(
                stream(b"BT /F1 9 Tf <000100020003000400050006> Tj ET"),
                font=b"<< /Type /Font /Subtype /Type0 /ToUnicode 4 0 R >>",
            )
            | {4: stream(TO_UNICODE)}
        ),
        "--- page 1 ---\nGürsfi😀\n",
    ),
    "objects in a stream": (
        pdf(
            {
                5: stream(OBJECTS, b"/Type /ObjStm /N 2 /First 11"),
                22: b"<< /Type /Page /Contents [23 0 R 24 0 R] >>",
                23: stream(b"BT (in) Tj ET"),
                24: stream(b"BT (parts) Tj ET"),
            }
        ),
        "--- page 1 ---\nin\nparts\n",
    ),
    "no tree of pages, and a length that is wrong": (
        pdf({7: b"<< /Type /Page /Contents 8 0 R >>",
             8: b"<< /Length 3 >> stream\nBT (found) Tj ET\nendstream"}),
        "--- page 1 ---\nfound\n",
    ),
    "a picture among the operators, and what would obey a terminal": (
        pdf(pages(stream(b"BT (be) Tj BI /W 1 ID (no) Tj EI (fore\\033[2J) Tj ET"))),
        "--- page 1 ---\nbefore[2J\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_a_pdf_is_read(tmp_path: Path, what: str):
    data, text = READ[what]
    (tmp_path / "a.pdf").write_bytes(data)

    done = run(READ_PDF, tmp_path / "a.pdf")

    assert (done.stdout, done.stderr, done.returncode) == (text, "", 0)


def test_only_the_pages_that_were_asked_for_are_read(tmp_path: Path):
    contents = [stream(b"BT (p%d) Tj ET" % number) for number in range(1, 5)]
    (tmp_path / "a.pdf").write_bytes(pdf(pages(*contents)))

    done = run(READ_PDF, "--pages", "2-3", tmp_path / "a.pdf")

    assert done.stdout == "--- page 2 ---\np2\n--- page 3 ---\np3\n"


LOOP = {1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Kids [2 0 R] >>"}
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "no PDF": (b"PK\x03\x04", "it is no PDF"),
    "nothing": (b"", "it is no PDF"),
    "an encrypted one": (pdf({}) + b"trailer << /Encrypt 9 0 R >>", "it is encrypted"),
    "a scanned page": (pdf(pages(stream(b"q 1 0 0 1 0 0 cm /Im0 Do Q"))), "no text on page 1"),
    "one that unpacks without end": (
        pdf(pages(stream(bytes(65 * 2**20)))),
        "unpacks to more than 67108864 bytes",
    ),
    "one that is nested without end": (pdf({1: b"[" * 100_000}), "nested too deeply"),
    "another packing": (
        pdf(pages(b"<< /Filter /LZWDecode /Length 2 >> stream\nab\nendstream")),
        "no text on page 1",
    ),
    "broken packing": (
        pdf(pages(b"<< /Filter /FlateDecode /Length 2 >> stream\nab\nendstream")),
        "no text on page 1",
    ),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_said(tmp_path: Path, what: str):
    data, sentence = UNREADABLE[what]
    (tmp_path / "a.pdf").write_bytes(data)

    done = run(READ_PDF, tmp_path / "a.pdf")

    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_never_ends_in_a_traceback(tmp_path: Path, seed: int):
    """Every so many bytes are other ones."""
    data = bytearray(READ["a font with codes of its own"][0])
    for place in range(9 + seed, len(data), 40):
        data[place] = (data[place] * 7 + seed) % 256
    (tmp_path / "a.pdf").write_bytes(data)

    assert "Traceback" not in run(READ_PDF, tmp_path / "a.pdf").stderr


def test_a_tree_of_pages_that_holds_itself_ends(tmp_path: Path):
    (tmp_path / "a.pdf").write_bytes(pdf(LOOP))

    assert run(READ_PDF, tmp_path / "a.pdf").stdout == ""


# --- summarise-repository -------------------------------------------------------------------------


def test_a_repository_is_outlined(tmp_path: Path):
    """Without what tools leave behind, without links, and without binary files' lines."""
    root = tmp_path / "project"
    for path, text in {
        "README.md": "# Project\n",
        "src/main.py": "a\n" * 30,
        "src/data.bin": "\0\n",
        "node_modules/x.js": "x\n" * 999,
        "pyproject.toml": "[project]\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / "src/link.py").symlink_to(root / "src/main.py")

    done = run(ROOT / "summarise-repository/scripts/outline.py", root)

    assert done.stdout.startswith("# project: 4 files, 32 lines\n")
    assert "      30 lines  .py" in done.stdout
    assert "      30 lines  src\n" in done.stdout
    assert "      30 lines  src/main.py" in done.stdout
    assert done.stdout.endswith("## Read first\nREADME.md\npyproject.toml\n")


def test_an_outline_of_nothing_is_refused(tmp_path: Path):
    done = run(ROOT / "summarise-repository/scripts/outline.py", tmp_path / "absent")

    assert (done.stderr, done.returncode) == ("usage: outline.py FOLDER\n", 1)


# --- write-changelog ------------------------------------------------------------------------------

SUBJECTS = """\
1a2b3c4 feat(api): read several files
1a2b3c5 fix: no crash without input
1a2b3c6 feat!: the port is 8443
Add a flag for colours
Fix the same twice
Fix the same twice
chore: bump
Something else altogether

"""
DRAFT = """\
### Breaking

- The port is 8443 (1a2b3c6)

### Added

- Api: read several files (1a2b3c4)
- Add a flag for colours

### Fixed

- No crash without input (1a2b3c5)
- Fix the same twice

### To judge

- Something else altogether

"""


def test_commits_are_sorted_into_a_draft():
    done = run(ROOT / "write-changelog/scripts/sort_commits.py", stdin=SUBJECTS)

    assert (done.stdout, done.returncode) == (DRAFT, 0)


def test_no_commit_that_users_notice_is_no_draft():
    done = run(ROOT / "write-changelog/scripts/sort_commits.py", stdin="test: more\n")

    assert (done.stdout, done.returncode) == ("", 1)


# --- The example ----------------------------------------------------------------------------------


def test_the_example_of_a_policy_lists_a_shipped_skill_as_it_is():
    text = (ROOT.parent / "manifests/examples/policy.yaml").read_text(encoding="utf-8")

    for skill in yaml.safe_load(text)["spec"]["skills"]:
        assert skill["digest"] == packing.agent_skill(ROOT / skill["name"])["spec"]["digest"]
