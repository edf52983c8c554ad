"""Waiting for services at the command line: bars at a terminal, else a line for each change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import click

from mangrove.cli.options import Duration
from mangrove.client.root import RootClient
from mangrove.client.wait import Progress, TimedOut, wait_until

#: Different reasons for which something stays that are shown at once.
_REASONS = 3

wait_option = click.option("--wait", is_flag=True, help="Wait until it is done, and show how far it is.")
timeout_option = click.option(
    "--timeout", type=Duration(), default="5m", show_default=True, help="How long to wait, as 90s, 30m or 1h."
)


def wait_for(client: RootClient, services: Mapping[str, str], condition: str, timeout: float) -> None:
    """Wait until services are as wanted. services: ids by name. Raises what RootClient.wait raises."""
    names = {id: name for name, id in services.items()}
    with _bars(names) if sys.stderr.isatty() else _lines(names, condition) as show:
        client.wait(*names, condition=condition, timeout=timeout, progress=show)


def wait_until_empty(client: RootClient, name: str, timeout: float, *, cluster: str, node: str = "") -> None:
    """Wait until nothing is left on a node, or on a cluster, that is drained, and say each time that something has
    left. cluster, node: ids. Raises TimedOut, saying what is left and why."""
    said = ""

    def empty() -> bool:
        nonlocal said
        there = list(client.instances(node=node) if node else client.instances(cluster=cluster))
        nodes = [client.node(node)] if node else list(client.nodes(cluster=cluster))
        ending = max(0, sum(each.instances for each in nodes) - len(there))
        reasons = sorted({each.reason for each in there if each.reason})
        left = f"{len(there)} left" + (f", {ending} ending" if ending else "")
        text = f"{left} ({'; '.join(reasons[:_REASONS])})" if reasons else left
        if text != said:
            said = text
            click.echo(f"{name}: {text}", err=True)
        return not there and not ending

    try:
        wait_until(empty, timeout, what=f"{name} to be empty")
    except TimedOut as error:
        raise TimedOut(f"{error.message}: {said}") from None


@contextmanager
def _bars(names: Mapping[str, str]) -> Iterator[Callable[[str, Progress], None]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {id: bars.add_task(escape(name), total=None, doing="") for id, name in names.items()}
        pulls: dict[str, TaskID] = {}  # by image; a bar for each that was once on its way

        def show(id: str, now: Progress) -> None:
            doing = now.doing
            for pull in now.pulls:
                doing = doing.removesuffix(f", {pull}")  # a bar shows it
                if pull.image not in pulls:
                    pulls[pull.image] = bars.add_task(f"  {escape(pull.image)}", total=None, doing="MiB pulled")
                bars.update(pulls[pull.image], completed=pull.done, total=pull.total or None)
            bars.update(tasks[id], completed=now.done, total=now.total or None, doing=escape(doing))

        yield show


@contextmanager
def _lines(names: Mapping[str, str], condition: str) -> Iterator[Callable[[str, Progress], None]]:
    said: dict[str, Progress] = {}

    def show(id: str, now: Progress) -> None:
        if said.get(id) != now:
            said[id] = now
            doing = f" ({now.doing})" if now.doing else ""
            click.echo(f"{names[id]}: {now.done} of {now.total} {condition}{doing}", err=True)

    yield show
