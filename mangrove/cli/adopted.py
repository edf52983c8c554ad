"""`mangrove adopted`: what runs and a store that was brought back did not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_list
from mangrove.client.cluster import DEFAULT_PORT, ClusterClient, operator_token_in
from mangrove.client.documents import AdoptedInstance
from mangrove.client.root import RootClient

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: Characters of an id that stand for it: as for all commands.
_SHORTEST = 4


def _where(command: _Command) -> _Command:
    """Of the root, or of the cluster on this machine."""
    command = click.option(
        "--address", default=f"127.0.0.1:{DEFAULT_PORT}", show_default=True, help="With --data-dir: where it is."
    )(command)
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Ask the cluster whose data folder this is, and no root: on its machine, as its user.",
    )(command)


def _client(root: RootOptions, data_dir: Path | None, address: str) -> RootClient | ClusterClient:
    return root.connect() if data_dir is None else ClusterClient(address, operator_token_in(data_dir))


@click.group("adopted")
def adopted() -> None:
    """List what runs though a restored store did not know it; keep or drop it."""


@adopted.command("list")
@_where
@output_option
@root_options
def list_adopted(root: RootOptions, output: Format, data_dir: Path | None, address: str) -> None:
    """List what is adopted: it runs on until it is kept, dropped, or its time is over."""

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import adopted_table

        return adopted_table(found)

    found = _client(root, data_dir, address).adopted()
    listed = [msgspec.to_builtins(each) for each in found] if output == "json" else found
    print_list(output, listed, shown, "Nothing is adopted: all that runs is known.")


@adopted.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@root_options
def keep(root: RootOptions, names: tuple[str, ...]) -> None:
    """Keep each NAME (application.service.number, or the beginning of its id) as an instance of its service."""
    client = root.connect()
    for found in _named(client.adopted(), names):
        client.keep_adopted(found.id)
        click.echo(f"{found.name} on {found.child} is kept.", err=True)


@adopted.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_where
@root_options
def drop(root: RootOptions, names: tuple[str, ...], data_dir: Path | None, address: str) -> None:
    """Stop each NAME (application.service.number, or the beginning of its id)."""
    client = _client(root, data_dir, address)
    for found in _named(client.adopted(), names):
        client.drop_adopted(found.id)
        click.echo(f"{found.name} on {found.child} is being stopped.", err=True)


def _named(listed: Sequence[AdoptedInstance], names: Sequence[str]) -> list[AdoptedInstance]:
    """Those that are called so, each named by one word. Raises NotFound, InvalidInput."""
    return [_one([each for each in listed if not each.dropped], name) for name in names]


def _one(listed: Sequence[AdoptedInstance], name: str) -> AdoptedInstance:
    found = [each for each in listed if each.name == name]
    if not found and len(name) >= _SHORTEST:
        found = [each for each in listed if each.id.startswith(name)]
    if not found:
        raise NotFound(f"{name!r} is not adopted; `mangrove adopted list` lists what is")
    if len(found) > 1:
        candidates = ", ".join(f"{each.name} on {each.child} ({each.id})" for each in found)
        raise InvalidInput("NAME", f"{name!r} may be any of these; name one by its id: {candidates}")
    return found[0]
