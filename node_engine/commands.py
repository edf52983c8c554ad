"""`mangrove node …`: what a person does with the node engine on this machine. Loaded by the command line only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from mangrove.base.errors import InvalidInput, MangroveError
from mangrove.base.log import set_up_logging
from mangrove.cli import complete
from mangrove.cli.at_cluster import connect, or_cluster_here
from mangrove.cli.nouns import rows
from mangrove.cli.options import RootOptions, root_options, ttl_option, uses_option
from mangrove.cli.output import Format, confirm, confirm_option, output_option, print_json, print_list, print_table
from mangrove.cli.waiting import timeout_option, wait_option, wait_until_empty
from mangrove.client import names
from mangrove.client.documents import Node
from mangrove.client.root import RootClient
from mangrove.model.child import Capacity
from node_engine import main as program
from node_engine.installing import install, uninstall
from node_engine.joining import join_cluster, membership_in
from node_engine.removing import leave_for_good, remove_all
from node_engine.state import StateFolder
from node_engine.status import STALE_AFTER, read_status

_DATA = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=program.DATA, show_default=True, help="The engine's folder."
)


@click.group()
def node() -> None:
    """List nodes; join, run and look at the one on this machine."""


node.add_command(install)
node.add_command(uninstall)


@node.command()
@click.argument("cluster")
@click.option("--token", required=True, envvar="MANGROVE_TOKEN", help="Made on the cluster by `mangrove node token`.")
@click.option("--name", default=None, help="What to call this node (its host name).")
@_DATA
def join(cluster: str, token: str, name: str | None, data_dir: Path) -> None:
    """Make this machine a node of the cluster at CLUSTER (host or host:port)."""
    state = StateFolder(data_dir)
    try:
        known = membership_in(state)
        if known is not None and known.reply is not None:
            raise click.ClickException(
                f"this node has already joined {known.reply.parent_name} as {known.reply.name}: "
                "`mangrove node leave` first"
            )
        reply = join_cluster(state, cluster, token, name or program.parser().parse_args([]).name)
    except MangroveError as error:
        raise click.ClickException(error.message) from None
    finally:
        state.close()
    click.echo(f"{reply.name} has joined {reply.parent_name}. Start it with: mangrove node run --data-dir {data_dir}")


@node.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the engine in the foreground (the same as mangrove-node)."""
    raise SystemExit(program.run_guarded(arguments))


@node.command()
@_DATA
def status(data_dir: Path) -> None:
    """Show what the engine here does."""
    shown = read_status(data_dir)
    if shown is None:
        raise click.ClickException(f"no engine has run with {data_dir}: `mangrove node join`, then `mangrove node run`")
    age = time.time() - shown.written
    if age > STALE_AFTER:
        click.echo(f"The engine does not run, or is stuck: its last word is {age:.0f} s old.")
    click.echo(f"node {shown.name} ({shown.node}) of {shown.cluster}: link {shown.link}")
    for problem in (shown.refused, shown.trouble):
        if problem:
            click.echo(f"  {problem}")
    own = shown.usage.get("")
    room = shown.capacity.allocatable
    if own is not None:
        click.echo(
            f"  CPU {own.cpu:.0f} % of {room.cpu // 1000} cores, "
            f"memory {own.memory_percent:.0f} % of {room.memory} MiB, "
            f"load {own.load:.2f}; runtimes: {_runtimes(shown.capacity)}"
        )
    for attempt in shown.attempts:
        used = shown.usage.get(attempt.attempt)
        figures = f", CPU {used.cpu:.1f} %, {used.memory // 2**20} MiB" if used is not None else ""
        click.echo(f"  {attempt.attempt}  {attempt.phase}{figures}  {attempt.reason}".rstrip())
    if age > STALE_AFTER:
        raise SystemExit(1)  # so that it serves as a health check


def _runtimes(capacity: Capacity) -> str:
    """Such as `docker (Podman 4.3.1), process`."""
    engines = capacity.engines
    return ", ".join(f"{name} ({engines[name]})" if name in engines else name for name in capacity.runtimes) or "none"


@node.command()
@click.option("--cluster", metavar="NAME", help="The cluster to join; needed when the root has several.")
@or_cluster_here
@ttl_option
@uses_option
@click.option("--revoke", metavar="ID", help="With --data-dir: let the token with this id join nobody any more.")
@root_options
def token(
    root: RootOptions,
    cluster: str | None,
    data_dir: Path | None,
    address: str,
    ttl: float,
    uses: int,
    revoke: str | None,
) -> None:
    """Print a new token by which a node can join a cluster."""
    if data_dir is not None:
        local = connect(data_dir, address)
        if revoke is not None:
            local.revoke_node_token(revoke)
            click.echo("revoked", err=True)
            return
        made = local.node_token(ttl=ttl, uses=uses)
    elif revoke is not None:
        raise InvalidInput("--revoke", "name the data folder of the cluster too, with --data-dir on its machine")
    else:
        client = root.connect()
        made = client.node_token(_cluster_named(client, cluster), ttl=ttl, uses=uses)
    click.echo(made.token)
    click.echo(
        f"Its id is {made.id}. On the new node's machine: "
        "MANGROVE_TOKEN=<this token> mangrove node join <the cluster's address>",
        err=True,
    )


