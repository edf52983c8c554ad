"""`mangrove adopted`: what runs and a store that was brought back did not know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mangrove.cli.at_cluster import connect, or_cluster_here
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_list
from mangrove.client.cluster import ClusterClient
from mangrove.client.names import Named, choose
from mangrove.client.root import RootClient
from mangrove.model.answers import AdoptedInstance


def _client(root: RootOptions, data_dir: Path | None, address: str) -> RootClient | ClusterClient:
    return root.connect() if data_dir is None else connect(data_dir, address)


@click.group("adopted")
def adopted() -> None:
    """List what runs though a restored store did not know it; keep or drop it."""


@adopted.command("list")
@or_cluster_here
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
@or_cluster_here
@root_options
def drop(root: RootOptions, names: tuple[str, ...], data_dir: Path | None, address: str) -> None:
    """Stop each NAME (application.service.number, or the beginning of its id)."""
    client = _client(root, data_dir, address)
    for found in _named(client.adopted(), names):
        client.drop_adopted(found.id)
        click.echo(f"{found.name} on {found.child} is being stopped.", err=True)


def _named(listed: Sequence[AdoptedInstance], names: Sequence[str]) -> list[AdoptedInstance]:
    """Those that are called so, each named by one word. Raises NotFound, Conflict."""
    things = [Named(each, each.id, f"{each.name} on {each.child}", (each.name,)) for each in listed if not each.dropped]
    return [choose("adopted instance", name, things) for name in names]
