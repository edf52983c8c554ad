"""`mangrove root backup` and `restore`, and the same of a cluster: on its machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mangrove.base.clock import SystemClock
from mangrove.base.errors import InvalidInput

if TYPE_CHECKING:
    from mangrove.store.interface import Store

_Option = Callable[[Any], Any]

#: Seconds for which what a restored store does not know is kept: whoever restores looks at it within a day.
ADOPT = 86_400.0
#: A month: what nobody has looked at by then, nobody will.
_LONGEST = 30 * 86_400.0

_store = click.option(
    "--store",
    envvar="MANGROVE_STORE",
    default="",
    metavar="URL",
    help="mongodb://HOST/DATABASE, where it keeps its state there.",
)


def backup_command(program: str, name: str, data: _Option) -> click.Command:
    """The command for a program whose store is `name` in its data folder. data: the option that says which folder."""

    @click.command(
        "backup",
        help=f"Copy the {program}'s store to the new FILE, while it runs or not.\n\n"
        "secrets/parent.key is not in it: back that up once, to another place. With MongoDB, use mongodump.",
    )
    @click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
    @data
    @_store
    def backup(file: Path, data_dir: Path, store: str) -> None:
        from mangrove.store.sqlite_backup import back_up

        if store:
            raise InvalidInput("--store", "this is a database of MongoDB: back it up by mongodump, with --oplog")
        back_up(data_dir / name, file)
        click.echo(f"{file} holds the {program}'s store as it was just now.", err=True)

    return backup


def restore_command(
    program: str, name: str, data: _Option, also: Callable[[Store], object] = lambda store: None
) -> click.Command:
    """The same for bringing it back. also: what else to do with the store."""

    @click.command(
        "restore",
        help=f"Go on with the {program}'s store as it is in FILE, a backup. Stop the {program} first.\n\n"
        "Without FILE: with the store as it is now, where another tool has brought it back. The store that is replaced "
        "is kept beside it. What runs and this store does not know is kept for a time, and listed by `mangrove "
        "adopted`.",
    )
    @click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
    @data
    @_store
    @click.option(
        "--adopt",
        type=click.FloatRange(0, _LONGEST),
        default=ADOPT,
        show_default="a day",
        metavar="SECONDS",
        help=f"For how long from the {program}'s next start on; what was not kept by then is stopped.",
    )
    def restore(file: Path | None, data_dir: Path, store: str, adopt: float) -> None:
        from mangrove.roles.parent import CONTROLLER
        from mangrove.roles.stores import LONGEST_LEASE, open_store, take_lease
        from mangrove.roles.terms import go_on_with
        from mangrove.store.sqlite_backup import bring_back

        path = data_dir / name
        if file is not None:
            if store:
                raise InvalidInput("FILE", "leave it out: a database of MongoDB is brought back by mongorestore")
            aside = path.with_name(f"{name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
            bring_back(path, file, aside)
            if aside.exists():
                click.echo(f"The store that was there is {aside}.", err=True)
        elif not store and not path.exists():
            raise InvalidInput("FILE", f"there is no store at {path}: name the backup to bring back")
        opened = open_store(store, data_dir, name)
        try:
            if opened.shared:
                take_lease(opened, CONTROLLER, LONGEST_LEASE, SystemClock(), time.sleep)
            also(opened.store)
            term = go_on_with(opened.store, CONTROLLER, opened.holder, adopt=adopt)
        finally:
            opened.store.close()
        click.echo(
            f"The {program} goes on with this store, from term {term + 1} on. Start it; what runs and the store does "
            "not know is listed by `mangrove adopted list`.",
            err=True,
        )

    return restore
