"""`mangrove nodes`, `services` and `deploy`: what one does with a root every day."""

from __future__ import annotations

from typing import IO

import click
import msgspec

from mangrove.base.errors import InvalidInput
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.tables import console, nodes_table, rows_of, services_table

#: Bytes of the largest SLA that is read: what a root takes as one request.
_LARGEST = 1024 * 1024


@click.command()
@root_options
def nodes(root: RootOptions) -> None:
    """List the nodes of all clusters."""
    found = root.connect().nodes()
    if found:
        console().print(nodes_table(found))
    else:
        click.echo("No node has joined yet: `mangrove node token` makes a token for one.")


@click.command()
@root_options
def services(root: RootOptions) -> None:
    """List the instances of your services: whether they run, and where."""
    client = root.connect()
    applications = client.applications()
    rows = list(rows_of(client, applications))
    if rows:
        console().print(services_table(rows))
    elif applications:
        click.echo("No instance is wanted of any service.")
    else:
        click.echo("There is no application yet: `mangrove deploy FILE` makes one.")


@click.command()
@click.argument("file", type=click.File("rb"))
@root_options
def deploy(root: RootOptions, file: IO[bytes]) -> None:
    """Run what an SLA declares.

    Creates the applications in FILE, and runs one instance of each of their services.
    FILE is JSON; `-` reads it from standard input.
    """
    text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise InvalidInput("FILE", f"is larger than {_LARGEST} bytes, which is the most that a root takes")
    try:
        sla = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("FILE", f"is not JSON: {error}") from None
    client = root.connect()
    for application in client.create_applications(sla):
        for service in client.services(application.id):
            number = client.deploy(service.id)
            click.echo(f"{application.name}: {service.name}, instance {number}, is requested")
    click.echo("`mangrove services` shows what becomes of them.", err=True)
