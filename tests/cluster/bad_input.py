"""The table of bad input, and the AgentRun that each of its rows asks for."""

from pathlib import Path
from typing import Any

import yaml

from agents import document

TABLE = Path(__file__).parents[1] / "bad_input.yaml"
ROWS = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
REFUSED = [row for row in ROWS if row["layer"] != "status"]
SHOWN_LATER = [row for row in ROWS if row["layer"] == "status"]
LABELS: dict[str, dict[str, str]] = {
    "never-onboarded": {},
    "half-onboarded": {"anchorhold.dev/tenant": "half-onboarded"},
}


def asked(row: dict[str, Any], namespace: str, image: str) -> dict[str, Any]:
    """The AgentRun of a row."""
    spec = {"image": image, **row.get("spec", {})}
    if "task_bytes" in row:
        character = row.get("task_character", "x")
        spec["task"] = character * (row["task_bytes"] // len(character.encode()))
    registry = image.split("/", 1)[0]
    spec["image"] = spec["image"].replace("REGISTRY", registry)
    name = row.get("name") or "bad-" + "".join(c for c in row["kind"].lower() if c.isalnum())[:40]
    return document(row.get("namespace", namespace), name, **spec)
