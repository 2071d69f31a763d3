"""What is tried while there is no controller: all of it at one stop, for each takes a while."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

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
Parts = Mapping[str, Callable[[Stage], Part]]
Begun = dict[str, Part]


def outcomes(stage: Stage, groups: Sequence[Parts]) -> dict[str, Outcome]:
    """What came of each; one after the other where the policy allows too few runs at a time."""
    if stage.policy["limits"]["activeRuns"] >= RUNS:
        return at_one_stop(stage, groups)
    found: dict[str, Outcome] = {}
    for name, part in (row for group in groups for row in group.items()):
        found |= at_one_stop(stage, [{name: part}])
    return found


def at_one_stop(stage: Stage, groups: Sequence[Parts]) -> dict[str, Outcome]:
    """All get ready, then all act, and then all look: in a group one after the other."""
    begun = [{name: part(stage) for name, part in group.items()} for group in groups]
    found: dict[str, Outcome] = {}
    try:
        go_on(begun, found)
        with undoing.no_controller(stage):
            go_on(begun, found)
        go_on(begun, found)
    except FAULTS as error:
        found = {name: error for group in groups for name in group} | found
    return found


def go_on(begun: Sequence[Begun], found: dict[str, Outcome]) -> None:
    """Each one step further, and all groups at the same time."""
    with ThreadPoolExecutor(len(begun)) as pool:
        list(pool.map(lambda group: step(group, found), begun))


def step(group: Begun, found: dict[str, Outcome]) -> None:
    """Each of a group one step further, but for those that are over."""
    for name, part in group.items():
        try:
            if name not in found:
                next(part)
        except StopIteration as done:
            found[name] = done.value
        except FAULTS as error:
            found[name] = error
