"""The command line of `prove`."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from types import FrameType

import click
from rich.console import Console
from rich.live import Live

from anchorhold.cli import api
from anchorhold.cli.prove import facts, report, result, runner
from anchorhold.cli.prove.claims import Claim, chosen
from anchorhold.cli.prove.props import GaveUpError
from anchorhold.cli.prove.result import Result, Scene
from anchorhold.cli.prove.stage import Stage
from anchorhold.cli.prove.verdict import Verdict, exit_status

NOTHING_TESTED, INTERRUPTED = 2, 130
APART = "Run Pods without a fence, in a namespace that is removed again."
DISRUPTS = "Stop the controller and take parts of the fence away for moments: for test clusters."
RIGHTS = """
Rights: to create, read and delete AgentRuns and ConfigMaps and to read Pods and their logs in the
namespace (the role `anchorhold-author`), and to read its AgentPolicy. To list
ValidatingAdmissionPolicyBindings, or --policy. With --allow-unfenced: to make a namespace, and Pods
and Services in it. With --disruptive: to request tokens of ServiceAccounts, to scale the
controller, to change the policy, to make AgentSkills, to delete and apply what fences the
namespace, and to patch the DaemonSet that installs the seccomp profile: an administrator's. Nodes
and the gateway's Pods are looked at where they may be listed. What a right is missing for is
NOT TESTED.

Exit status: 0 if nothing failed and nothing that this cluster could test was skipped, 1 if a claim
failed, 2 if one was skipped, 130 after an interruption.
"""


@click.command(epilog=RIGHTS)
@click.option("--namespace", "-n", required=True, help="The run namespace to attack.")
@click.option("--kubeconfig", help="Path of a kubeconfig.")
@click.option("--context", help="A context of the kubeconfig.")
@click.option("--only", default="", help="Claims, for instance 'C09,C16'.")
@click.option("--image", default="", help="An image of the policy that has Python 3.8 or newer.")
@click.option("--policy", default="", help="The AgentPolicy, where you may not list bindings.")
@click.option("--internet", default="1.1.1.1:443", help="An address outside, for C09.")
@click.option("--allow-unfenced", is_flag=True, help=APART)
@click.option("--disruptive", is_flag=True, help=DISRUPTS)
@click.option("--enforcer-off", help="A command that stops what enforces NetworkPolicies.")
@click.option("--enforcer-on", help="The command that starts it again.")
@click.option(
    "--destructive", is_flag=True, help="Fork bombs also where the node has no PID limit."
)
@click.option("--output", "-o", type=click.Choice(["table", *report.FORMATS]), default="table")
def prove(**options: object) -> None:
    """Attack the boundary of a run namespace, and say which claims hold."""
    try:
        claims = chosen(str(options["only"]))
        cluster = api.Cluster.from_kubeconfig(text(options["kubeconfig"]), text(options["context"]))
        flags = [flag for flag in ("disruptive", "destructive") if options[flag]]
        flags += ["unfenced"] if options["allow_unfenced"] else []
        flags += ["enforcer"] if options["enforcer_off"] and options["enforcer_on"] else []
        words = (str(options["image"]), str(options["policy"]))
        stage = facts.stage(cluster, str(options["namespace"]), flags, *words)
        stage.internet = str(options["internet"])
        stage.enforcer_off, stage.enforcer_on = (
            str(options[name] or "") for name in ("enforcer_off", "enforcer_on")
        )
    except (ValueError, GaveUpError, api.RefusedError, api.UnreachableError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(perform(claims, stage, str(options["output"])))


def text(value: object) -> str | None:
    """An option that may be missing."""
    return str(value) if value else None


def perform(claims: tuple[Claim, ...], stage: Stage, output: str) -> int:
    """Test, tidy up, report; returns the exit status."""
    begun, started = datetime.now(UTC), time.monotonic()  # noqa: TID251  # a person's clock
    results: list[Result] = []
    status = 0
    with stoppable(stage), shown(claims) as show:
        try:
            if "unfenced" in stage.given:
                stage.open_apart()
            results = runner.run(claims, stage, show)
        except (GaveUpError, api.RefusedError, api.UnreachableError) as error:
            tell(f"stopped: {error}")
            status = NOTHING_TESTED
        finally:
            status = INTERRUPTED if stage.stopping.is_set() else status
            tidy(stage)
    scene = scene_of(stage, begun.isoformat(timespec="seconds"), round(time.monotonic() - started))
    finish(results, scene, output)
    return status or exit_status(result.verdict for result in results)


def finish(results: list[Result], scene: Scene, output: str) -> None:
    """Say what came of it."""
    if output != "table":
        click.echo(report.FORMATS[output](results, scene))
    elif not sys.stderr.isatty():
        claims = tuple(each.claim for each in results)
        Console().print(report.live(claims, {each.claim.id: each.verdict for each in results}))
    tell(f"{result.counted(results)} in {scene.seconds} s")


def scene_of(stage: Stage, begun: str, seconds: int) -> Scene:
    """Where it was."""
    version = stage.cluster.ask("GET", "/version")
    isolation = str(stage.policy.get("isolation", "UserNamespace"))
    return Scene(
        stage.namespace,
        " ".join([isolation, str(stage.policy.get("runtimeClassName", ""))]).strip(),
        "unknown" if version.refusal else str(version.body["gitVersion"]),
        stage.image,
        begun,
        seconds,
        tuple(sorted(stage.given)),
    )


def tidy(stage: Stage) -> None:
    """Take everything away; a second interruption does not keep it from that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for failure in stage.clean():
        tell(f"could not be removed: {failure}")


def tell(words: str) -> None:
    """To whoever watches; what was asked for goes to the standard output."""
    click.echo(words, err=True)


@contextmanager
def stoppable(stage: Stage) -> Iterator[None]:
    """SIGTERM is an interruption too, and each stops whatever waits."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stage.stopping.set()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def shown(claims: tuple[Claim, ...]) -> Iterator[Callable[[Claim, Verdict | None], None]]:
    """A table that grows, where somebody watches; else a line for each verdict."""
    states: dict[str, Verdict | None] = {}
    console, lock = Console(stderr=True), threading.Lock()
    view = Live(report.live(claims, states), console=console, refresh_per_second=4)

    def show(claim: Claim, known: Verdict | None) -> None:
        with lock:
            states[claim.id] = known
            if console.is_terminal:
                view.update(report.live(claims, states))
            elif known is not None:
                tell(f"{claim.id} {known.outcome.value} {known.reason}".rstrip())

    with view if console.is_terminal else nullcontext():
        yield show
