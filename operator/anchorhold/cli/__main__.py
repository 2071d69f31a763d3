"""The command `kubectl anchorhold`, which kubectl finds as `kubectl-anchorhold` on the path."""

from pathlib import Path

import click
import yaml

from anchorhold.cli import packing
from anchorhold.cli.doctor.command import doctor
from anchorhold.cli.prove.command import prove


class Readable(yaml.SafeDumper):
    """YAML in which texts of several lines are shown as such, for whoever reviews them."""


def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """One string; PyYAML quotes it all the same where a block could not hold it."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, "|" if "\n" in value else None)


Readable.add_representer(str, text)


@click.group()
def main() -> None:
    """Helps with Anchorhold, which runs AI agents in sealed Pods."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def pack(folder: Path) -> None:
    """Print the folder of a skill as an AgentSkill, for `kubectl create -f -`."""
    try:
        document = packing.agent_skill(folder)
    except packing.RefusedError as refusal:
        raise click.ClickException(str(refusal)) from None
    click.echo(yaml.dump(document, Dumper=Readable, sort_keys=False, allow_unicode=True), nl=False)


main.add_command(doctor)
main.add_command(prove)

if __name__ == "__main__":
    main(prog_name="kubectl anchorhold")
