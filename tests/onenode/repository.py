"""A repository that `world` serves as files, which is all that `git clone` needs ("dumb HTTP")."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

README = "of the repository\n"


def create(folder: Path) -> Path:
    """Make the folder, which then holds 'repo.git', with one commit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    work, bare = folder / "work", folder / "repo.git"
    git(folder, "init", "--quiet", "--initial-branch=main", str(work))
    (work / "README").write_text(README, encoding="utf-8")
    git(work, "add", "README")
    git(work, "commit", "--quiet", "-m", "First")
    git(folder, "clone", "--quiet", "--bare", str(work), str(bare))
    git(bare, "update-server-info")
    return folder


def git(where: Path, *words: str) -> None:
    """Run git with nothing of this machine's own configuration."""
    author = ("NAME", "EMAIL")
    identity = {f"GIT_{who}_{what}": "world" for who in ("AUTHOR", "COMMITTER") for what in author}
    alone = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **identity}
    subprocess.run(["git", *words], cwd=where, env=alone, check=True)
