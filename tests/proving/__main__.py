"""`PYTHONPATH=tests python3 -m proving [tier …]`, after `make cluster`."""

import json
import sys
from pathlib import Path

from bed.installation import CLUSTER, Installation
from proving.place import EVERYTHING, TIERS, Place


def main() -> int:
    """Prove each tier; what was found lies in `.cluster/log`. Returns the worst exit status."""
    bed = Installation()
    bed.gateway()
    worst = 0
    for namespace in sys.argv[1:] or TIERS:
        place = Place(bed, namespace)
        place.onboard()
        status, found = place.prove(*EVERYTHING)
        Path(CLUSTER / "log" / f"{namespace}.json").write_text(json.dumps(found, indent=1), "utf-8")
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main())
