"""`mangrove cluster …`: what belongs to clusters. Loaded by the command line only."""

from __future__ import annotations

import click

from mangrove.cli.options import RootOptions, named, root_options, ttl_option, uses_option


@click.group()
def cluster() -> None:
    """List clusters, let one join, run one."""


@cluster.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the cluster in the foreground (the same as mangrove-cluster; --help says more)."""
    from cluster_orchestrator import main as program  # tokens can be made where no cluster can run
    from mangrove.roles.program import guarded

    raise SystemExit(guarded("cluster", program.run, arguments))


@cluster.command()
@click.argument("name")
@root_options
def remove(root: RootOptions, name: str) -> None:
    """Remove the cluster NAME for good: it may speak no more, and what it ran goes to other clusters."""
    client = root.connect()
    client.remove_cluster(named(client.clusters(), name, "cluster").id)
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
