"""Which root commands talk to and as whom: logging in and out, contexts, access tokens, versions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from mangrove import __version__
from mangrove.base.errors import InvalidInput, MangroveError, NotFound
from mangrove.cli import complete, contexts, setups
from mangrove.cli.contexts import Context, Contexts
from mangrove.cli.failures import failure_of
from mangrove.cli.options import RootOptions, dir_option, root_options
from mangrove.cli.output import Format, output_option, print_json, print_table
from mangrove.client.http import UnexpectedAnswer, parse_address
from mangrove.client.root import DEFAULT_PORT, RootClient, Session

#: Characters of the longest password that is read.
_LONGEST = 1024


@click.command()
@click.argument("address", required=False)
@click.option("--user", metavar="NAME", envvar="MANGROVE_USER", help="As whom. (as before, or Admin)")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else it is asked for.")
@click.option("--organization", metavar="NAME", default="", help="The organization to work in. (root)")
@click.option("--context", "name", metavar="NAME", help="What to call this login. (the root's host)")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Certificates to trust with https, instead of the system's.",
)
@dir_option
def login(
    address: str | None,
    user: str | None,
    password_stdin: bool,
    organization: str,
    name: str | None,
    ca_file: str | None,
    folder: Path,
) -> None:
    """Log in to a root and remember it as a context.

    ADDRESS is host, host:port or https://host:port. Without it, it is that of --context, of the current context, or of
    the set-up in --dir. The tokens are kept, readable by you alone, and renewed; the password is not. It comes from
    standard input, from MANGROVE_PASSWORD, or is asked for.
    """
    kept = contexts.load()
    known = kept.contexts.get(kept.current if name is None else name)
    setup = setups.load(folder)
    if address is not None:
        root = str(parse_address(address, DEFAULT_PORT))
    elif known is not None:
        root, ca_file, name = known.root, ca_file or known.ca_file or None, name or kept.current
    elif name is not None:
        raise InvalidInput("ADDRESS", f"is needed for a new context such as {name!r}")
    else:
        root = str(parse_address(setup.address if setup is not None else setups.HOST, DEFAULT_PORT))
    user = user or (known.user if known is not None and known.root == root else setups.USER)
    sessions: list[Session] = []
    client = RootClient(root, ca_file=ca_file, on_session=sessions.append)
    _check_root(client)
    own = setup is not None and root == f"http://{setup.address}" and user == setups.USER
    client.login(user, _password(user, root, password_stdin, folder if own else None), organization=organization)
    made = Context(root, user, sessions[-1].token, sessions[-1].refresh_token, ca_file or "")
    name = name or _name_for(root)
    with contexts.changing() as held:
        held[0] = held[0].with_(name, made, current=True)
    click.echo(f"Logged in to {root} as {user}; this is the context {name}, and the current one.", err=True)


@click.command()
@click.argument("name", required=False, shell_complete=complete.context)
@click.option("--all", "everywhere", is_flag=True, help="Of all contexts.")
def logout(name: str | None, everywhere: bool) -> None:
    """Forget the login to a root.

    NAME is a context, by default the current one. It stays in the list; `mangrove login` opens it again.
    """
    with contexts.changing() as held:
        kept = held[0]
        names = list(kept.contexts) if everywhere else [name or kept.current]
        for each in names:
            if not each:
                raise NotFound("you are not logged in: there is no current context")
            left = msgspec.structs.replace(kept.named(each), token="", refresh_token="")
            kept = kept.with_(each, left)
        held[0] = kept
    click.echo(f"Logged out of {', '.join(names) or 'nothing'}.", err=True)


@click.group()
def context() -> None:
    """Choose among several roots."""


@context.command("list")
@output_option
def list_contexts(output: Format) -> None:
    """List the contexts: where one has logged in, and as whom."""
    kept = contexts.load()
    rows = [_described(kept, name) for name in sorted(kept.contexts)]
    if output == "json":
        print_json(rows)
    elif not rows:
        click.echo("There is no context yet: `mangrove login ADDRESS` makes one.", err=True)
    else:
        from mangrove.cli.tables import plain, table

        shown = table("", "current", "name", "root", "user", "logged in")
        for row in rows:
            cells = (plain(row["name"]), plain(row["root"]), plain(row["user"]))
            shown.add_row("*" if row["current"] else "", *cells, "yes" if row["logged_in"] else "no")
        print_table(shown)


@context.command("use")
@click.argument("name", shell_complete=complete.context)
def use_context(name: str) -> None:
    """Make NAME the context that commands use."""
    with contexts.changing() as held:
        held[0].named(name)
        held[0] = msgspec.structs.replace(held[0], current=name)
    click.echo(f"Commands use {name} from now on.", err=True)


@context.command("remove")
@click.argument("name", shell_complete=complete.context)
def remove_context(name: str) -> None:
    """Forget the context NAME, with its login."""
    with contexts.changing() as held:
        held[0].named(name)
        held[0] = held[0].without(name)
    click.echo(f"{name} is forgotten.", err=True)


@click.command()
@root_options
def token(root: RootOptions) -> None:
    """Print an access token for the REST API.

    It is valid for some minutes: curl -H "Authorization: Bearer $(mangrove token)" http://…/api/v1/nodes
    """
    click.echo(root.connect().access_token())


@click.command()
@click.option("--client", "client_only", is_flag=True, help="Of this command alone: ask no root.")
@output_option
@root_options
def version(root: RootOptions, client_only: bool, output: Format) -> None:
    """Show the versions of this command and of the root."""
    from mangrove.link.messages import PROTOCOL

    found: dict[str, Any] = {"client": {"software": __version__, "protocols": [PROTOCOL]}}
    problem = None
    if not client_only:
        place = root.place()
        try:
            found["root"] = {"address": place.root, **place.client().version()}
        except MangroveError as error:
            problem = error
    if output == "json":
        print_json(found)
    else:
        click.echo(f"mangrove {__version__}")
        if "root" in found:
            click.echo(f"root     {found['root']['software']} ({found['root']['name']} at {found['root']['address']})")
    if problem is not None:
        raise failure_of(problem)
    if "root" in found and found["root"]["software"] != __version__:
        click.echo("They differ: what one knows the other may not. Install the same version on both sides.", err=True)


def _check_root(client: RootClient) -> None:
    """Raise UnexpectedAnswer where something else than a root answers: before a password is sent there."""
    program = client.version().get("program")
    if program != "root":
        raise UnexpectedAnswer(f"{client.address} is a {program} of Mangrove, not a root: give the root's address")


def _password(user: str, root: str, from_input: bool, folder: Path | None) -> str:
    import os

    if from_input:
        return sys.stdin.read(_LONGEST + 1).rstrip("\r\n")
    if given := os.environ.get("MANGROVE_PASSWORD"):
        return given
    if folder is not None:
        return setups.password_in(folder)
    if not sys.stdin.isatty():
        raise InvalidInput("--password-stdin", f"there is no password for {user}: give it so, or in MANGROVE_PASSWORD")
    return str(click.prompt(f"Password of {user} at {root}", hide_input=True, err=True))


def _name_for(root: str) -> str:
    address = parse_address(root, DEFAULT_PORT)
    return address.host if address.port == DEFAULT_PORT else f"{address.host}:{address.port}"


def _described(kept: Contexts, name: str) -> dict[str, Any]:
    context = kept.contexts[name]
    return {
        "name": name,
        "root": context.root,
        "user": context.user,
        "current": name == kept.current,
        "logged_in": context.session is not None,
    }
