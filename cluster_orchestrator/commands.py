"""`mangrove cluster …`: what belongs to clusters. Loaded by the command line only."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click

from cluster_orchestrator.operator_commands import events, hold, instances, release
from mangrove.base.errors import InvalidInput
from mangrove.cli import complete
from mangrove.cli.backups import backup_command, restore_command
from mangrove.cli.options import RootOptions, root_options, ttl_option, uses_option
from mangrove.cli.output import Format, confirm, confirm_option, output_option, print_json, print_list, print_table
from mangrove.cli.service import Step, Wish, wish_options
from mangrove.cli.waiting import timeout_option, wait_option, wait_until_empty
from mangrove.client import names
from mangrove.client.documents import Cluster
from mangrove.store.interface import Store

#: Starts that a backup may have missed: one a second for eleven days.
_MISSED_STARTS = 1_000_000

_DATA = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default="/var/lib/mangrove/cluster",
    show_default=True,
    help="Its folder.",
)


@click.group()
def cluster() -> None:
    """List clusters, let one join, run one."""


def _count_missed_starts(store: Store) -> None:
    """To the root, a cluster that says an earlier start than before is a disk that was set back."""
    from cluster_orchestrator.main import raise_incarnation

    raise_incarnation(store, by=_MISSED_STARTS)


for _command in (instances, hold, release, events):
    cluster.add_command(_command)
cluster.add_command(backup_command("cluster", "cluster.db", _DATA))
cluster.add_command(restore_command("cluster", "cluster.db", _DATA, also=_count_missed_starts))


@cluster.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the cluster in the foreground (the same as mangrove-cluster; --help says more)."""
    from cluster_orchestrator import main as program  # tokens can be made where no cluster can run
    from mangrove.roles.program import guarded

    raise SystemExit(guarded("cluster", program.run, arguments))


@cluster.command("list")
@output_option
@root_options
def list_clusters(root: RootOptions, output: Format) -> None:
    """List the clusters, and whether they are heard."""
    client = root.connect()

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import clusters_table

        return clusters_table(client.read(list[Cluster], found))

    empty = "No cluster has joined yet: `mangrove cluster token` makes a token for one."
    print_list(output, client.documents("clusters"), shown, empty)


@cluster.command()
@click.argument("name", shell_complete=complete.cluster)
@output_option
@root_options
def show(root: RootOptions, name: str, output: Format) -> None:
    """Show the cluster NAME and its nodes."""
    client = root.connect()
    found = names.cluster(client, name)
    if output == "json":
        print_json(client.document("clusters", found.id))
        return
    from mangrove.cli.tables import clusters_table, nodes_table

    print_table(clusters_table([found]))
    nodes = list(client.nodes(cluster=found.id))
    if nodes:
        click.echo()
        print_table(nodes_table(nodes))


@cluster.command()
@click.argument("name", shell_complete=complete.cluster)
@click.option("--undo", is_flag=True, help="Give it new work again.")
@root_options
def cordon(root: RootOptions, name: str, undo: bool) -> None:
    """Give the cluster NAME no new work; what runs there stays."""
    client = root.connect()
    client.cordon_cluster(names.cluster(client, name).id, cordoned=not undo)
    click.echo(f"{name} is {'no longer ' if undo else ''}cordoned.", err=True)


@cluster.command()
@click.argument("name", shell_complete=complete.cluster)
@click.option("--undo", is_flag=True, help="Let it be, and give it new work again.")
@wait_option
@timeout_option
@root_options
def drain(root: RootOptions, name: str, undo: bool, wait: bool, timeout: float) -> None:
    """Empty the cluster NAME: what runs there moves to other clusters, one instance after another.

    What fits nowhere else stays; `mangrove instance list --cluster NAME` shows what is left, and why.
    """
    client = root.connect()
    id = names.cluster(client, name).id
    client.cordon_cluster(id, cordoned=not undo, drain=not undo)
    click.echo(f"{name} is {'no longer ' if undo else ''}drained.", err=True)
    if wait and not undo:
        wait_until_empty(client, name, timeout, cluster=id)
        click.echo(f"{name} is empty.", err=True)


@cluster.command()
@click.argument("name", shell_complete=complete.cluster)
@confirm_option
@root_options
def remove(root: RootOptions, name: str, yes: bool) -> None:
    """Remove the cluster NAME for good: it may speak no more, and what it ran goes to other clusters."""
    client = root.connect()
    found = names.cluster(client, name)
    confirm(yes, f"Remove the cluster {found.name} with its {found.nodes} nodes?")
    client.remove_cluster(found.id)
    click.echo(f"{name} was removed. If it still runs, its instances do too: stop it there.", err=True)


@cluster.command()
@ttl_option
@uses_option
@click.option("--revoke", metavar="ID", help="Let the token with this id join nobody any more, and make none.")
@root_options
def token(root: RootOptions, ttl: float, uses: int, revoke: str | None) -> None:
    """Print a new token by which a cluster can join the root."""
    client = root.connect()
    if revoke is not None:
        client.revoke_cluster_token(revoke)
        click.echo("revoked", err=True)
        return
    made = client.cluster_token(ttl=ttl, uses=uses)
    click.echo(made.token)
    click.echo(
        f"Its id is {made.id}. On the new cluster's machine: "
        "MANGROVE_TOKEN=<this token> mangrove cluster run --root <the root's address>",
        err=True,
    )


@cluster.command(context_settings={"ignore_unknown_options": True})
@click.option("--root", "address", default="", metavar="ADDRESS", help="The root to join: host or host:port.")
@click.option("--token", default="", envvar="MANGROVE_TOKEN", help="Made on the root by `mangrove cluster token`.")
@click.option("--name", default=None, help="What to call this cluster (its host name).")
@_DATA
@click.option("--no-start", is_flag=True, help="Install and join, and leave the start to the next boot or to you.")
@wish_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def install(
    wish: Wish, address: str, token: str, name: str | None, data_dir: Path, no_start: bool, arguments: tuple[str, ...]
) -> None:
    """Let systemd run the cluster here, as a user of its own; ARGUMENTS are options of `mangrove cluster run`."""
    from cluster_orchestrator import main as program
    from cluster_orchestrator.joining import identity_in, join_root
    from mangrove.cli import service

    program.parser().parse_args(arguments)
    data_dir = data_dir.absolute()
    data = wish.machine.path(data_dir)
    if identity_in(data) is None and not (address and token):
        raise InvalidInput(
            "--token" if address else "--root",
            "this cluster has not joined a root yet: give its address and a token (`mangrove cluster token`)",
        )
    joining = Step(
        f"join the root at {address}" if address else "join the root",
        lambda: join_root(data, address, token, name or socket.gethostname()),
        lambda: identity_in(data) is not None,
    )
    service.install_parent(
        wish, "cluster", ["--data-dir", str(data_dir), *arguments], data_dir, [joining], start=not no_start
    )


@cluster.command()
@_DATA
@click.option("--keep", is_flag=True, help="Leave its data, so that another install goes on with it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@wish_options
def uninstall(wish: Wish, data_dir: Path, keep: bool, yes: bool) -> None:
    """Take the cluster off this machine, with all its data: every node loses it for good."""
    from mangrove.cli import service

    service.uninstall_parent(wish, "cluster", data_dir.absolute(), keep=keep, yes=yes)
    if not (keep or wish.dry_run):
        click.echo("The root still lists it: `mangrove cluster remove NAME` takes it off there.")
