"""The seccomp profile of this checkout, and the name that its content gives it."""

import hashlib
import json

from bed.installation import CHECKOUT
from bed.kube import Document

FILE = CHECKOUT / "charts" / "anchorhold" / "files" / "agent.json"
NAME = f"anchorhold/agent-{hashlib.sha256(FILE.read_bytes()).hexdigest()[:16]}.json"
PROFILE: Document = json.loads(FILE.read_text(encoding="utf-8"))
