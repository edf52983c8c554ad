"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table

#: How a command prints what it has found.
Format = Literal["table", "json"]

#: JSON is what the API answers: a list as one list, one thing as one object, what goes on as one object a line.
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or the API's own documents for programs.",
)


def print_json(document: Any) -> None:
    """A document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def print_json_line(document: Any) -> None:
    """A document as one line, at once."""
    click.echo(msgspec.json.encode(document).decode())


def print_list(output: Format, documents: Iterable[Any], table: Callable[[list[Any]], Table], empty: str) -> None:
    """A list as JSON, or as a table. empty: said on standard error where there is nothing for a table."""
    found = list(documents)
    if output == "json":
        print_json(found)
    elif found:
        print_table(table(found))
    else:
        click.echo(empty, err=True)


def print_table(table: Table) -> None:
    from mangrove.cli.tables import table_console

    table_console().print(table)


#: For what cannot be undone.
confirm_option = click.option("-y", "--yes", is_flag=True, help="Do not ask whether it is meant.")


def confirm(yes: bool, question: str) -> None:
    """Ask at a terminal whether it is meant; who types no ends the command. A script that asks means it."""
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)
