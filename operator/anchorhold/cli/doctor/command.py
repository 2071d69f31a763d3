"""The command line of `doctor`."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anchorhold import names
from anchorhold.cli import api
from anchorhold.cli.doctor.checks import Finding, Seen, State, all_findings

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
PATHS = {
    "nodes": "/api/v1/nodes",
    "namespaces": "/api/v1/namespaces",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "statefulsets": "/apis/apps/v1/statefulsets",
    "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
    "validatingadmissionpolicies": f"{ADMISSION}/validatingadmissionpolicies",
    "validatingadmissionpolicybindings": f"{ADMISSION}/validatingadmissionpolicybindings",
    "agentpolicies": f"/apis/{names.API_VERSION}/namespaces/{names.POLICY_NAMESPACE}/agentpolicies",
}
COLOURS = {State.GOOD: "green", State.BAD: "bold red", State.UNKNOWN: "yellow"}


@click.command()
@click.option("--kubeconfig", help="Path of a kubeconfig.")
@click.option("--context", help="A context of the kubeconfig.")
@click.option("--output", "-o", type=click.Choice(["table", "json"]), default="table")
def doctor(kubeconfig: str | None, context: str | None, output: str) -> None:
    """Look at the installation, change nothing, and say what to do.

    Exit status: 0 if all is well, 1 if something is bad, 2 if something could not be seen.
    """
    try:
        found = all_findings(look(api.Cluster.from_kubeconfig(kubeconfig, context)))
    except api.UnreachableError as error:
        raise click.ClickException(str(error)) from None
    if output == "json":
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        Console().print(table(found))
    sys.exit(exit_status(found))


def exit_status(found: list[Finding]) -> int:
    """The worst of it."""
    states = {each.state for each in found}
    return 1 if State.BAD in states else 2 if State.UNKNOWN in states else 0


def look(cluster: api.Cluster) -> Seen:
    """Read everything once, all at the same time."""
    with ThreadPoolExecutor(len(PATHS)) as pool:
        answers = dict(
            zip(PATHS, pool.map(lambda p: cluster.ask("GET", p), PATHS.values()), strict=True)
        )
    version = api.done(cluster.ask("GET", "/version"))["gitVersion"]
    items = {kind: [] if a.refusal else a.body["items"] for kind, a in answers.items()}
    return Seen(version, items, {kind: a.refusal for kind, a in answers.items() if a.refusal})


def table(found: list[Finding]) -> Table:
    """What is not well first."""
    shown = Table(title="kubectl anchorhold doctor")
    for heading in ("", "what", "seen", "what to do"):
        shown.add_column(heading, overflow="fold", no_wrap=heading == "what")
    order = [State.BAD, State.UNKNOWN, State.GOOD]
    for each in sorted(found, key=lambda finding: order.index(finding.state)):
        word = Text(each.state.value, style=COLOURS[each.state])
        shown.add_row(word, each.what, each.seen, each.remedy)
    return shown
