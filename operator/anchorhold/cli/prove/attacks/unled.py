"""What is tried while there is no controller: all of it at one stop, for each takes a while."""

from collections.abc import Callable, Generator, Mapping

from anchorhold.cli import api
from anchorhold.cli.prove.attacks import undoing
from anchorhold.cli.prove.props import GaveUpError
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Attempt

# Makes ready, yields until the controller is gone, does its worst, and yields until it is back.
Part = Generator[None, None, list[Attempt]]
Outcome = list[Attempt] | Exception
# A probe's word is data, and may be anything: what makes no sense is a fault like others.
SENSELESS = (KeyError, IndexError, TypeError, ValueError, AttributeError)
FAULTS = (GaveUpError, api.RefusedError, api.UnreachableError, *SENSELESS)
# So many runs live at the same time, if all is tried at one stop.
RUNS = 8


def outcomes(stage: Stage, parts: Mapping[str, Callable[[Stage], Part]]) -> dict[str, Outcome]:
    """What came of each; one after the other where the policy allows too few runs at a time."""
    if stage.policy["limits"]["activeRuns"] >= RUNS:
        return at_one_stop(stage, parts)
    found: dict[str, Outcome] = {}
    for name, part in parts.items():
        found |= at_one_stop(stage, {name: part})
    return found


def at_one_stop(stage: Stage, parts: Mapping[str, Callable[[Stage], Part]]) -> dict[str, Outcome]:
    """Each gets ready, then all act, and then each looks what came of it."""
    begun = {name: part(stage) for name, part in parts.items()}
    found: dict[str, Outcome] = {}
    try:
        go_on(begun, found)
        with undoing.no_controller(stage):
            go_on(begun, found)
        go_on(begun, found)
    except FAULTS as error:
        found = dict.fromkeys(parts, error) | found
    return found


def go_on(begun: Mapping[str, Part], found: dict[str, Outcome]) -> None:
    """Each one step further, but for those that are over."""
    for name, part in begun.items():
        try:
            if name not in found:
                next(part)
        except StopIteration as done:
            found[name] = done.value
        except FAULTS as error:
            found[name] = error
