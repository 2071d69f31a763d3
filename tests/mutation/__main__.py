"""Takes each admission rule out in turn, and expects the examples to notice.

    PYTHONPATH=operator:tests python -m mutation [--kubectl PATH] [--kubeconfig PATH] [POLICY ...]

It needs a cluster with Anchorhold installed; the cluster of `make cluster`, if none is named. Each
validation is set to `true`, and then to its own negation, in the API server itself; each resource
and operation that a policy matches is left out; the stamp of the requester is left out, and made
with another name. Meanwhile the examples of `tests/refused/` and `tests/accepted/` are posted again
and again until one of them gets another answer than it should. A rule is load-bearing when every
change to it is noticed.
"""

import argparse
import copy
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

from bed.api import Api
from bed.installation import CLUSTER
from bed.kube import Document, Kubectl, wait_for
from examples import Example, load
from places import Places, standing

GROUP = "/apis/admissionregistration.k8s.io/v1"
VALIDATING = f"{GROUP}/validatingadmissionpolicies"
MUTATING = f"{GROUP}/mutatingadmissionpolicies"
# A change is in force within a second or two; one that is not noticed by then never is.
PATIENCE_SECONDS = 15
FULL_ROUNDS = 3


@dataclass(frozen=True)
class Mutant:
    """One rule, changed."""

    path: str
    kind: str
    place: str
    rule: str
    change: str
    spec: Document

    def __str__(self) -> str:
        words, policy = " ".join(self.rule.split()), self.path.rsplit("/", 1)[1]
        return f"{policy} {self.kind} {self.place} {self.change}: {words[:70]}"


def mutants(path: str, spec: Document) -> Iterator[Mutant]:
    """Every change to one policy."""
    if path.startswith(MUTATING):
        yield from broken_stamps(path, spec)
    else:
        yield from broken_validations(path, spec)
    yield from narrower_matches(path, spec)


def broken_validations(path: str, spec: Document) -> Iterator[Mutant]:
    """Each validation left out, and turned round."""
    for place, validation in enumerate(spec["validations"]):
        rule = validation["expression"]
        changes = {"true": "true"} if rule == "false" else {"true": "true", "not": f"!({rule})"}
        for change, expression in changes.items():
            changed = copy.deepcopy(spec)
            changed["validations"][place]["expression"] = expression
            yield Mutant(path, "validations", str(place), rule, change, changed)


def narrower_matches(path: str, spec: Document) -> Iterator[Mutant]:
    """Each resource and each operation left out, but for the last one."""
    for place, rule in enumerate(spec["matchConstraints"]["resourceRules"]):
        for what in ("resources", "operations"):
            for value in rule[what] if len(rule[what]) > 1 else ():
                changed = copy.deepcopy(spec)
                changed["matchConstraints"]["resourceRules"][place][what].remove(value)
                yield Mutant(path, "matches", f"{place} {value}", value, "without", changed)


def broken_stamps(path: str, spec: Document) -> Iterator[Mutant]:
    """A stamp that is not made, and one with another name on it."""
    for place, mutation in enumerate(spec["mutations"]):
        rule = mutation["applyConfiguration"]["expression"]
        changes = {"none": "Object{}", "other": rule.replace("request.userInfo.username", "'x'")}
        for change, expression in changes.items():
            changed = copy.deepcopy(spec)
            changed["mutations"][place]["applyConfiguration"]["expression"] = expression
            yield Mutant(path, "stamps", str(place), rule, change, changed)


