"""Envoy itself judges its configuration, with and without what a platform's admin may add."""

import json
import subprocess
from pathlib import Path

import pytest

from anchorhold.gateway.addresses import networks
from anchorhold.gateway.envoy import configuration
from gatebed import ENVOY


@pytest.mark.parametrize("reachable", ["", "10.1.2.0/24", "10.1.2.0/24 fd00:1::/64"])
def test_envoy_takes_its_configuration(reachable: str, tmp_path: Path):
    config = configuration.bootstrap(
        networks(reachable), "/etc/ssl/certs/ca-certificates.crt", str(tmp_path)
    )
    (tmp_path / "envoy.json").write_text(json.dumps(config), encoding="ascii")

    words = [str(ENVOY), "--mode", "validate", "--config-path", f"{tmp_path}/envoy.json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603

    assert done.returncode == 0, done.stderr
