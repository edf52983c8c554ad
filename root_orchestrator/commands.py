"""`mangrove root …`: what belongs to the root. Loaded by the command line only."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from mangrove.base.files import private_folder, write_atomically
from mangrove.cli.backups import backup_command, restore_command
from mangrove.cli.service import Step, Wish, wish_options

_DATA = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default="/var/lib/mangrove/root",
    show_default=True,
    help="Its folder.",
)


@click.group()
def root() -> None:
    """Run a root orchestrator."""


root.add_command(backup_command("root", "root.db", _DATA))
root.add_command(restore_command("root", "root.db", _DATA))


@root.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the root in the foreground (the same as mangrove-root; --help says more)."""
    from mangrove.roles.program import guarded  # what the other commands of this group can do without
    from root_orchestrator import main as program

    raise SystemExit(guarded("root", program.run, arguments))


@root.command(context_settings={"ignore_unknown_options": True})
@_DATA
@click.option("--no-start", is_flag=True, help="Install, and leave the start to the next boot or to you.")
@wish_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def install(wish: Wish, data_dir: Path, no_start: bool, arguments: tuple[str, ...]) -> None:
    """Let systemd run the root here, as a user of its own; ARGUMENTS are options of `mangrove root run`."""
    from mangrove.cli import service
    from root_orchestrator import main as program

    data_dir = data_dir.absolute()
    password = data_dir / "admin.password"
    given = program.parser().parse_args(arguments)
    options = ["--data-dir", str(data_dir), *arguments]
    before = []
    if given.admin_password_file is None:
        options += ["--admin-password-file", str(password)]
        before.append(_password(wish.machine.path(password)))
    service.install_parent(wish, "root", options, data_dir, before, start=not no_start)
    if not wish.dry_run and given.admin_password_file is None:
        click.echo(f"The password of the user Admin is in {wish.machine.path(password)}")


@root.command()
@_DATA
@click.option("--keep", is_flag=True, help="Leave its data, so that another install goes on with it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@wish_options
def uninstall(wish: Wish, data_dir: Path, keep: bool, yes: bool) -> None:
    """Take the root off this machine, with all its data: every cluster loses it for good."""
    from mangrove.cli import service

    service.uninstall_parent(wish, "root", data_dir.absolute(), keep=keep, yes=yes)


def _password(path: Path) -> Step:
    """Making a password for Admin that is in no log."""

    def make() -> None:
        private_folder(path.parent)
        write_atomically(path, f"{secrets.token_urlsafe(18)}\n".encode())

    return Step(f"make a password for Admin in {path}", make, path.exists)
