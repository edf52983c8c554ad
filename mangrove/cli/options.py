"""Options that several commands share: the root to talk to, and times as people write them."""

from __future__ import annotations

import functools
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mangrove.base.errors import InvalidInput, MangroveError, NotFound, Unauthorized, Unavailable
from mangrove.cli import contexts, setups
from mangrove.cli.contexts import Contexts
from mangrove.client.http import parse_address
from mangrove.client.root import DEFAULT_PORT, RootClient, Session

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
    """What the options say of the root to talk to.

    The root is that of `address`, else of the context, else of the set-up in the folder, if it was named; else of the
    current context, else of the usual folder, else the usual address of this machine.
    """

    address: str | None
    user: str | None
    password: str | None = field(repr=False)
    folder: Path
    context: str | None = None
    folder_named: bool = False

    def connect(self) -> RootClient:
        """A client that is logged in. Raises InvalidInput when no password is to be had, MangroveError, OSError."""
        place = self.place()
        client = place.client()
        if place.session is None:
            password = self.password if place.password is None else place.password
            try:
                client.login(place.user, self._asked_for(place) if password is None else password)
            except Unavailable as error:
                raise Unavailable(f"{error.message}{place.hint}") from None
        return client

    def quiet_client(self, timeout: float) -> RootClient | None:
        """A client that is logged in, None where that would take a question. timeout: seconds for each request."""
        place = self.place()
        if place.session is None and place.password is None:
            return None
        client = place.client(timeout=timeout, repeats=0)
        if place.session is None and place.password is not None:
            client.login(place.user, place.password)
        return client

    def place(self) -> Place:
        """Which root it is, and as whom. Raises NotFound, CorruptFile, InvalidInput, OSError."""
        if self.address is not None:
            return self._at(self.address)
        if self.context is not None:
            return self._of_context(contexts.load(), self.context)
        if self.folder_named:
            return self._of_folder() or self._missing_folder()
        kept = contexts.load()
        if kept.current:
            return self._of_context(kept, kept.current)
        return self._of_folder() or Place(
            f"{setups.HOST}:{DEFAULT_PORT}", self.user or setups.USER, self.password, assumed=True
        )

    def _at(self, address: str) -> Place:
        root = str(parse_address(address, DEFAULT_PORT))
        for name, context in contexts.load().contexts.items():
            same = context.root == root and self.user in (None, context.user)
            if same and context.session is not None and self.password is None:
                return Place(root, context.user, None, name, context.session, context.ca_file)
        return Place(address, self.user or setups.USER, self.password)

    def _of_context(self, kept: Contexts, name: str) -> Place:
        context = kept.named(name)
        if self.password is not None or self.user not in (None, context.user):
            return Place(context.root, self.user or context.user, self.password, ca_file=context.ca_file)
        if context.session is None:
            raise Unauthorized(f"you have logged out of {name}: `mangrove login --context {shlex.quote(name)}`")
        return Place(context.root, context.user, None, name, context.session, context.ca_file)

    def _of_folder(self) -> Place | None:
        setup = setups.load(self.folder)
        if setup is None:
            return None
        user, password = self.user or setups.USER, self.password
        if password is None and user == setups.USER:
            password = setups.password_in(self.folder)
        return Place(
            setup.address, user, password, hint=f" `mangrove up{option_for(self.folder, current='')}` starts it."
        )

    def _missing_folder(self) -> Place:
        raise NotFound(f"there is no set-up in {self.folder}: `mangrove up{option_for(self.folder)}` makes one")

    def _asked_for(self, place: Place) -> str:
        if not sys.stdin.isatty():
            raise InvalidInput(
                "--password", f"there is none for {place.user}: set MANGROVE_PASSWORD, or `mangrove login` first"
            )
        return str(click.prompt(f"Password of {place.user} at {place.root}", hide_input=True, err=True))


@dataclass(frozen=True, slots=True)
class Place:
    """A root, and as whom to talk to it.

    context: whose login this is, for what is renewed; empty for none. hint: what to do when nothing answers there.
    assumed: nobody has named it.
    """

    root: str
    user: str
    password: str | None = field(default=None, repr=False)
    context: str = ""
    session: Session | None = None
    ca_file: str = ""
    hint: str = ""
    assumed: bool = False

    def client(self, **more: Any) -> RootClient:
        """Not logged in unless there is a session. more: as of RootClient. Raises InvalidInput."""
        if self.session is None:
            return RootClient(self.root, ca_file=self.ca_file or None, **more)
        keep = functools.partial(contexts.keep_session, self.context)
        return RootClient(self.root, ca_file=self.ca_file or None, session=self.session, on_session=keep, **more)


def option_for(folder: Path, *, current: str | None = None) -> str:
    """What commands need so that they find the set-up in `folder`: nothing, or ` --dir …`.

    current: the current context, by which they would find another root; None to look it up.
    """
    if current is None:
        with suppress(MangroveError, OSError):
            current = contexts.load().current
    usual = folder == setups.DEFAULT_FOLDER.expanduser()
    return "" if usual and not current else f" --dir {shlex.quote(str(folder))}"


def root_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, as its first argument, what its options say of the root to talk to."""

    @click.option(
        "--root", metavar="ADDRESS", envvar="MANGROVE_ROOT", help="The root to talk to, as host or host:port."
    )
    @click.option(
        "--context", metavar="NAME", envvar="MANGROVE_CONTEXT", help="The login to use, of `mangrove context list`."
    )
    @click.option("--user", metavar="NAME", envvar="MANGROVE_USER", help="As whom, with a password. (Admin)")
    @click.option(
        "--password", metavar="TEXT", envvar="MANGROVE_PASSWORD", help="Better in MANGROVE_PASSWORD, or asked for."
    )
    @dir_option
    @functools.wraps(command)
    def with_options(
        *args: Any,
        root: str | None,
        context: str | None,
        user: str | None,
        password: str | None,
        folder: Path,
        **more: Any,
    ) -> None:
        source = click.get_current_context().get_parameter_source("folder")
        named = source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
        command(RootOptions(root, user, password, folder, context, named), *args, **more)

    return with_options