@node.command("list")
@click.option("--cluster", metavar="NAME", help="Of this cluster alone.")
@output_option
@root_options
def list_nodes(root: RootOptions, cluster: str | None, output: Format) -> None:
    """List the nodes of all clusters."""
    client = root.connect()
    filters = {"cluster": names.cluster(client, cluster).id} if cluster else {}

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import nodes_table

        return nodes_table(client.read(list[Node], found))

    empty = "No node has joined yet: `mangrove node token` makes a token for one."
    print_list(output, client.documents("nodes", **filters), shown, empty)


@node.command()
@click.argument("name", shell_complete=complete.node)
@output_option
@root_options
def show(root: RootOptions, name: str, output: Format) -> None:
    """Show the node NAME and what runs on it."""
    client = root.connect()
    found = names.node(client, name)
    if output == "json":
        print_json(client.document("nodes", found.id))
        return
    from mangrove.cli.tables import instances_table, nodes_table

    print_table(nodes_table([found]))
    there = rows(client, list(client.instances(node=found.id)))
    if there:
        click.echo()
        print_table(instances_table(there))


@node.command()
@click.argument("name", shell_complete=complete.node)
@click.option("--undo", is_flag=True, help="Give it new work again.")
@root_options
def cordon(root: RootOptions, name: str, undo: bool) -> None:
    """Give the node NAME no new work; what runs there stays."""
    client = root.connect()
    found = names.node(client, name)
    client.cordon_node(found.cluster.id, found.id, cordoned=not undo)
    click.echo(f"{name} is {'no longer ' if undo else ''}cordoned.", err=True)


@node.command()
@click.argument("name", shell_complete=complete.node)
@click.option("--undo", is_flag=True, help="Let it be, and give it new work again.")
@wait_option
@timeout_option
@root_options
def drain(root: RootOptions, name: str, undo: bool, wait: bool, timeout: float) -> None:
    """Empty the node NAME: what runs there moves to other nodes of its cluster, one instance after another.

    What fits nowhere else stays; `mangrove instance list --node NAME` shows what is left, and why.
    """
    client = root.connect()
    found = names.node(client, name)
    client.cordon_node(found.cluster.id, found.id, cordoned=not undo, drain=not undo)
    click.echo(f"{name} is {'no longer ' if undo else ''}drained.", err=True)
    if wait and not undo:
        wait_until_empty(client, name, timeout, cluster=found.cluster.id, node=found.id)
        click.echo(f"{name} is empty.", err=True)


@node.command()
@click.argument("name", shell_complete=complete.node)
@confirm_option
@root_options
def remove(root: RootOptions, name: str, yes: bool) -> None:
    """Remove the node NAME for good, such as a dead one: it may speak no more, and its name is free again."""
    client = root.connect()
    gone = names.node(client, name)
    confirm(yes, f"Remove the node {gone.name} of {gone.cluster.name}?")
    client.remove_node(gone.cluster.id, gone.id)
    click.echo(
        f"{name} was removed. If it still runs, so do its instances: `mangrove node leave --force` there ends them.",
        err=True,
    )


def _cluster_named(client: RootClient, name: str | None) -> str:
    """The id of the cluster of that name, or of the only one. Raises NotFound, InvalidInput."""
    if name is not None:
        return names.cluster(client, name).id
    ids = {cluster.name: cluster.id for cluster in client.clusters()}
    if len(ids) == 1:
        return next(iter(ids.values()))
    known = ", ".join(sorted(ids)) or "none has joined"
    raise InvalidInput("--cluster", f"name the cluster that the node shall join ({known})")


@node.command()
@_DATA
@click.option("--grace", type=click.FloatRange(0, 3600), default=10.0, show_default=True, help="Seconds to end in.")
def halt(data_dir: Path, grace: float) -> None:
    """End all that runs here, as if this machine went down; it starts again with the engine. Stop the engine first."""
    set_up_logging("node", "WARNING")
    ended, problems = 0, list[str]()
    state = StateFolder(data_dir)
    try:
        known = membership_in(state)
        if known is not None and known.reply is not None:
            records = state.load_records()
            # What they ran in is over, so the engine takes their end for that of the machine, not for a failure.
            state.save_records(msgspec.structs.replace(each, boot=each.boot and "over") for each in records)
            ended, problems = remove_all(data_dir, state.installation, known.reply.child, grace, records)
    finally:
        state.close()
    if problems:
        raise click.ClickException("; ".join(problems))
    click.echo(f"{ended} instances were ended.")


@node.command()
@_DATA
@click.option("--force", is_flag=True, help="Forget the cluster even if it cannot be told.")
def leave(data_dir: Path, force: bool) -> None:
    """Leave the cluster for good; everything that runs here for it is removed. Stop the engine first."""
    set_up_logging("node", "WARNING")
    state = StateFolder(data_dir)
    try:
        known = membership_in(state)
        if known is None or known.reply is None:
            raise click.ClickException("this node has not joined a cluster")
        try:
            name, removed, problems = leave_for_good(state, force=force)
        except MangroveError as error:
            raise click.ClickException(f"{error.message} (--force leaves all the same)") from None
        for problem in problems:
            click.echo(problem, err=True)
    except MangroveError as error:
        raise click.ClickException(error.message) from None
    finally:
        state.close()
    click.echo(f"This node has left {name}; {removed} instances were removed.")
