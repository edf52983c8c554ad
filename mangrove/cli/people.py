"""`mangrove user` and `org`: who may sign in, and where they belong."""

from __future__ import annotations

import sys
from typing import Any

import click

from mangrove.base.errors import InvalidInput, NotFound
from mangrove.base.nearest import nearest
from mangrove.cli.options import RootOptions, root_options
from mangrove.cli.output import Format, confirm, confirm_option, output_option, print_list
from mangrove.client.documents import User
from mangrove.client.root import RootClient

#: Characters of the longest password that a root takes.
_LONGEST = 1024

_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read it from standard input; else it is asked for."
)


@click.group()
def user() -> None:
    """List, create, change and delete users."""


@user.command("list")
@output_option
@root_options
def list_users(root: RootOptions, output: Format) -> None:
    """List everybody, with their roles in your organization."""
    client = root.connect()

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import plain, table

        made = table("", "user", "email", "since", "roles")
        for each in sorted(client.read(list[User], found), key=lambda each: each.name):
            made.add_row(plain(each.name), plain(each.email), each.created, plain(", ".join(each.roles)))
        return made

    print_list(output, client.request("GET", "/api/users", form=list[Any]), shown, "There is no user.")


@user.command("create")
@click.argument("name")
@click.option("--email", metavar="ADDRESS", default="", help="Where to write to.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="In your organization, such as Admin. Repeatable.")
@_stdin_option
@root_options
def create_user(root: RootOptions, name: str, email: str, roles: tuple[str, ...], password_stdin: bool) -> None:
    """Create the user NAME, a member of your organization."""
    client = root.connect()
    client.create_user(name, new_password(name, password_stdin), email=email, roles=roles)
    click.echo(f"{name} can log in now.", err=True)


@user.command("update")
@click.argument("name")
@click.option("--email", metavar="ADDRESS", help="Where to write to.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="All roles in your organization. Repeatable.")
@click.option("--no-roles", is_flag=True, help="Take all roles away.")
@root_options
def update_user(root: RootOptions, name: str, email: str | None, roles: tuple[str, ...], no_roles: bool) -> None:
    """Change the email address or the roles of the user NAME."""
    if roles and no_roles:
        raise InvalidInput("--no-roles", "does not go with --role")
    fields: dict[str, Any] = {} if email is None else {"email": email}
    if roles or no_roles:
        fields["roles"] = roles
    if not fields:
        raise InvalidInput("", "nothing to change is named: see `mangrove user update --help`")
    root.connect().change_user(name, **fields)
    click.echo(f"{name} is changed.", err=True)


@user.command("password")
@click.argument("name", required=False)
@_stdin_option
@root_options
def password(root: RootOptions, name: str | None, password_stdin: bool) -> None:
    """Change a password: your own, or as Admin that of the user NAME.

    From standard input come the old one and the new one, each on a line; for somebody else the new one alone. Logins
    that were made before end.
    """
    client = root.connect()
    if name is not None and name != client.user:
        client.change_user(name, password=new_password(name, password_stdin))
    else:
        old = _line() if password_stdin else _asked("Old password")
        client.change_password(old, new_password(client.user, password_stdin))
    click.echo("The password is changed.", err=True)


@user.command("delete")
@click.argument("name")
@confirm_option
@root_options
def delete_user(root: RootOptions, name: str, yes: bool) -> None:
    """Delete the user NAME, and end all of their logins."""
    client = root.connect()
    confirm(yes, f"Delete the user {name}?")
    client.delete_user(name)
    click.echo(f"{name} is deleted.", err=True)


@click.group()
def org() -> None:
    """List, create and delete organizations."""


@org.command("list")
@output_option
@root_options
def list_organizations(root: RootOptions, output: Format) -> None:
    """List the organizations."""

    def shown(found: list[Any]) -> Any:
        from mangrove.cli.tables import plain, table

        made = table("", "organization", ">members", "id")
        for each in sorted(found, key=lambda each: str(each["name"])):
            made.add_row(plain(str(each["name"])), str(len(each.get("member") or ())), _id_of(each))
        return made

    print_list(output, _organizations(root.connect()), shown, "There is no organization.")


@org.command("create")
@click.argument("name")
@root_options
def create_organization(root: RootOptions, name: str) -> None:
    """Create the organization NAME, without members."""
    root.connect().request("POST", "/api/organization", {"name": name, "member": []}, form=Any)
    click.echo(f"The organization {name} is there.", err=True)


@org.command("delete")
@click.argument("name")
@confirm_option
@root_options
def delete_organization(root: RootOptions, name: str, yes: bool) -> None:
    """Delete the organization NAME; its members stay."""
    client = root.connect()
    there = {str(each["name"]): _id_of(each) for each in _organizations(client)}
    if name not in there:
        raise NotFound(f"there is no organization {name!r}{nearest(name, there)}")
    confirm(yes, f"Delete the organization {name}?")
    client.request("DELETE", f"/api/organization/{there[name]}", form=Any)
    click.echo(f"{name} is deleted.", err=True)


def new_password(name: str, from_input: bool) -> str:
    """A password for somebody, from standard input or asked for twice. Raises InvalidInput without a terminal."""
    if from_input:
        return _line()
    first = _asked(f"New password of {name}")
    if first != _asked("Once more"):
        raise InvalidInput("password", "was not the same the second time")
    return first


def _line() -> str:
    return sys.stdin.readline(_LONGEST + 1).rstrip("\r\n")


def _asked(what: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInput("--password-stdin", "there is no terminal to ask at: give it so")
    return str(click.prompt(what, hide_input=True, err=True))


def _organizations(client: RootClient) -> list[dict[str, Any]]:
    return client.request("GET", "/api/organization", form=list[dict[str, Any]])


def _id_of(document: dict[str, Any]) -> str:
    id = document.get("_id", "")
    return str(id.get("$oid", "")) if isinstance(id, dict) else str(id)
