"""Writes Envoy's configuration for this installation: `python -m anchorhold.gateway.envoy FILE`."""

import json
import os
import sys
from pathlib import Path

from anchorhold.gateway import addresses
from anchorhold.gateway.envoy.configuration import FOLDER, bootstrap


def main() -> None:
    """Write it to the file that is named."""
    reachable = addresses.networks(os.environ["ANCHORHOLD_REACHABLE"])
    config = bootstrap(reachable, os.environ["ANCHORHOLD_AUTHORITIES"], FOLDER)
    Path(sys.argv[1]).write_text(json.dumps(config), encoding="ascii")


if __name__ == "__main__":
    main()
