"""`mangrove node …`: what a person does with the node engine on this machine. Loaded by the command line only."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mangrove.base.errors import MangroveError
from mangrove.base.log import set_up_logging
from node_engine import main as program
from node_engine.joining import join_cluster, leave_cluster, membership_in
from node_engine.runtimes.choose import choose_runtimes
from node_engine.runtimes.interface import RuntimeFault
from node_engine.state import StateFolder
from node_engine.status import STALE_AFTER, read_status

_DATA = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=program.DATA, show_default=True, help="The engine's folder."
)


@click.group()
def node() -> None:
    """Join, run and look at the node engine on this machine."""


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
        reply = join_cluster(state, cluster, token, name or program.parse([]).name)
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
            f"load {own.load:.2f}; runtimes: {', '.join(shown.capacity.runtimes) or 'none'}"
        )
    for attempt in shown.attempts:
        used = shown.usage.get(attempt.attempt)
        figures = f", CPU {used.cpu:.1f} %, {used.memory // 2**20} MiB" if used is not None else ""
        click.echo(f"  {attempt.attempt}  {attempt.phase}{figures}  {attempt.reason}".rstrip())


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
            name = leave_cluster(state)
        except MangroveError as error:
            if not force:
                raise click.ClickException(f"{error.message} (--force leaves all the same)") from None
            name = known.reply.parent_name
            state.save_identity(None)
            state.save_assignment(None)
        removed = _remove_all(data_dir, state.installation, known.reply.child)
        state.save_records([])
    except MangroveError as error:
        raise click.ClickException(error.message) from None
    finally:
        state.close()
    click.echo(f"This node has left {name}; {removed} instances were removed.")


def _remove_all(data_dir: Path, installation: str, node_id: str) -> int:
    removed = 0
    for runtime in choose_runtimes("", data_dir / "instances", installation, node_id).values():
        try:
            for instance in runtime.list():
                runtime.stop(instance.attempt, 10.0)
                runtime.remove(instance.attempt)
                removed += 1
        except RuntimeFault as fault:
            click.echo(f"not removed: {fault.message}", err=True)
        finally:
            runtime.close()
    return removed
