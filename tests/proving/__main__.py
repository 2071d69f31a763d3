"""`PYTHONPATH=tests python3 -m proving [tier …]`, after `make cluster`."""

import sys

from bed.installation import CLUSTER, Installation
from proving.place import EVERYTHING, TIERS, Place


def main() -> int:
    """Prove each tier; the pages lie in `.cluster/log`. Returns the worst exit status."""
    bed = Installation()
    bed.gateway()
    worst = 0
    for namespace in sys.argv[1:] or TIERS:
        place = Place(bed, namespace)
        place.onboard()
        status, page = place.run("--output", "html", *EVERYTHING)
        (CLUSTER / "log" / f"{namespace}.html").write_text(page, "utf-8")
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main())
