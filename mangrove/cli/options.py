"""Options that several commands share: the root to talk to, and times as people write them."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from mangrove.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from mangrove.cli import setups
from mangrove.client.root import DEFAULT_PORT, RootClient

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """`90`, `90s`, `30m`, `1h` or `7d`, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a time such as 90s, 30m, 1h or 7d", param, ctx)
        return float(match[1]) * _UNITS[match[2] or "s"]


#: How long a token is valid, and how often; what the parent allows it says itself.
ttl_option = click.option(
    "--ttl", type=Duration(), default="1h", show_default=True, help="How long it is valid, as 30m, 1h or 7d."
)
uses_option = click.option("--uses", type=int, default=1, show_default=True, help="How many may join by it.")

dir_option = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MANGROVE_DIR",
    default=setups.DEFAULT_FOLDER,
    show_default=True,
    callback=lambda _ctx, _param, value: value.expanduser().absolute(),
    help="Folder of a set-up on this machine.",
)


@dataclass(frozen=True, slots=True)
class RootOptions:
    """What the options say of the root to talk to. folder: of the set-up whose root it is when no address is given."""

    address: str | None
    user: str
    password: str | None = field(repr=False)
    folder: Path

    def connect(self) -> RootClient:
        """A client that is logged in. Raises InvalidInput when no password is to be had, MangroveError, OSError."""
        setup = setups.load(self.folder) if self.address is None else None
        address, password = self.address, self.password
        if setup is not None:
            address = setup.address
            if password is None and self.user == setups.USER:
                password = setups.password_in(self.folder)
        client = RootClient(address or f"{setups.HOST}:{DEFAULT_PORT}")
        try:
            client.login(self.user, self._asked_for() if password is None else password)
        except Unavailable as error:
            if setup is None:
                raise
            raise Unavailable(f"{error.message} `mangrove up{option_for(self.folder)}` starts it.") from None
        return client

    def _asked_for(self) -> str:
        if not sys.stdin.isatty():
            raise InvalidInput("--password", f"there is none for {self.user}: set MANGROVE_PASSWORD")
        return str(click.prompt(f"Password of {self.user}", hide_input=True, err=True))


def option_for(folder: Path) -> str:
    """What commands need so that they find the set-up in `folder`: nothing, or ` --dir …`."""
    return "" if folder == setups.DEFAULT_FOLDER.expanduser() else f" --dir {shlex.quote(str(folder))}"


def root_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, as its first argument, what its options say of the root to talk to."""

    @click.option(
        "--root", metavar="ADDRESS", envvar="MANGROVE_ROOT", help=f"The root (127.0.0.1:{DEFAULT_PORT}, or --dir's)."
    )
    @click.option("--user", envvar="MANGROVE_USER", default=setups.USER, show_default=True)
    @click.option("--password", envvar="MANGROVE_PASSWORD", help="Better in MANGROVE_PASSWORD, or asked for.")
    @dir_option
    @functools.wraps(command)
    def with_options(*args: Any, root: str | None, user: str, password: str | None, folder: Path, **more: Any) -> None:
        command(RootOptions(root, user, password, folder), *args, **more)

    return with_options


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Thing = TypeVar("_Thing", bound=_Named)


def named(things: Sequence[_Thing], name: str, noun: str) -> _Thing:
    """The one thing of that name. Raises NotFound, which names those that are there, and Conflict."""
    found = [thing for thing in things if thing.name == name]
    if not found:
        known = ", ".join(sorted(thing.name for thing in things)) or "none"
        raise NotFound(f"there is no {noun} {name!r} ({known})")
    if len(found) > 1:
        raise Conflict(f"there are {len(found)} {noun}s named {name!r}: use the REST API with the id of one")
    return found[0]
