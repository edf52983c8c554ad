"""The command `mangrove`: finds its commands, loads the one that is used, and lets every failure be a sentence."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from mangrove import __version__
from mangrove.base.errors import MangroveError
from mangrove.cli.catalog import COMMANDS, EXTRAS, GROUP, OF_CLI, OTHERS
from mangrove.cli.failures import Code, Failure, failure_of, fault

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Commands(click.Group):
    """Finds commands in the table and among the entry points, and turns what can go wrong into a sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted({found.name for found in _entry_points()} - COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _target(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        try:
            loaded = getattr(import_module(module), attribute)
        except Exception as error:  # whatever an installation has broken, the other commands go on
            return _broken(cmd_name, _problem(cmd_name, error))
        return loaded if isinstance(loaded, click.Command) else _broken(cmd_name, f"{target} is no command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them in sections. Only what is not in the table has to be loaded for its help."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            entry = COMMANDS.get(name)
            if entry is not None:
                sections.setdefault(entry.section, []).append((name, entry.help))
            elif (command := self.get_command(ctx, name)) is not None and not command.hidden:
                sections.setdefault(OTHERS, []).append((name, command.get_short_help_str(90)))
        width = max(len(name) for rows in sections.values() for name, _ in rows)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", help) for name, help in rows])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except MangroveError as error:
            raise failure_of(error) from None
        except ModuleNotFoundError as error:
            raise Failure(_problem(ctx.invoked_subcommand or "", error)) from None
        except OSError as error:
            raise Failure(str(error)) from None
        except KeyboardInterrupt:
            click.echo(err=True)  # so that the shell's prompt begins on a line of its own
            raise click.exceptions.Exit(Code.INTERRUPTED) from None
        except Exception as error:
            raise fault(error) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mangrove")
def main() -> None:
    """Orchestrate services on the edge: `mangrove demo` shows it, `mangrove up` sets it up on this machine.

    Commands end with 0 when all is well; 1 failed, 2 wrong usage or input, 3 not found, 4 refused, 5 unavailable (no
    root answers), 6 timed out, 7 different (diff --exit-code), 130 interrupted.
    """


def _target(name: str) -> str | None:
    if name in COMMANDS and COMMANDS[name].target:
        return COMMANDS[name].target
    return next((found.value for found in _entry_points() if found.name == name), None)


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # costs as much as all else; most commands are in the table

    return list(entry_points(group=GROUP))


def _broken(name: str, problem: str) -> click.Command:
    """Stands for a command that cannot be loaded."""

    @click.command(name, help=f"(Not available: {problem})", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def broken(arguments: tuple[str, ...]) -> None:
        raise Failure(problem)

    return broken


def _problem(command: str, error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name.partition(".")[0]
        extra = "cli" if missing in OF_CLI else command if command in EXTRAS else "all"
        return f"{command} needs {missing}, which is not installed: pip install 'mangrove[{extra}]'"
    return f"{command} cannot be loaded ({type(error).__name__}: {error}): install Mangrove anew"


if __name__ == "__main__":
    main()
