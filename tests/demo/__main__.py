"""Runs the example from nothing: `PYTHONPATH=tests python3 -m demo`, after `make cluster`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from bed.installation import CHECKOUT, CLUSTER, Installation, say
from bed.kube import Document, wait_for
from demo.window import converse

EXAMPLE = CHECKOUT / "manifests" / "examples" / "survey"
PLACEHOLDER = "registry.example.com/examples/survey@sha256:" + "0" * 64
NAMESPACE, RUN = "team-a", "survey"
SECONDS = 120


def main() -> None:
    """Install, onboard, run, and show what came of it."""
    begun = time.monotonic()
    bed = Installation()
    say("Building the images and installing the chart anchorhold…")
    bed.gateway()
    image = bed.image("examples/survey", EXAMPLE)
    say("Writing the AgentPolicy and onboarding the namespace team-a…")
    apply(bed, "policy.yaml", {PLACEHOLDER: image})
    bed.tenant(NAMESPACE, "survey")
    volume = fill_volume()
    apply(bed, "volume.yaml", {"/srv/anchorhold/source": str(volume)})
    say("Submitting the AgentRun…")
    bed.kubectl.delete("agentrun", RUN, NAMESPACE)
    apply(bed, "run.yaml", {PLACEHOLDER: image})
    run = wait_for(lambda: finished(bed), SECONDS, f"the run {NAMESPACE}/{RUN} to end")
    show(bed, run)
    converse(bed)
    print(NEXT.format(bin=CLUSTER / "bin"))
    print(f"\nFrom the images to the result: {time.monotonic() - begun:.0f} s.")


def apply(bed: Installation, name: str, replaced: dict[str, str]) -> None:
    """Apply one file of the example, with this cluster's image and path in it."""
    text = (EXAMPLE / name).read_text(encoding="utf-8")
    for placeholder, value in replaced.items():
        text = text.replace(placeholder, value)
    bed.kubectl("apply", "-f", "-", stdin=text)


def fill_volume() -> Path:
    """Put this project's own sources where the PersistentVolume points: what an admin would do."""
    target = CLUSTER / "volumes" / "source"
    shutil.rmtree(target, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CHECKOUT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, target / name)
    return target


def finished(bed: Installation) -> Document | None:
    """The run, once its record says how it ended."""
    run = bed.kubectl.get("agentrun", RUN, NAMESPACE)
    conditions = run["status"]["conditions"] if run is not None else []
    ended = any(c["type"] == "Succeeded" and c["status"] != "Unknown" for c in conditions)
    return run if ended else None


def show(bed: Installation, run: Document) -> None:
    """Print the run, its conditions, its limits and its result, and what to try next."""
    status = run["status"]
    print("\n$ kubectl get arun -n team-a")
    print(bed.kubectl("get", "arun", "-n", NAMESPACE), end="")
    print("\nConditions")
    for condition in status["conditions"]:
        words = (condition["type"], condition["status"], condition["reason"], condition["message"])
        print("  {:10} {:8} {:12} {}".format(*words))
    print("\nEffective limits")
    for field, value in status.get("effective", {}).items():
        print(f"  {field:22} {json.dumps(value)}")
    print("\nResult (untrusted text, as the agent wrote it)")
    print(status.get("result", {}).get("message", "(none)"))
    if status["conditions"][1]["status"] != "True":
        raise SystemExit("The run did not succeed.")


NEXT = """
What to type next
  export KUBECONFIG=$PWD/.cluster/kubeconfig PATH=$PWD/.cluster/bin:$PATH
  kubectl -n team-a logs -l anchorhold.dev/run         # the long version of the survey
  kubectl -n team-a get arun survey -o yaml            # the whole record
  kubectl -n anchorhold-policies edit apol survey      # change what runs may do
  make down                                            # remove the cluster"""


if __name__ == "__main__":
    main()
