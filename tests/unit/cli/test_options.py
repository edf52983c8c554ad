"""Which root a command talks to, as whom, and how long things last."""

from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mangrove.base.errors import Unavailable
from mangrove.cli import contexts, options, setups
from mangrove.cli.main import Commands
from mangrove.cli.options import RootOptions, root_options, ttl_option


class FakeRoot:
    """A root client that tells who logs in where."""

    logins: list[tuple[str, str, str]]
    away = False

    def __init__(self, address: str, **more: object) -> None:
        self.address = address

    def login(self, user: str, password: str) -> None:
        if FakeRoot.away:
            raise Unavailable("nothing listens there.")
        FakeRoot.logins.append((self.address, user, password))


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@click.group(cls=Commands)
def command_line() -> None:
    pass


@click.command()
@ttl_option
@root_options
def look(root: RootOptions, ttl: float) -> None:
    root.connect()
    click.echo(f"{ttl:g}")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    FakeRoot.logins, FakeRoot.away = [], False
    monkeypatch.setattr(options, "RootClient", FakeRoot)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("DIR", "ROOT", "CONTEXT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"MANGROVE_{name}", raising=False)
    monkeypatch.setattr(Commands, "get_command", lambda _self, _ctx, _name: look)


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(command_line, ["look", *arguments], env=environment)
    return done.exit_code, done.output


def test_the_root_that_is_named(tmp_path: Path) -> None:
    setups.create(tmp_path / ".mangrove", port=0)
    assert run("--root", "far:1", "--user", "me", "--password", "secret")[0] == 0
    assert run(MANGROVE_ROOT="far:2", MANGROVE_USER="you", MANGROVE_PASSWORD="hidden")[0] == 0
    assert FakeRoot.logins == [("far:1", "me", "secret"), ("far:2", "you", "hidden")]


def test_the_set_up_of_this_machine_needs_no_option(tmp_path: Path) -> None:
    usual = setups.create(tmp_path / ".mangrove", port=0)
    other = setups.create(tmp_path / "other", port=0)
    assert run()[0] == 0
    assert run("--dir", str(tmp_path / "other"))[0] == 0
    assert run(MANGROVE_DIR=str(tmp_path / "other"))[0] == 0
    passwords = {each: setups.password_in(tmp_path / each) for each in (".mangrove", "other")}
    assert FakeRoot.logins == [
        (usual.address, "Admin", passwords[".mangrove"]),
        (other.address, "Admin", passwords["other"]),
        (other.address, "Admin", passwords["other"]),
    ]


def test_its_password_is_for_its_own_root_and_its_own_user(tmp_path: Path) -> None:
    setups.create(tmp_path / ".mangrove", port=0)
    for arguments in (["--root", "far:1"], ["--user", "me"]):
        code, said = run(*arguments)
        assert code == 2
        assert "set MANGROVE_PASSWORD" in said
    assert FakeRoot.logins == []


def test_without_any_it_is_the_usual_address() -> None:
    assert run("--password", "secret")[0] == 0
    assert FakeRoot.logins == [("127.0.0.1:10000", "Admin", "secret")]


def test_at_a_terminal_the_password_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "prompt", lambda text, hide_input, err: f"typed for {text}")
    monkeypatch.setattr(sys, "stdin", Terminal())
    RootOptions("far:1", "me", None, Path("/nowhere")).connect()
    assert FakeRoot.logins == [("far:1", "me", "typed for Password of me at far:1")]
    assert "secret" not in repr(RootOptions("far:1", "me", "secret", Path("/nowhere")))


def test_a_set_up_that_does_not_run_is_said_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    setups.create(folder, port=0)
    FakeRoot.away = True
    code, said = run("--dir", str(folder))
    assert code == 5
    assert f"nothing listens there. `mangrove up --dir '{folder}'` starts it." in said


def test_a_folder_without_a_set_up_is_said(tmp_path: Path) -> None:
    code, said = run("--dir", str(tmp_path / "nowhere"), "--password", "x")
    assert code == 3
    assert f"there is no set-up in {tmp_path}/nowhere: `mangrove up --dir {tmp_path}/nowhere` makes one" in said


def test_beside_a_current_context_a_set_up_has_to_be_named(tmp_path: Path) -> None:
    usual = tmp_path / ".mangrove"
    assert options.option_for(usual) == ""
    with contexts.changing() as held:
        held[0] = held[0].with_("far", contexts.Context("http://far:1", "me", "t", "r"), current=True)
    assert options.option_for(usual) == f" --dir {usual}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", "90"), ("90s", "90"), ("1.5m", "90"), ("2h", "7200"), ("7d", "604800")]
)
def test_times(text: str, seconds: str) -> None:
    assert run("--password", "x", "--ttl", text) == (0, f"{seconds}\n")


@pytest.mark.parametrize("text", ["", "h", "-1", "1 h", "1w", "1e9", "inf", "9" * 13])
def test_what_is_no_time(text: str) -> None:
    code, said = run("--password", "x", "--ttl", text)
    assert code == 2
    assert "is not a time such as 90s, 30m, 1h or 7d" in said
