"""`mangrove cluster instances`, `hold`, `release`, `events`: on the cluster's machine, with or without the root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.cli.output import Format, output_option, print_json_line, print_list
from mangrove.client.cluster import DEFAULT_PORT, ClusterClient, operator_token_in
from mangrove.client.documents import LocalInstance
from mangrove.model.phases import Phase

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Characters of an id that stand for it: as for all commands.
_SHORTEST = 4


def _here(command: _Command) -> _Command:
    """The options that say which cluster; as for `mangrove node token`."""
    command = click.option(
        "--address", default=f"127.0.0.1:{DEFAULT_PORT}", show_default=True, help="Where it listens."
    )(command)
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        default="/var/lib/mangrove/cluster",
        show_default=True,
        help="Its folder, which holds the operator's token.",
    )(command)


def _client(data_dir: Path, address: str) -> ClusterClient:
    return ClusterClient(address, operator_token_in(data_dir))


@click.command("instances")
@output_option
@_here
def instances(data_dir: Path, address: str, output: Format) -> None:
    """List what the cluster on this machine runs, with or without the root."""

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import local_instances_table

        return local_instances_table(found)

    found = _client(data_dir, address).instances()
    listed = [msgspec.to_builtins(each) for each in found] if output == "json" else found
    print_list(output, listed, shown, "This cluster was given nothing to run.")


@click.command("hold")
@click.argument("name")
@click.option("--reason", default="", metavar="TEXT", help="Why, for those who wonder at the root.")
@_here
def hold(data_dir: Path, address: str, name: str, reason: str) -> None:
    """Stop the instance NAME of the cluster on this machine until it is released.

    The root is told that it is held; what users want stays as it is. NAME is application.service.number, or the
    beginning of the id that `mangrove cluster instances` shows.
    """
    client = _client(data_dir, address)
    found = _named(client.instances(), name)
    client.hold(found.id, reason)
    click.echo(f"{found.name} is held: it is stopped, and stays so until `mangrove cluster release {name}`.", err=True)


@click.command("release")
@click.argument("name")
@_here
def release(data_dir: Path, address: str, name: str) -> None:
    """Let the instance NAME of the cluster on this machine, which was held, run again."""
    client = _client(data_dir, address)
    found = _named(client.instances(), name)
    client.release(found.id)
    click.echo(f"{found.name} is released.", err=True)


@click.command("events")
@output_option
@_here
def events(data_dir: Path, address: str, output: Format) -> None:
    """Show what has happened in the cluster on this machine, the newest last."""
    for event in _client(data_dir, address).events():
        if output == "json":
            print_json_line(event)
            continue
        from mangrove.cli.tables import console, event_line

        console().print(event_line(event), soft_wrap=True)


def _named(listed: list[LocalInstance], name: str) -> LocalInstance:
    """The instance that is called so, or whose id begins so. Raises NotFound, InvalidInput."""
    found = [each for each in listed if each.name == name and each.phase is not Phase.STOPPING]
    if not found and len(name) >= _SHORTEST:
        found = [each for each in listed if each.id.startswith(name)]
    if not found:
        raise NotFound(f"this cluster has no instance {name!r}; `mangrove cluster instances` lists them")
    if len(found) > 1:
        candidates = ", ".join(f"{each.name} ({each.id})" for each in found)
        raise InvalidInput("NAME", f"{name!r} may be any of these; name one by its id: {candidates}")
    return found[0]