@dataclass(frozen=True)
class Examples:
    """Everything that is posted, and what must come of it."""

    places: Places

    def is_right(self, folder: str, example: Example) -> bool:
        """Whether the API server answers as it should."""
        return self.places.takes(example) if folder == "accepted" else self.places.refuses(example)

    def wrong(self) -> tuple[str, Example] | None:
        """The first example that is not answered as it should be."""
        for folder in ("refused", "accepted"):
            for example in load(folder).values():
                if not self.is_right(folder, example):
                    return folder, example
        return None

    def noticed(self) -> tuple[str, Example] | None:
        """The first wrong answer, if there is one before patience ends; at least a few rounds."""
        end, rounds = time.monotonic() + PATIENCE_SECONDS, 0
        while time.monotonic() < end or rounds < FULL_ROUNDS:
            found = self.wrong()
            # Twice, so that what passes by itself is not taken for the mutant's doing.
            if found and not self.is_right(*found):
                return found
            rounds += 1
        return None


@dataclass(frozen=True)
class Run:
    """The mutation run against one cluster."""

    api: Api
    examples: Examples

    def put(self, path: str, spec: Document) -> None:
        """Write a policy's spec."""
        current = self.api.request("GET", path).body
        answer = self.api.request("PUT", path, {**current, "spec": spec})
        assert answer.refusal == "", answer.refusal

    def is_noticed(self, mutant: Mutant, original: Document) -> bool:
        """Put a mutant in force, look, and put the original back."""
        self.put(mutant.path, mutant.spec)
        try:
            found = self.examples.noticed()
        finally:
            self.put(mutant.path, original)
        if found is None:
            wait_for(lambda: self.examples.wrong() is None, 60, "the rule to be in force again")
            return False
        folder, example = found
        wait_for(lambda: self.examples.is_right(folder, example), 60, f"{example.what} to be right")
        return True

    def policies(self, wanted: Iterable[str]) -> dict[str, Document]:
        """Path -> spec of each admission policy of ours that is wanted, or of all."""
        found = {
            f"{collection}/{item['metadata']['name']}": item["spec"]
            for collection in (VALIDATING, MUTATING)
            for item in self.api.request("GET", collection).body["items"]
            if item["metadata"]["name"].startswith("anchorhold-")
        }
        names = set(wanted)
        return {p: spec for p, spec in found.items() if not names or p.rsplit("/", 1)[1] in names}

    def all(self, wanted: Iterable[str]) -> list[tuple[Mutant, bool]]:
        """Every mutant, and whether it was noticed."""
        wrong = self.examples.wrong()
        assert wrong is None, f"wrong before anything is changed: {wrong}"
        results = []
        for path, spec in self.policies(wanted).items():
            for mutant in mutants(path, spec):
                noticed = self.is_noticed(mutant, spec)
                tell(f"{'noticed ' if noticed else 'SURVIVED'} {mutant}")
                results.append((mutant, noticed))
        wait_for(lambda: self.examples.wrong() is None, 60, "every rule to be in force again")
        return results


def tell(line: str) -> None:
    """Say it at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def report(results: list[tuple[Mutant, bool]]) -> bool:
    """Print how many rules are load-bearing; whether all are."""
    verdicts: dict[tuple[str, str, str], bool] = {}
    for mutant, noticed in results:
        key = mutant.kind, mutant.path, mutant.place
        verdicts[key] = verdicts.get(key, True) and noticed
    for kind in ("matches", "stamps", "validations"):
        found = [noticed for (of, *_), noticed in verdicts.items() if of == kind]
        tell(f"{sum(found)} of {len(found)} {kind} are load-bearing")
    return all(verdicts.values())


def main() -> int:
    """The whole run; 1 if a rule could go without anybody noticing."""
    words = argparse.ArgumentParser(prog="mutation", description=__doc__)
    words.add_argument("--kubectl", type=Path, default=CLUSTER / "bin" / "kubectl")
    words.add_argument("--kubeconfig", type=Path, default=CLUSTER / "kubeconfig")
    words.add_argument("policies", nargs="*", metavar="POLICY", help="default: all")
    given = words.parse_args()
    with standing(Kubectl(given.kubectl, given.kubeconfig)) as places:
        run = Run(places.posters["admin"], Examples(places))
        return 0 if report(run.all(given.policies)) else 1


if __name__ == "__main__":
    sys.exit(main())
