"""`mangrove top`: the whole tree, from the root to what runs on each node, as it is now."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import click

from mangrove.base.errors import Unavailable
from mangrove.cli.nouns import rows
from mangrove.cli.options import RootOptions, root_options
from mangrove.client.root import RootClient

if TYPE_CHECKING:
    from rich.tree import Tree

    from mangrove.cli.tables import Row


@click.command()
@click.option("--once", is_flag=True, help="Show it once and end, as without a terminal.")
@click.option(
    "--interval", type=click.FloatRange(0.5, 3600), default=2.0, show_default=True, help="Seconds between two looks."
)
@root_options
def top(root: RootOptions, once: bool, interval: float) -> None:
    """Watch the tree: clusters, their nodes, and what runs there.

    Ctrl-C ends it.
    """
    from mangrove.cli.tables import console

    client = root.connect()
    if once or not sys.stdout.isatty():
        console().print(tree_of(client), soft_wrap=True)
        return
    from rich.live import Live

    shown = tree_of(client)
    with Live(shown, console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(shown, refresh=True)
            time.sleep(interval)
            try:
                shown = tree_of(client)
            except Unavailable as error:  # it stays as it was, with the reason
                shown.label = f"[red]{error.message}[/]"


def tree_of(client: RootClient) -> Tree:
    """All that there is, as it is now. Raises what RootClient raises."""
    from rich.tree import Tree

    from mangrove.cli.tables import age, coloured, plain, used_of

    clusters = sorted(client.clusters(), key=lambda each: (each.name, each.id))
    nodes = sorted(client.nodes(), key=lambda each: (each.name, each.id))
    placed, waiting = _by_place(rows(client, list(client.instances())))
    running = sum(row.runs for those in placed.values() for row in those)
    live = sum(each.state == "live" for each in nodes)
    counted = (
        f"{len(clusters)} cluster{_s(len(clusters))}, {live} of {len(nodes)} node{_s(len(nodes))} live, "
        f"{running} instance{_s(running)} run{'s' if running == 1 else ''}"
    )
    tree = Tree(f"[bold]{client.address}[/]  {counted}")
    for cluster in clusters:
        state = "" if cluster.state == "live" else f"  [yellow]{cluster.state}, heard {age(cluster.age)} ago[/]"
        branch = tree.add(f"[bold]{plain(cluster.name)}[/]{state}")
        for row in placed.pop(cluster.id, []):
            branch.add(_leaf(row))
        for node in (each for each in nodes if each.cluster.id == cluster.id):
            cpu, memory = used_of(node)
            silent = "" if node.state == "live" else f"  [yellow]{node.state}[/]"
            twig = branch.add(f"{plain(node.name)}  [dim]CPU {cpu}, memory {memory}[/]{silent}")
            for row in placed.pop(node.id, []):
                twig.add(_leaf(row))
    for row in (row for those in placed.values() for row in those):
        waiting.append(row)
    if waiting:
        branch = tree.add("[yellow]nowhere[/]")
        for row in waiting:
            branch.add(f"{plain(row.full_name)}  {coloured(row.instance.phase)}  {plain(row.instance.reason)}")
    return tree


def _s(count: int) -> str:
    """The end of a noun."""
    return "" if count == 1 else "s"


def _by_place(found: list[Row]) -> tuple[dict[str, list[Row]], list[Row]]:
    """Instances by the id of their node, or of their cluster while they have no node; and those that have neither."""
    placed: dict[str, list[Row]] = defaultdict(list)
    waiting = []
    for row in sorted(found, key=lambda row: row.full_name):
        place = row.instance.node or row.instance.cluster
        if place is None:
            waiting.append(row)
        else:
            placed[place.id].append(row)
    return placed, waiting


def _leaf(row: Row) -> str:
    from mangrove.cli.tables import coloured, plain

    used = row.instance.usage
    figures = f"  [dim]CPU {used.cpu:.0f} %, {used.memory / 2**20:.0f} MiB[/]" if used is not None else ""
    reason = f"  {plain(row.instance.reason)}" if row.instance.reason else ""
    return f"{plain(row.full_name)}  {coloured(row.instance.phase)}{figures}{reason}"
