"""The page about what the three programs can be told, made from their own parsers."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator

import cluster_orchestrator.main
import node_engine.main
import root_orchestrator.main
from docs.reference.tables import table

_HOST = "this machine's name"

_BEGIN = """# Configuration

All that a program can be told. Each is started by `mangrove root run`, `mangrove cluster run` and `mangrove node run`,
or directly by the name below; both take the same options. Whatever else a program has to remember (its identity, its
keys, its ports) is in its data folder, and is made there at the first start.
"""


def page() -> str:
    """The page in Markdown."""
    parsers = (root_orchestrator.main.parser(), cluster_orchestrator.main.parser(), node_engine.main.parser())
    return "\n".join([_BEGIN, *(_section(parser) for parser in parsers)])


def _section(parser: argparse.ArgumentParser) -> str:
    rows = list(_rows(parser))
    return f"## `{parser.prog}`\n\n{parser.description}\n\n{table(('option', 'what it does'), rows)}"


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:  # argparse has no public way to list them
        if action.dest == "help":
            continue
        default = _HOST if action.default == socket.gethostname() else action.default
        said = (action.help or "") % {**vars(action), "default": default}
        yield f"`{', '.join(action.option_strings)}{_value(action)}`", said


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return " " + (str(action.metavar) if action.metavar else "|".join(action.choices or [action.dest.upper()]))
