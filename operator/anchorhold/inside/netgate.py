"""The netgate: runs in a cell before the agent, and lets it start only behind a closed fence.

`python3 -S -P -m anchorhold.inside.netgate`. Its last word is JSON in the termination message; it
ends with 0 when the agent may start, and with 1 when not. Why not is a reason of the API.
"""

import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from anchorhold.inside import boundary

# A fence is put up a moment after the Pod's network; for this long it may be missing.
PATIENCE_SECONDS = 10.0
# So many rounds must see nothing, each begun a little after the one before.
ROUNDS = 3
ROUND_SECONDS = 0.1
# The gateway learns of a cell by a watch, a moment after the node has reported its address.
GATEWAY_SECONDS, GREETING_SECONDS = 60.0, 2.0
NOT_KNOWN = "the gateway did not answer, or did not know the cell"
# What a user namespace that was not made looks like: everybody is who they are on the node.
NO_NAMESPACE = ["0", "0", "4294967295"]
UID_MAP, STATUS = Path("/proc/self/uid_map"), Path("/proc/self/status")
LAST_WORD = Path("/dev/termination-log")

Verdict = dict[str, Any]


def main() -> None:
    """Look, say what was seen, and end."""
    verdict = judge(os.environ)
    LAST_WORD.write_text(json.dumps(verdict), encoding="ascii")
    print(json.dumps(verdict), flush=True)  # noqa: T201  # the container's log
    sys.exit(0 if verdict["reason"] == "" else 1)


def judge(environment: Mapping[str, str]) -> Verdict:
    """All that must hold before the agent may start; the first that does not is the reason."""
    changed = changed_content(json.loads(environment["ANCHORHOLD_DIGESTS"]))
    if changed:
        return refusal("InputMissing", f"the content of '{changed}' is not what was granted")
    ignored = ignored_by_the_runtime(environment["ANCHORHOLD_ISOLATION"])
    if ignored:
        return refusal("BoundaryOpen", f"the node's container runtime ignores {ignored}")
    gateway, token = environment["ANCHORHOLD_GATEWAY"], environment["ANCHORHOLD_TOKEN"]
    verdict = {**walled(environment), "filtered": is_filtered()}
    if verdict["reason"] or not gateway or known(*boundary.parse(gateway), token):
        return verdict
    return {**verdict, "reason": "GatewayUnavailable", "message": NOT_KNOWN}


def ignored_by_the_runtime(isolation: str) -> str:
    """What a cell on the node's own kernel must have and has not, or nothing."""
    if isolation != "UserNamespace":
        return ""
    if UID_MAP.read_text(encoding="ascii").split() == NO_NAMESPACE:
        return "`hostUsers: false`: there is no user namespace"
    return "" if is_filtered() else "`seccompProfile`: there is no filter of system calls"


def is_filtered() -> bool:
    """Whether the kernel that the cell sees filters its system calls (proc(5), `Seccomp`)."""
    return "\nSeccomp:\t2\n" in STATUS.read_text(encoding="utf-8")


def known(host: str, port: int, token: str) -> bool:
    """Wait until the gateway answers this cell by its token: before, it may refuse the agent."""
    started = time.monotonic()
    while not greeted(host, port, token):
        if milliseconds(started) > GATEWAY_SECONDS * 1000:
            return False
        time.sleep(ROUND_SECONDS)
    return True


def greeted(host: str, port: int, token: str) -> bool:
    """Whether the gateway says at its root that it knows whoever has the token."""
    connection = http.client.HTTPConnection(host, port, timeout=GREETING_SECONDS)
    try:
        connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def refusal(reason: str, message: str) -> Verdict:
    """Why the agent may not start."""
    return {"reason": reason, "message": message, "openMilliseconds": 0}


def walled(environment: Mapping[str, str]) -> Verdict:
    """Try until nothing answers; `openMilliseconds` is when something answered last."""
    started, opened = time.monotonic(), 0
    while True:
        answered = rounds(environment)
        if not answered:
            return {"reason": "", "message": "", "openMilliseconds": opened}
        opened = milliseconds(started)
        if opened > PATIENCE_SECONDS * 1000:
            message = f"the cell could reach {', '.join(answered)}"
            return {"reason": "BoundaryOpen", "message": message, "openMilliseconds": opened}


def rounds(environment: Mapping[str, str]) -> list[str]:
    """Everything that answered in any of the rounds."""

    def attempt(place: int) -> list[str]:
        time.sleep(place * ROUND_SECONDS)
        return boundary.answering(environment)

    with ThreadPoolExecutor(ROUNDS) as pool:
        seen = [name for names in pool.map(attempt, range(ROUNDS)) for name in names]
    return sorted(set(seen))


def milliseconds(since: float) -> int:
    """Since a moment of the monotonic clock."""
    return round((time.monotonic() - since) * 1000)


def changed_content(digests: Mapping[str, str]) -> str:
    """The first folder whose content has not the digest that it was granted with, or nothing."""
    different = (path for path, digest in digests.items() if digest_of(Path(path)) != digest)
    return next(different, "")


def digest_of(folder: Path) -> str:
    """As `policy.digest.of_files` has it: canonical JSON of each file's path and SHA-256.

    The kubelet keeps a volume's content behind the link `..data`, and links to that.
    """
    content = folder / "..data" if (folder / "..data").exists() else folder
    files = (path for path in content.resolve().rglob("*") if path.is_file())
    found = {
        str(path.relative_to(content.resolve())): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
