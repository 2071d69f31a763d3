"""The sentinel: tries for ever what no cell may reach, because an enforcer dies without a word.

`python3 -S -P -m anchorhold.inside.sentinel`, on each node, fenced as a cell is. It can tell only
the kubelet: while the termination message is empty it knows nothing yet; then it says that nothing
answers, which is when the Pod gets ready; when something does, it says what, and ends.
"""

import json
import os
import sys
import time
from collections.abc import Mapping

from anchorhold.inside import boundary, netgate

PAUSE_SECONDS = 2.0


def main() -> None:
    """Watch until something answers."""
    verdict = netgate.walled(os.environ)
    if not verdict["reason"]:
        say(verdict)
        verdict = netgate.refusal("BoundaryOpen", breach(os.environ))
    say(verdict)
    sys.exit(1)


def breach(environment: Mapping[str, str]) -> str:
    """What answered, once something does."""
    while not (answered := boundary.answering(environment)):
        time.sleep(PAUSE_SECONDS)
    return f"the sentinel could reach {', '.join(answered)}"


def say(verdict: netgate.Verdict) -> None:
    """Write the word that the kubelet passes on."""
    netgate.LAST_WORD.write_text(json.dumps(verdict), encoding="ascii")


if __name__ == "__main__":
    main()
