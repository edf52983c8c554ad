"""`mangrove demo`: all of Mangrove on one machine in half a minute, with an application, and with a node that dies."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mangrove.base.errors import MangroveError
from mangrove.cli import setups
from mangrove.cli.example import Example, RuntimeName, choose
from mangrove.cli.one_machine import Ended, OneMachine
from mangrove.cli.setups import Setup
from mangrove.cli.story import Story
from mangrove.cli.tables import console, plain

#: What ends a demonstration early, and must leave nothing behind: Ctrl-C, `kill`, a terminal that is closed.
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_CLUSTERS, _NODES = 2, 2


@click.command()
@click.option(
    "--runtime", type=click.Choice(["process", "docker"]), help="How the example runs. (docker if it is there)"
)
@click.option(
    "--lease", type=click.FloatRange(2, 300), default=6.0, show_default=True, help="Seconds of silence allowed."
)
def demo(runtime: RuntimeName | None, lease: float) -> None:
    """Show it all on this machine, with a node that dies.

    Deploys an example, uses it, kills a node, and shows how its services come back. Everything is in a temporary
    folder, and gone at the end.
    """
    shown = console()
    with _on_signals(signal.default_int_handler):
        try:
            example = choose(runtime)
            with _machine(example, lease) as machine:
                try:
                    Story(shown, machine, example).run()
                except Exception as error:  # whatever it is: it is explained, and nothing stays behind
                    _explain(shown, machine, error)
                    raise SystemExit(1) from None
        except KeyboardInterrupt:
            shown.print("Interrupted; everything is stopped.")
            raise SystemExit(130) from None
    shown.print("Everything is stopped, and nothing of it is left. `mangrove up` keeps such a set-up running.")


@contextlib.contextmanager
def _machine(example: Example, lease: float) -> Iterator[OneMachine]:
    """A new set-up of which nothing is left at the end, unless something cannot be stopped. Raises MangroveError."""
    folder = Path(tempfile.mkdtemp(prefix="mangrove-demo-"))
    machine = None
    try:
        machine = OneMachine(folder, _setup(folder, example, lease))
        yield machine
    finally:
        with _on_signals(signal.SIG_IGN):
            if machine is not None:
                machine.down()
            shutil.rmtree(folder)


def _setup(folder: Path, example: Example, lease: float) -> Setup:
    """On ports that are free, and not the usual ones: another demonstration may begin at this very moment."""
    return setups.create(folder, port=0, clusters=_CLUSTERS, nodes=_NODES, runtimes=example.runtime, lease=lease)


def _explain(shown: Console, machine: OneMachine, error: Exception) -> None:
    """Say what went wrong, and what the programs said last."""
    for name, text in machine.ends_of_logs():
        shown.rule(f"end of the log of {name}", align="left")
        shown.print(plain(text))
    shown.rule()
    problem = str(error) if isinstance(error, MangroveError | OSError) else f"{type(error).__name__}: {error}"
    try:
        machine.check()
    except Ended as ended:  # then that is the reason, whatever it led to
        problem = ended.problem
    shown.print(f"[red]The demonstration failed:[/] {plain(problem)}")


@contextlib.contextmanager
def _on_signals(handler: Any) -> Iterator[None]:
    """What is ignored stays so: a shell's background jobs do not end by Ctrl-C, nor do those of nohup."""
    heeded = [number for number in _ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
