"""What the cache of the test node is keyed by."""

from __future__ import annotations

from pathlib import Path

import pytest

from onenode import build, context, images, paths, recipes, shell

PARTS = {"go.mod": b"module a", "go.sum": b"hashes"}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({**PARTS, "go.sum": b"other"}, id="content"),
        pytest.param({"go.mod": b"module a", "go.work": b"hashes"}, id="name"),
        pytest.param({**PARTS, "main.go": b""}, id="an empty file more"),
        pytest.param({"go.mod": b"hashes", "go.sum": b"module a"}, id="contents swapped"),
        pytest.param({"go.modmodule a": b"", "go.sum": b"hashes"}, id="name and content shifted"),
    ],
)
def test_key_changes_with_any_ingredient(changed: dict[str, bytes]):
    """Two builds that could differ never share a folder."""
    assert build.key(changed) != build.key(PARTS)


def test_key_ignores_order():
    """The same ingredients give the same folder, however they were listed."""
    assert build.key(dict(reversed(PARTS.items()))) == build.key(PARTS)


def test_a_program_of_our_own_is_an_ingredient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In whichever folder of the module it lies, and not only beside its go.mod."""
    monkeypatch.setattr(recipes, "SOURCES", tmp_path)
    monkeypatch.setattr(shell, "run", lambda *_, **__: "go version")
    source = tmp_path / "shim" / "own" / "main.go"
    source.parent.mkdir(parents=True)
    seen = set()
    for text in ("package main", "package main // more"):
        source.write_text(text)
        seen.add(build.folder(recipes.Recipe("shim", ("./own",), "1 second")))

    assert len(seen) == 2


def _context(folder: Path, ignore: str = "") -> images.Wish:
    (folder / "Dockerfile").write_text("FROM base\n")
    (folder / ".dockerignore").write_text(ignore)
    (folder / "app").mkdir()
    (folder / "app" / "main.py").write_text("pass\n")
    return images.Wish(folder)


def test_image_key_sees_contents_modes_and_arguments(tmp_path: Path):
    """A changed byte, an executable bit or another argument makes another image."""
    wish = _context(tmp_path)
    seen = {wish.identity, images.Wish(tmp_path, arguments=("A=1",)).identity}
    seen |= {images.Wish(tmp_path, packages=more).identity for more in ("git", "git gcc")}
    (tmp_path / "app" / "main.py").chmod(0o755)
    seen.add(wish.identity)
    (tmp_path / "app" / "main.py").write_text("pass # more\n")
    seen.add(wish.identity)

    assert len(seen) == 6


def test_image_key_ignores_what_the_context_ignores(tmp_path: Path):
    """A file that .dockerignore leaves out does not cost a build."""
    wish = _context(tmp_path, ignore="logs\n")
    before = wish.identity
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "today").write_text("noise")

    assert wish.identity == before


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        pytest.param("", {"Dockerfile", ".dockerignore", "app/main.py"}, id="nothing"),
        pytest.param("app", {"Dockerfile", ".dockerignore"}, id="a folder"),
        pytest.param("*\n!app", {"app/main.py"}, id="all but a folder"),
        pytest.param("*\n!app/*.py", {"app/main.py"}, id="all but some files of a folder"),
        pytest.param("**/*.py", {"Dockerfile", ".dockerignore"}, id="a suffix anywhere"),
        pytest.param("*.py", {"Dockerfile", ".dockerignore", "app/main.py"}, id="only at the top"),
        pytest.param("# app", {"Dockerfile", ".dockerignore", "app/main.py"}, id="a comment"),
    ],
)
def test_context_is_what_dockerignore_leaves(tmp_path: Path, ignore: str, left: set[str]):
    """The rules are Docker's: the last one that matches decides."""
    _context(tmp_path, ignore)

    assert {name for name, _ in context.files(tmp_path)} == left


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"ANCHORHOLD_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a", id="our own"),
        pytest.param({"XDG_CACHE_HOME": "/b"}, "/b/anchorhold", id="the user's"),
        pytest.param({"HOME": "/c"}, "/c/.cache/anchorhold", id="the default"),
    ],
)
def test_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
):
    """The narrowest setting wins."""
    for name in ("ANCHORHOLD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert paths.cache() == Path(expected)
