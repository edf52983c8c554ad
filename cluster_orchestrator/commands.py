"""`mangrove cluster …`: what belongs to clusters. Loaded by the command line only."""

from __future__ import annotations

import click

from mangrove.cli.options import RootOptions, root_options, ttl_option, uses_option


@click.group()
def cluster() -> None:
    """Run a cluster orchestrator, or let one join."""


@cluster.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the cluster in the foreground (the same as mangrove-cluster; --help says more)."""
    from cluster_orchestrator import main as program  # tokens can be made where no cluster can run
    from mangrove.roles.program import guarded

    raise SystemExit(guarded("cluster", program.run, arguments))


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
