"""`mangrove up` and `mangrove down`: a set-up on this one machine."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from mangrove.base.errors import InvalidInput, MangroveError
from mangrove.cli import setups
from mangrove.cli.one_machine import OneMachine
from mangrove.cli.options import dir_option, option_for
from mangrove.cli.setups import Setup
from mangrove.client.root import DEFAULT_PORT


@click.command()
@dir_option
@click.option("--port", type=click.IntRange(0, 65535), help=f"Of the root; 0: any. ({DEFAULT_PORT})")
@click.option("--clusters", type=int, help="How many clusters. (1)")
@click.option("--nodes", type=int, help="How many nodes each cluster has. (1)")
@click.option("--runtimes", help="What its nodes use, as `docker,process`. (what is there)")
@click.option("--allow-default-admin", is_flag=True, help="Give Admin the password Admin, as Oakestra does.")
def up(
    folder: Path,
    port: int | None,
    clusters: int | None,
    nodes: int | None,
    runtimes: str | None,
    allow_default_admin: bool,
) -> None:
    """Start a root, clusters and nodes in the background of this machine.

    Everything is kept in the folder, so that it goes on after `mangrove down` and `mangrove up`. The options are
    remembered; later there can be more clusters and nodes, and other runtimes from a node's next start on.
    """
    setup = setups.load(folder)
    if setup is None:
        setup = setups.create(
            folder,
            port=port,
            clusters=1 if clusters is None else clusters,
            nodes=1 if nodes is None else nodes,
            runtimes=runtimes or "",
            default_admin=allow_default_admin,
        )
    else:
        _check_same(setup, port, allow_default_admin)
        setup = setups.changed(setup, clusters, nodes, runtimes)
        setups.save(folder, setup)
    click.echo(f"Starting {_described(setup)} in {folder} …", err=True)
    machine = OneMachine(folder, setup)
    try:
        machine.up()
    except (MangroveError, KeyboardInterrupt) as error:
        stop = f"mangrove down{option_for(folder)}"
        problem = str(error) or "interrupted"
        raise click.ClickException(f"{problem}\nWhat has started runs on; `{stop}` stops it.") from None
    click.echo(f"The root listens on http://{setup.address}")
    if not setup.shown:
        click.echo(f"Log in as {setups.USER} with the password {setups.password_in(folder)}")
        click.echo(f"  (not shown again; commands on this machine find it in {folder / 'admin.password'})")
        setups.save(folder, msgspec.structs.replace(machine.setup, shown=True))
    option = option_for(folder)
    commands = {
        f"mangrove node list{option}": "what there is to run on",
        f"mangrove deploy{option} FILE": "run what an SLA declares",
        f"mangrove instance list{option}": "what runs where",
        f"mangrove down{option}": "stop it all; `mangrove up` goes on from there",
    }
    width = max(map(len, commands))
    for command, purpose in commands.items():
        click.echo(f"  {command:{width}}  {purpose}")


@click.command()
@dir_option
def down(folder: Path) -> None:
    """Stop the set-up in the folder, and all that its nodes run.

    Nothing is forgotten: `mangrove up` goes on.
    """
    setup = setups.load(folder)
    if setup is None:
        click.echo(f"There is no set-up in {folder}.")
    elif OneMachine(folder, setup).down():
        click.echo(
            f"Stopped {_described(setup)}. Its data stays in {folder}; `mangrove up{option_for(folder)}` goes on."
        )
    else:
        click.echo(f"Nothing of the set-up in {folder} was running.")


def _check_same(setup: Setup, port: int | None, allow_default_admin: bool) -> None:
    """Raise InvalidInput for what cannot be changed any more."""
    advice = "that stays; make another set-up with --dir"
    if port not in (None, 0, setup.port):
        raise InvalidInput("--port", f"this set-up has its root on {setup.port}: {advice}")
    if allow_default_admin and not setup.default_admin:
        raise InvalidInput("--allow-default-admin", f"this set-up has a password of its own: {advice}")


def _described(setup: Setup) -> str:
    def counted(count: int, noun: str) -> str:
        return f"{count} {noun}{'' if count == 1 else 's'}"

    return f"a root, {counted(setup.clusters, 'cluster')} and {counted(setup.clusters * setup.nodes, 'node')}"
