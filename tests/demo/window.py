"""The second half of the demo: an agent talks to a model through the gateway, and to nobody else.

The model is scripted (`onenode.scripted`), and says so; the SDKs that talk to it are the real ones.
"""

from __future__ import annotations

import json

from bed.installation import CHECKOUT, GATEWAY, Installation, policy, say
from bed.kube import Document, wait_for

NAMESPACE, RUN = "team-b", "conversation"
RULE = {
    "name": "model",
    "host": "model.test",
    "methods": ["POST"],
    "paths": ["/v1/chat/completions", "/v1/messages"],
    "env": [
        {"name": "OPENAI_BASE_URL", "value": "http://{gateway}/model.test/v1"},
        {"name": "OPENAI_API_KEY", "value": "{token}"},
        {"name": "ANTHROPIC_BASE_URL", "value": "http://{gateway}/model.test"},
        {"name": "ANTHROPIC_API_KEY", "value": "{token}"},
    ],
}
# Two with each SDK.
TURNS = 4
SECONDS = 120


def converse(bed: Installation) -> None:
    """Onboard a second namespace, whose runs may talk to one model, and let one do so."""
    say("Onboarding the namespace team-b, whose runs may talk to a (scripted) model…")
    recipe = CHECKOUT / "tests" / "cluster" / "sdks" / "Dockerfile"
    image = bed.image("tests/sdks", CHECKOUT / "build" / "sdks", "--file", str(recipe))
    bed.kubectl.apply(policy(RUN, image, egress={"rules": [RULE]}))
    bed.tenant(NAMESPACE, RUN)
    bed.kubectl.delete("agentrun", RUN, NAMESPACE)
    say("Submitting an agent with the SDKs of OpenAI and Anthropic…")
    wait_for(lambda: submitted(bed, image), SECONDS, "the run to be taken")
    run = wait_for(lambda: finished(bed), SECONDS, f"the run {NAMESPACE}/{RUN} to end")
    print("\nWhat the agent heard through the gateway, with no key and no network of its own")
    print(run["status"].get("result", {}).get("message", run["status"]))
    print("\nWhat the gateway wrote down")
    for line in wait_for(lambda: written(bed), 30, "the gateway's log"):
        said = json.loads(line)
        print("  " + " ".join(str(said.get(key, "-")) for key in SHOWN))


def written(bed: Installation) -> list[str]:
    """The gateway's lines about the run; it writes them down within a second."""
    log = bed.kubectl("-n", GATEWAY, "logs", "gateway-0", "-c", "envoy")
    found = [line for line in log.splitlines() if f'"{NAMESPACE}/{RUN}"' in line]
    return found if sum('"POST"' in line for line in found) >= TURNS else []


SHOWN = ("run", "decision", "rule", "method", "host", "path", "status", "upstream")


def submitted(bed: Installation, image: str) -> bool:
    """Whether the API server took the run: it learns of a new policy a moment later."""
    code = (CHECKOUT / "tests" / "cluster" / "conversation.py").read_text(encoding="utf-8")
    run = {
        "apiVersion": "anchorhold.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": RUN, "namespace": NAMESPACE},
        "spec": {
            "task": code,
            "image": image,
            "args": ["exec(open('/run/anchorhold/task').read())"],
            "egress": {"rules": [{"name": "model"}]},
        },
    }
    words = ("apply", "-f", "-")
    return bed.kubectl.run(*words, stdin=json.dumps(run)).returncode == 0


def finished(bed: Installation) -> Document | None:
    """The run, once its record says how it ended."""
    run = bed.kubectl.get("agentrun", RUN, NAMESPACE)
    conditions = run["status"]["conditions"] if run is not None else []
    ended = any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)
    return run if ended else None
