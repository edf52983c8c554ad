"""`mangrove node install` and `uninstall`: this machine's node engine as a service of systemd."""

from __future__ import annotations

import grp
import os
import socket
import stat
from pathlib import Path

import click

from mangrove.base.errors import Conflict, InvalidInput, MangroveError
from mangrove.base.log import set_up_logging
from mangrove.cli import service
from mangrove.cli.service import Step, Wish
from mangrove.cli.units import Unit
from node_engine import main as program
from node_engine.joining import CLUSTER_PORT, cluster_of, join_cluster
from node_engine.removing import leave_for_good
from node_engine.runtimes.choose import KINDS
from node_engine.runtimes.docker_client import engine_address
from node_engine.state import StateFolder

_USER = "mangrove-node"
_DATA = click.option(
    "--data-dir", type=click.Path(path_type=Path), default=program.DATA, show_default=True, help="The engine's folder."
)
#: What should run before: the container engines, where they are installed.
_AFTER = ("docker.service", "podman.socket")


@click.command()
@click.argument("cluster", default="")
@click.option("--token", default="", envvar="MANGROVE_TOKEN", help="Made on the cluster by `mangrove node token`.")
@click.option("--name", default=None, help="What to call this node (its host name).")
@_DATA
@click.option("--runtimes", default="", help="Which to use, as `docker,process` (those that are there).")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="For placement; repeatable.")
@click.option("--address", default="", help="Its own address, for others (found out when left away).")
@click.option("--writable", multiple=True, metavar="FOLDER", help="What plain processes may write too; repeatable.")
@click.option("--no-start", is_flag=True, help="Install and join, and leave the start to the next boot or to you.")
@service.wish_options
def install(
    wish: Wish,
    cluster: str,
    token: str,
    name: str | None,
    data_dir: Path,
    runtimes: str,
    label: tuple[str, ...],
    address: str,
    writable: tuple[str, ...],
    no_start: bool,
) -> None:
    """Let systemd run the node engine here, and join the cluster at CLUSTER (host or host:port) if need be.

    With `--runtimes docker` it runs as a user of its own, which may use the Docker engine; to start plain processes
    with limits on their CPU and memory it runs as root, without most of root's rights. Doing it again with other
    options changes what is different; what runs here goes on.
    """
    data_dir = data_dir.absolute()
    options = _options(runtimes, label, address)
    command = ("--data-dir", str(data_dir), *options)
    program.parser().parse_args(command)
    unknown = set(filter(None, runtimes.split(","))) - set(KINDS)
    if unknown:
        raise InvalidInput("--runtimes", f"{', '.join(sorted(unknown))} is not one of {', '.join(KINDS)}")
    groups = _groups_of_the_engine() if runtimes == "docker" else None
    user = "" if groups is None else _USER
    full = (*service.program_of("node", user), *command)
    unit = Unit(
        "node",
        full,
        str(data_dir),
        user=user,
        groups=groups or (),
        guests=runtimes != "docker",
        devices=True,
        home=service.in_home(full),
        after=_AFTER,
        writable=tuple(str(Path(path).absolute()) for path in writable),
        environment={"DOCKER_HOST": os.environ["DOCKER_HOST"]} if os.environ.get("DOCKER_HOST") else {},
        systemd=wish.machine.systemd(),
    )
    data = wish.machine.path(data_dir)
    service.finish_install(wish, unit, [_joining(data, cluster, token, name)], start=not no_start)


@click.command()
@_DATA
@click.option("--keep", is_flag=True, help="Leave what runs here running, with its data and the membership.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@service.wish_options
def uninstall(wish: Wish, data_dir: Path, keep: bool, yes: bool) -> None:
    """Take the node engine off this machine: end what runs, leave the cluster, remove the service and all data."""
    data = wish.machine.path(data_dir.absolute())
    what = "service from this machine and leave what runs" if keep else "node from its cluster, with all that runs here"
    service.confirm(wish, yes, f"Remove this {what}")
    problems: list[str] = []
    leaving = Step(
        "end what runs here and leave the cluster", lambda: problems.extend(_leave(data)), lambda: not cluster_of(data)
    )
    wish.carry_out(
        service.uninstall_steps(wish.machine, "node", [] if keep else [leaving], None if keep else data, _USER)
    )
    for problem in problems:
        click.echo(problem, err=True)
    if wish.dry_run:
        return
    if keep:
        click.echo("What runs goes on, watched by nobody, until `mangrove node install` takes it up again.")
    else:
        click.echo(
            "Nothing else of it is left on this machine." if problems else "Nothing of it is left on this machine."
        )


def _options(runtimes: str, labels: tuple[str, ...], address: str) -> list[str]:
    """For the program, only those that differ from its own."""
    options = ["--runtimes", runtimes] if runtimes else []
    for label in labels:
        options += ["--label", label]
    return options + (["--address", address] if address else [])


def _groups_of_the_engine() -> tuple[str, ...] | None:
    """Groups that may use this machine's container engine; None where only root may."""
    path = engine_address().removeprefix("unix://")
    if not path.startswith("/") or not os.path.exists(path):
        return None
    status = os.stat(path)
    if status.st_gid == 0 or not status.st_mode & stat.S_IWGRP:
        return None
    return (grp.getgrgid(status.st_gid).gr_name,)


def _joining(data: Path, cluster: str, token: str, name: str | None) -> Step:
    """Joining the cluster, unless it is joined already. Raises Conflict when that is another one, InvalidInput."""
    if member := cluster_of(data):
        if cluster and _with_port(cluster) != _with_port(member):
            raise Conflict(
                f"this node has joined the cluster at {member}: `mangrove node leave --data-dir {data}` first"
            )
        return Step(f"join the cluster at {member}", lambda: None, lambda: True)
    if not cluster or not token:
        raise InvalidInput(
            "CLUSTER" if not cluster else "--token",
            "this node has not joined a cluster yet: give its address and a token, made there by `mangrove node token`",
        )

    def join() -> None:
        state = StateFolder(data)
        try:
            join_cluster(state, cluster, token, name or socket.gethostname())
        finally:
            state.close()

    return Step(f"join the cluster at {cluster}", join)


def _with_port(address: str) -> str:
    return address if ":" in address else f"{address}:{CLUSTER_PORT}"


def _leave(data: Path) -> list[str]:
    """One line for each thing that could not be done."""
    set_up_logging("node", "WARNING")
    state = StateFolder(data)
    try:
        return leave_for_good(state, force=True)[2]
    except (MangroveError, OSError) as error:
        return [f"not removed: {error}"]
    finally:
        state.close()
