"""Reads `tests/accepted/` and `tests/refused/`; the README there says what a document holds."""

import copy
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bed import profile
from bed.kube import Document

TESTS = Path(__file__).parent.parent
STAND_IN = "team-a"
# What else stands for something in the files, and for what: whoever posts them fills it in.
OWN_IMAGE = f"example.com/anchorhold@sha256:{'e' * 64}"
STAND_INS = {"anchorhold/agent-0123456789abcdef.json": profile.NAME}


@dataclass(frozen=True)
class Example:
    """One document of `tests/accepted/` or `tests/refused/`."""

    what: str
    poster: str
    where: str
    verb: str
    subresource: str
    path: str
    method: str
    options: Document
    document: Document
    patch: list[Document]
    expect: str

    def posted(self, namespace: str) -> Document:
        """The object as it is posted in a namespace."""
        text = json.dumps(self.patched()).replace(STAND_IN, namespace)
        for stand_in, value in STAND_INS.items():
            text = text.replace(stand_in, value)
        return dict(json.loads(text))

    def patched(self) -> Document:
        """The object as it lies on disk, with the patch."""
        document = copy.deepcopy(self.document)
        for step in self.patch:
            apply_step(document, step)
        return document

    def expected(self, namespace: str) -> str:
        """The words that the refusal must hold there."""
        return self.expect.replace(STAND_IN, namespace)


def apply_step(document: Document, step: Document) -> None:
    """One step of a JSON Patch: add, replace or remove."""
    *parents, last = (
        part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
    )
    target: Any = document
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    key: Any = int(last) if isinstance(target, list) and last != "-" else last
    if step["op"] != "add":
        del target[key]  # So that a step never does nothing: what is not there can't be replaced.
    if step["op"] == "remove":
        return
    if isinstance(target, list):
        target.insert(len(target) if key == "-" else key, step["value"])
    else:
        target[key] = step["value"]


@cache
def load(folder: str) -> dict[str, Example]:
    """Every example of a folder, by its sentence; that of a twin is the file's name."""
    found: dict[str, Example] = {}
    for path in sorted((TESTS / folder).glob("*.yaml")):
        for raw in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert raw["what"] not in found, f"two examples are called '{raw['what']}'"
            found[raw["what"]] = read(raw)
    return found


def read(raw: Document) -> Example:
    """One example as it lies on disk."""
    return Example(
        what=raw["what"],
        poster=raw["as"],
        where=raw.get("where", "bound"),
        verb=raw.get("verb", "create"),
        subresource=raw.get("subresource", ""),
        path=raw.get("path", ""),
        method=raw.get("method", "POST"),
        options=raw.get("options", {}),
        document=raw["object"] if "object" in raw else twin(raw["twin"]).patched(),
        patch=raw.get("patch", []),
        expect=raw.get("expect", ""),
    )


def twin(name: str) -> Example:
    """The accepted object of a file."""
    return read(yaml.safe_load((TESTS / "accepted" / f"{name}.yaml").read_text(encoding="utf-8")))
