"""The charts as Helm renders them. Nothing can stand in for Helm: without one, a test fails."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from anchorhold import names

Document = dict[str, Any]
ROOT = Path(__file__).parents[2]
DIGEST = f"sha256:{'0' * 64}"
IMAGE = f"image.reference=example.com/anchorhold@{DIGEST}"
SYSTEM = ("--namespace", names.SYSTEM_NAMESPACE)


def run(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command at the top of the checkout, with Helm in its environment."""
    words = [str(word) for word in command]
    environment = {**os.environ, "HELM": str(binary())}
    return subprocess.run(  # noqa: S603  # words of this folder's tests
        words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )


@cache
def binary() -> Path:
    """Where Helm is."""
    found = Path(os.environ.get("HELM") or ROOT / ".cluster" / "bin" / "helm")
    if not found.exists():
        pytest.fail(f"no helm at '{found}': run `make cluster`, which builds it, or set HELM")
    return found


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Helm."""
    return run(binary(), *arguments)


def rendered(chart: str, *values: str) -> list[Document]:
    """What a release named 'team-a' consists of."""
    settings = [word for value in values for word in ("--set", value)]
    done = helm("template", "team-a", f"charts/{chart}", *SYSTEM, *settings)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@cache
def platform() -> list[Document]:
    """The chart that is installed once."""
    return rendered(
        "anchorhold", IMAGE, "policyAdmins[0].kind=Group", "policyAdmins[0].name=security",
        "skillReviewers[0].kind=User", "skillReviewers[0].name=bob",
    )  # fmt: skip


@cache
def tenant() -> list[Document]:
    """The chart of one namespace, under two policies."""
    return rendered(
        "anchorhold-tenant", "policies={small,large}",
        "authors[0].kind=User", "authors[0].name=alice",
    )  # fmt: skip


@cache
def tenant_with_a_pull_secret() -> list[Document]:
    """The chart of one namespace whose images are behind a password."""
    return rendered("anchorhold-tenant", "policies={small}", "imagePullSecret=registry")


def of_kind(documents: list[Document], *kinds: str) -> dict[str, Document]:
    """The objects of some kinds, by name."""
    return {
        document["metadata"]["name"]: document
        for document in documents
        if document["kind"] in kinds
    }


def granted(role: Document) -> dict[str, set[str]]:
    """Every right of a role, as group/resource and its verbs."""
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return found


def rights(role: Document) -> Iterator[tuple[str, str]]:
    """Every right of a role, as resource and verb."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield resource, verb
