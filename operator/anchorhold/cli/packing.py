"""Packs a folder into an AgentSkill, and refuses with one sentence what none may hold."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from anchorhold import names
from anchorhold.api import skill
from anchorhold.api.base import first_fault
from anchorhold.policy import digest

# The Agent Skills convention: YAML between two lines of dashes, at the top of SKILL.md.
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---(\n|\Z)", re.DOTALL)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class RefusedError(Exception):
    """The folder is no skill; the text says why."""


def agent_skill(folder: Path) -> dict[str, Any]:
    """The AgentSkill of a folder. Raises RefusedError."""
    name = folder.resolve().name
    if folder.is_symlink() or not folder.is_dir():
        raise RefusedError(f"'{folder}' must be a folder")
    if not NAME.fullmatch(name):
        raise RefusedError(f"'{name}' must be at most 40 lower-case letters, digits and dashes")
    files = texts(folder)
    spec = {
        "description": description(name, files),
        "files": [{"path": path, "content": files[path]} for path in sorted(files)],
        "digest": digest.of_texts(files),
    }
    try:
        skill.AgentSkillSpec.parse(spec)
    except ValidationError as error:
        raise RefusedError("`{}`: {}".format(*first_fault(error))) from None
    return {
        "apiVersion": names.API_VERSION,
        "kind": "AgentSkill",
        "metadata": {"name": name, "namespace": names.POLICY_NAMESPACE},
        "spec": spec,
    }


def texts(folder: Path) -> dict[str, str]:
    """The text of every file, by its path."""
    found: dict[str, str] = {}
    for path in paths(folder):
        found[path] = text(folder, path)
        if len(found) > skill.MAX_FILES:
            raise RefusedError(f"'{folder}' must have at most '{skill.MAX_FILES}' files")
        total = sum(map(len, found.values()))
        if total > skill.MAX_CHARACTERS:
            raise RefusedError(
                f"'{folder}' must have at most '{skill.MAX_CHARACTERS}' characters together"
            )
    lower = [path.lower() for path in found]
    twins = [path for path in found if lower.count(path.lower()) > 1]
    if twins:
        raise RefusedError(f"'{twins[0]}' and '{twins[1]}' must not differ in case only")
    return found


def paths(folder: Path, below: str = "") -> Iterator[str]:
    """Every file in a folder and the folders in it; no link is followed."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, kind = f"{below}{entry.name}", entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            yield from paths(folder / entry.name, f"{path}/")
        elif not stat.S_ISREG(kind):
            what = "a link" if stat.S_ISLNK(kind) else "a special file"
            raise RefusedError(f"'{path}' must be a file, and not {what}")
        elif not re.fullmatch(skill.PATH_PATTERN, path):
            raise RefusedError(
                f"{path!a} must be made of letters, digits, '.', '_' and '-', with folders in "
                "lower case, and nothing in it may begin with '.' or '-'"
            )
        else:
            yield path


def text(folder: Path, path: str) -> str:
    """A file's text."""
    most = skill.MAX_FILE_CHARACTERS
    with (folder / path).open("rb") as file:
        # A character has at most four bytes.
        raw = file.read(4 * most + 1)
    try:
        found = raw.decode()
    except UnicodeDecodeError:
        raise RefusedError(f"'{path}' must be text in UTF-8") from None
    if len(found) > most:
        raise RefusedError(f"'{path}' must have at most '{most}' characters")
    if not re.fullmatch(skill.TEXT_PATTERN, found):
        raise RefusedError(f"'{path}' must have no control characters but tabs and line breaks")
    return found


def description(name: str, files: dict[str, str]) -> str:
    """What SKILL.md says that the skill is for, in one line."""
    matter = FRONT_MATTER.match(files.get("SKILL.md", ""))
    if matter is None:
        raise RefusedError("'SKILL.md' must begin with its `name` and `description` between '---'")
    try:
        facts = yaml.safe_load(matter[1])
    except yaml.YAMLError:
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("description"), str):
        raise RefusedError("'SKILL.md' must have a `description` at its top, as YAML")
    if facts.get("name") != name:
        raise RefusedError(f"'SKILL.md' must have the `name` '{name}', which is the folder's")
    return " ".join(facts["description"].split())
