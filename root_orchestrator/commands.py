"""`mangrove root …`: what belongs to the root. Loaded by the command line only."""

from __future__ import annotations

import click


@click.group()
def root() -> None:
    """Run a root orchestrator."""


@root.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the root in the foreground (the same as mangrove-root; --help says more)."""
    from mangrove.roles.program import guarded  # what the other commands of this group can do without
    from root_orchestrator import main as program

    raise SystemExit(guarded("root", program.run, arguments))
