"""`mangrove cluster instances`, `hold`, `release`, `events`: on the cluster's machine, with or without the root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from mangrove.cli.at_cluster import cluster_here, connect
from mangrove.cli.output import Format, output_option, print_json_line, print_list
from mangrove.client.documents import LocalInstance
from mangrove.client.names import Named, choose
from mangrove.model.phases import Phase


@click.command("instances")
@output_option
@cluster_here
def instances(data_dir: Path, address: str, output: Format) -> None:
    """List what the cluster on this machine runs, with or without the root."""

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import local_instances_table

        return local_instances_table(found)

    found = connect(data_dir, address).instances()
    listed = [msgspec.to_builtins(each) for each in found] if output == "json" else found
    print_list(output, listed, shown, "This cluster was given nothing to run.")


@click.command("hold")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why, for those who wonder at the root.")
@cluster_here
def hold(data_dir: Path, address: str, name: str, reason: str) -> None:
    """Stop the instance NAME of the cluster on this machine until it is released.

    The root is told that it is held; what users want stays as it is. NAME is application.service.number, or the
    beginning of the id that `mangrove cluster instances` shows.
    """
    client = connect(data_dir, address)
    found = _named(client.instances(), name)
    client.hold(found.id, reason)
    click.echo(f"{found.name} is held: it is stopped, and stays so until `mangrove cluster release {name}`.", err=True)


@click.command("release")
@click.argument("name")
@cluster_here
def release(data_dir: Path, address: str, name: str) -> None:
    """Let the instance NAME of the cluster on this machine, which was held, run again."""
    client = connect(data_dir, address)
    found = _named(client.instances(), name)
    client.release(found.id)
    click.echo(f"{found.name} is released.", err=True)


@click.command("events")
@output_option
@cluster_here
def events(data_dir: Path, address: str, output: Format) -> None:
    """Show what has happened in the cluster on this machine, the newest last."""
    for event in connect(data_dir, address).events():
        if output == "json":
            print_json_line(event)
            continue
        from mangrove.cli.tables import console, event_line

        console().print(event_line(event), soft_wrap=True)


def _named(listed: list[LocalInstance], name: str) -> LocalInstance:
    """The instance that is called so, or whose id begins so. Raises NotFound, Conflict."""
    going = [each for each in listed if each.phase is not Phase.STOPPING]
    return choose("instance", name, [Named(each, each.id, each.name) for each in going])
