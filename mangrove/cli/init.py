"""`mangrove init`: a first SLA to begin with."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mangrove.base.errors import Conflict, InvalidInput
from mangrove.cli.sla_files import template


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="sla.yaml")
@click.option("--name", default="hello", show_default=True, metavar="NAME", help="Of the application.")
@click.option(
    "--runtime", type=click.Choice(["process", "container"]), default="process", show_default=True, help="What it runs."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def init(file: str, name: str, runtime: str, force: bool) -> None:
    """Write a commented SLA to begin with.

    FILE is `sla.yaml` unless named otherwise; `-` is standard output. It can be deployed as it is.
    """
    if re.fullmatch(r"[a-zA-Z0-9]{1,30}", name) is None:
        raise InvalidInput("--name", f"must be 1 to 30 letters and digits, not {name!r}")
    text = template(name, runtime)
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        with Path(file).open("w" if force else "x") as opened:
            opened.write(text)
    except FileExistsError:
        raise Conflict(f"{file} is there already: --force replaces it, or name another file") from None
    click.echo(f"Wrote {file}: `mangrove deploy {file}` runs it.", err=True)
