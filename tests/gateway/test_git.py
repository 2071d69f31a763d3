"""A real `git clone` and `git push`, unchanged, through the gateway: smart HTTP on both sides."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anchorhold.gateway.credentials import Keeping
from gatebed import Bed, rule, tunnelled
from onenode import world

PASSWORD = base64.b64encode(b"robot:only-the-gateway-has-it").decode()
# The same host under a name where it asks for none.
PUBLIC = "a.wild.test"
READING = [
    {"methods": ["GET"], "paths": ["/acme/repo.git/info/refs"]},
    {"methods": ["POST"], "paths": ["/acme/repo.git/git-upload-pack"]},
]


def git(*words: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Run git with nothing of this machine's own configuration."""
    alone = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0"}
    names = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "agent")
    mails = dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "agent@example.com")
    done = subprocess.run(  # noqa: S603
        ["git", *map(str, words)],  # noqa: S607
        cwd=cwd, env={**alone, **names, **mails, **environment}, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def through(bed: Bed) -> dict[str, str]:
    """What a rule's `env` sets, so that every 'https://' leads through the gateway."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.http://run:{bed.token(0)}@10.244.0.11:8080/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://",
    }


def proxied(bed: Bed, authorities: Path) -> dict[str, str]:
    """What a rule's `env` sets, so that git takes the gateway for its proxy."""
    return {
        "https_proxy": f"http://run:{bed.token(0)}@10.244.0.11:8080",
        "GIT_SSL_CAINFO": str(authorities),
    }


def fill(bare: Path, work: Path) -> None:
    """A repository with one file."""
    git("init", "--quiet", "--bare", "--initial-branch=main", bare)
    git("-C", bare, "config", "http.receivepack", "true")
    git("clone", "--quiet", bare, work)
    (work / "README").write_text("of the repository\n", encoding="utf-8")
    git("-C", work, "add", "README")
    git("-C", work, "commit", "--quiet", "-m", "First")
    git("-C", work, "push", "--quiet", "origin", "HEAD:main")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A code host with one repository, which asks for a password under one of its names."""
    root = tmp_path / "host"
    bare = root / "acme" / "repo.git"
    fill(bare, tmp_path / "work")
    greet = world.Handler._greet  # noqa: SLF001

    def serve(handler: world.Handler) -> None:
        if handler.headers["Host"] == PUBLIC:
            backend(handler, root)
        elif handler.headers["Host"] != "files.test":
            greet(handler)
        elif handler.headers.get("Authorization") == f"Basic {PASSWORD}":
            backend(handler, root)
        else:
            handler.send_error(403)

    monkeypatch.setattr(world.Handler, "_greet", serve)
    return bare


def backend(handler: Any, root: Path) -> None:  # noqa: ANN401
    """Git's own server, as a CGI program."""
    path, _, query = handler.path.partition("?")
    environment = {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH": os.environ["PATH"],
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_USER": "robot",
        "REQUEST_METHOD": handler.command,
        "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
        "HTTP_GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
    }
    done = subprocess.run(
        ["git", "http-backend"], input=handler.body, env=environment, check=True,  # noqa: S607
        capture_output=True,
    )  # fmt: skip
    heads, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = dict(line.split(": ", 1) for line in heads.decode().split("\r\n"))
    handler.send_response(int(lines.pop("Status", "200").split()[0]))
    for name, value in lines.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def allow(bed: Bed, *rules: dict[str, Any]) -> None:
    """A run that may do so at the code host, with a password that it does not have."""
    credential = {"secretName": "code", "key": "key", "format": "Basic {value}"}
    usual = {"host": "files.test", "credential": credential}
    bed.cell(0, *(rule(**usual, **fields) for fields in rules))
    kept = Keeping(frozenset(["files.test"]), frozenset(["small"]), {"key": PASSWORD})
    bed.decider.secrets["code"] = kept


def test_a_clone_works_unchanged(bed: Bed, repository: Path, tmp_path: Path):
    allow(bed, *READING)

    git("clone", "--quiet", "https://files.test/acme/repo.git", tmp_path / "got", **through(bed))

    assert (tmp_path / "got" / "README").read_text(encoding="utf-8") == "of the repository\n"


def test_a_push_needs_a_rule_of_its_own(bed: Bed, repository: Path, tmp_path: Path):
    allow(bed, *READING)
    got = tmp_path / "got"
    git("clone", "--quiet", "https://files.test/acme/repo.git", got, **through(bed))
    git("-C", got, "commit", "--quiet", "--allow-empty", "-m", "Second")

    with pytest.raises(AssertionError, match="403"):
        git("-C", got, "push", "--quiet", "origin", "HEAD:agent", **through(bed))
    refused = git("-C", repository, "branch", "--list", "agent")
    allow(bed, *READING, {"methods": ["POST"], "paths": ["/acme/repo.git/git-receive-pack"]})
    git("-C", got, "push", "--quiet", "origin", "HEAD:agent", **through(bed))

    assert refused == ""
    assert "agent" in git("-C", repository, "branch", "--list", "agent")


def test_a_clone_works_through_a_tunnel(bed: Bed, repository: Path, tmp_path: Path):
    bed.cell(0, tunnelled(host=PUBLIC))
    way = proxied(bed, bed.internet.authorities)

    git("clone", "--quiet", f"https://{PUBLIC}/acme/repo.git", tmp_path / "got", **way)

    assert (tmp_path / "got" / "README").read_text(encoding="utf-8") == "of the repository\n"
    with pytest.raises(AssertionError, match="403"):
        git("clone", "--quiet", "https://files.test/acme/repo.git", tmp_path / "other", **way)


def test_a_clone_works_through_a_tunnel_that_is_read_and_a_push_does_not(
    bed: Bed, repository: Path, tmp_path: Path
):
    """With a password that the agent does not have, and by the rules for methods and paths."""
    allow(bed, *({**reading, "mode": "Intercept"} for reading in READING))
    way, got = proxied(bed, bed.decider.authority / "tls.crt"), tmp_path / "got"

    git("clone", "--quiet", "https://files.test/acme/repo.git", got, **way)
    git("-C", got, "commit", "--quiet", "--allow-empty", "-m", "Second")
    with pytest.raises(AssertionError, match="403"):
        git("-C", got, "push", "--quiet", "origin", "HEAD:agent", **way)

    assert (got / "README").read_text(encoding="utf-8") == "of the repository\n"
    assert git("-C", repository, "branch", "--list", "agent") == ""
