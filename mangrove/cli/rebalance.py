"""`mangrove rebalance`."""

from __future__ import annotations

import click

from mangrove.cli import complete
from mangrove.cli.failures import printable
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, output_option, print_json
from mangrove.client import names


@click.command()
@click.option("--cluster", metavar="NAME", shell_complete=complete.cluster, help="Between the nodes of this one alone.")
@click.option("--dry-run", is_flag=True, help="Only say what would move.")
@output_option
@root_options
def rebalance(root: RootOptions, cluster: str | None, dry_run: bool, output: Format) -> None:
    """Move what runs to better places.

    Better is what the service prefers (`placement` in its SLA). A few instances move at a time; each runs at its new
    place before it goes from the old one. Run it again for the next ones, until nothing moves.
    """
    client = root.connect()
    told = client.rebalance(cluster=names.cluster(client, cluster).id if cluster else None, dry_run=dry_run)
    if output == "json":
        print_json(told)
        return
    for move in told["moves"]:
        within = f" in {move['cluster']}" if move["cluster"] else ""
        name, verb = f"{move['name']}.{move['number']}", "would move" if dry_run else "moves"
        click.echo(printable(f"{name} {verb} from {move['source']} to {move['target']}{within}"))
    if not told["moves"]:
        click.echo("Nothing would be better elsewhere.", err=True)
    for name, reason in told["unasked"].items():
        click.echo(printable(f"{name} was not asked: {reason}"), err=True)
