"""Logging in and out, several roots, and what is kept of it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable

import pytest

from mangrove import __version__
from tests.unit.cli.conftest import CommandLine, Served


def kept(cli: CommandLine) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(cli.contexts.read_text())["contexts"]
    return found


def test_a_login_is_kept_for_its_owner_alone_and_without_the_password(cli: CommandLine, served: Served) -> None:
    said = cli("login", served.address, "--password-stdin", stdin="Admin\n")
    assert (said.code, said.output) == (0, "")
    assert f"Logged in to http://{served.address} as Admin; this is the context {served.address}" in said.error
    assert stat.S_IMODE(cli.contexts.stat().st_mode) == 0o600
    (context,) = kept(cli).values()
    assert context.keys() == {"root", "user", "token", "refresh_token"}
    assert cli("node", "list").code == 0


def test_passwords_come_from_the_environment_too_and_are_never_guessed(cli: CommandLine, served: Served) -> None:
    assert cli("login", served.address, MANGROVE_PASSWORD="Admin").code == 0
    said = cli("login", served.address)
    assert said.code == 2
    assert "--password-stdin: there is no password for Admin" in said.error
    said = cli("login", served.address, "--password-stdin", stdin="guess")
    assert (said.code, said.error) == (4, "Error: wrong username or password\n")


def test_contexts(cli: CommandLine, served: Served) -> None:
    served.api.add_user("bob", "Application_Provider")
    assert "There is no context yet" in cli("context", "list").error
    login = ("login", served.address, "--password-stdin", "--context")
    assert cli(*login, "one", stdin="Admin").code == 0
    assert cli(*login, "two", "--user", "bob", stdin="bob").code == 0
    rows = json.loads(cli("context", "list", "-o", "json").output)
    assert [(row["name"], row["user"], row["current"], row["logged_in"]) for row in rows] == [
        ("one", "Admin", False, True),
        ("two", "bob", True, True),
    ]
    assert "*" in cli("context", "list").output.splitlines()[2]

    # Bob may not make tokens for clusters; Admin may.
    assert cli("cluster", "token").code == 4
    assert cli("cluster", "token", "--context", "one").code == 0
    assert cli("cluster", "token", MANGROVE_CONTEXT="one").code == 0
    assert cli("context", "use", "one").code == 0
    assert cli("cluster", "token").code == 0

    said = cli("context", "use", "oen")
    assert (said.code, said.error) == (3, "Error: there is no context 'oen'; did you mean 'one'?\n")
    assert cli("context", "remove", "one").code == 0
    assert kept(cli).keys() == {"two"}
    assert cli("context", "remove", "one").code == 3


def test_logging_out_forgets_the_tokens_and_logging_in_again_needs_no_address(cli: CommandLine, served: Served) -> None:
    assert cli("logout").code == 3
    assert cli("login", served.address, "--context", "sea", "--password-stdin", stdin="Admin").code == 0
    said = cli("logout")
    assert (said.code, said.error) == (0, "Logged out of sea.\n")
    assert kept(cli)["sea"].keys() == {"root", "user"}
    said = cli("node", "list")
    assert (said.code, said.error) == (4, "Error: you have logged out of sea: `mangrove login --context sea`\n")
    assert cli("login", "--password-stdin", stdin="Admin").code == 0
    assert cli("node", "list").code == 0
    assert cli("logout", "--all").code == 0
    assert cli("node", "list").code == 4


def test_tokens_are_renewed_and_the_new_ones_kept(cli: CommandLine, served: Served) -> None:
    cli("login", served.address, "--password-stdin", stdin="Admin")
    (before,) = kept(cli).values()
    served.api.clock.advance_to(served.api.clock.now() + 3600)
    assert cli("node", "list").code == 0
    (after,) = kept(cli).values()
    assert after["token"] != before["token"]
    assert after["refresh_token"] == before["refresh_token"]
    served.api.clock.advance_to(served.api.clock.now() + 365 * 24 * 3600)
    said = cli("node", "list")
    assert said.code == 4
    assert "the login as Admin has ended" in said.error


def test_an_access_token_for_other_programs(cli: CommandLine, served: Served) -> None:
    cli("login", served.address, "--password-stdin", stdin="Admin")
    token = cli("token").output.strip()
    answer = served.api.request("GET", "/api/v1/nodes", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


def test_who_names_the_address_uses_the_login_that_is_kept_for_it(cli: CommandLine, served: Served) -> None:
    assert cli("node", "list", "--root", served.address).code == 2
    cli("login", served.address, "--password-stdin", stdin="Admin")
    assert cli("node", "list", "--root", f"http://{served.address}").code == 0
    assert cli("node", "list", "--root", served.address, "--user", "Admin").code == 0
    assert cli("node", "list", "--root", served.address, "--user", "bob").code == 2
    assert cli("node", "list", "--password", "wrong").code == 4


def test_a_file_of_logins_that_cannot_be_read_is_named(cli: CommandLine, served: Served) -> None:
    cli.contexts.parent.mkdir(parents=True)
    cli.contexts.write_text("{")
    said = cli("node", "list")
    assert said.code == 1
    assert f"{cli.contexts} cannot be read" in said.error
    assert "log in again" in said.error


def test_versions(cli: CommandLine, served: Served, free_port: Callable[[], int]) -> None:
    said = cli("version", "--client")
    assert (said.code, said.output) == (0, f"mangrove {__version__}\n")
    said = cli("version", "--root", f"127.0.0.1:{free_port()}")
    assert said.code == 5
    assert said.output == f"mangrove {__version__}\n"
    assert "nothing listens on" in said.error


def test_what_is_no_address_is_said(cli: CommandLine) -> None:
    said = cli("login", "ftp://root")
    assert said.code == 2
    assert "address: must be host, host:port or" in said.error


@pytest.mark.parametrize("arguments", [("context", "use"), ("login", "--colour"), ("lgoin",)])
def test_wrong_usage_ends_with_two(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert "Error: " in said.error
