"""The command `mangrove`. All its commands, its own too, are entry points of one group, loaded when they are used."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import click

from mangrove import __version__
from mangrove.base.errors import MangroveError

#: What belongs to a program comes with that program.
GROUP = "mangrove.commands"

#: Commands that are extras of the package too.
_EXTRAS = ("root", "cluster", "node")


class Commands(click.Group):
    """Finds commands among the entry points, and turns what can go wrong into a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({found.name for found in entry_points(group=GROUP)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = next(iter(entry_points(group=GROUP, name=cmd_name)), None)
        if found is None:
            return None
        try:
            loaded = found.load()
        except Exception as error:  # whatever an installation has broken, the other commands go on
            return _broken(cmd_name, _problem(cmd_name, error))
        if not isinstance(loaded, click.Command):
            return _broken(cmd_name, f"{found.value} is no command")
        return loaded

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MangroveError as error:
            raise click.ClickException(error.message) from None
        except ModuleNotFoundError as error:
            raise click.ClickException(_problem(ctx.invoked_subcommand or "", error)) from None
        except OSError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mangrove")
def main() -> None:
    """Orchestrate services on the edge: `mangrove demo` shows it, `mangrove up` sets it up on this machine."""


def _broken(name: str, problem: str) -> click.Command:
    """Stands for a command that cannot be loaded."""

    @click.command(name, help=f"(Not available: {problem})", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def broken(arguments: tuple[str, ...]) -> None:
        raise click.ClickException(problem)

    return broken


def _problem(command: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = command if command in _EXTRAS else "all"
        return f"{command} needs {error.name}, which is not installed: pip install 'mangrove[{extra}]'"
    return f"{command} cannot be loaded ({type(error).__name__}: {error}): install Mangrove anew"


if __name__ == "__main__":
    main()
