"""Golden manifests, and how properties are tried."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

from factories import CheckGolden

GOLDEN = Path(__file__).parents[1] / "golden"

# The same examples each time, and no clock: a red test is red again for whoever looks at it.
hypothesis.settings.register_profile("anchorhold", derandomize=True, deadline=None)
hypothesis.settings.load_profile("anchorhold")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.yaml")


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> CheckGolden:
    """Compares a manifest with the whole of a golden file; a difference is a security review."""

    def check(name: str, manifest: dict[str, Any]) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.write_text(yaml.dump(manifest, Dumper=Plain, sort_keys=False), encoding="utf-8")
        assert manifest == yaml.safe_load(path.read_text(encoding="utf-8"))

    return check


class Plain(yaml.SafeDumper):
    """YAML without anchors, as people write it."""

    def ignore_aliases(self, _: object) -> bool:
        return True
