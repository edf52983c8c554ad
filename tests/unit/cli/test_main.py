"""How the command line finds its commands, and what it says when something goes wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from mangrove import __version__
from mangrove.base.errors import (
    Conflict,
    CorruptFile,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from mangrove.cli import main as module
from mangrove.cli.catalog import COMMANDS, GROUP, Entry, walk
from mangrove.cli.failures import failure_of
from mangrove.cli.main import main
from mangrove.client.http import UnexpectedAnswer
from mangrove.client.wait import TimedOut

GOOD = f"{__name__}:good"


@click.command()
def good() -> None:
    """Does what it should."""
    click.echo("well done")


@click.command()
def refused() -> None:
    raise Unavailable("the root is away")


@click.command()
def uninstalled() -> None:
    raise ModuleNotFoundError("No module named 'flask'", name="flask")


@click.command()
def full() -> None:
    raise OSError(28, "No space left on device", "/data")


@click.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def broken(arguments: tuple[str, ...]) -> None:
    raise KeyError("a fault of ours")


@click.command()
def interrupted() -> None:
    raise KeyboardInterrupt


@click.command()
def piped() -> None:
    raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {
        "good": GOOD,
        "refused": f"{__name__}:refused",
        "full": f"{__name__}:full",
        "interrupted": f"{__name__}:interrupted",
        "piped": f"{__name__}:piped",
        "broken": f"{__name__}:broken",
        "demo": "no_such_package.commands:demo",
    }
    others = {
        "cluster": f"{__name__}:uninstalled",
        "renamed": f"{__name__}:nothing_of_that_name",
        "number": f"{__name__}:GOOD",
        "plugin": GOOD,
    }
    table = {name: Entry("Mine", target, f"Help of {name}.") for name, target in own.items()}
    table["cluster"] = Entry("Programs", "", "Help of cluster.")
    points = [EntryPoint(name, value, GROUP) for name, value in others.items()]
    monkeypatch.setattr(module, "COMMANDS", table)
    monkeypatch.setattr(module, "_entry_points", lambda: points)
    monkeypatch.delenv("MANGROVE_DEBUG", raising=False)


def said(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments, prog_name="mangrove")
    return done.exit_code, done.stdout, done.stderr


def test_commands_are_in_the_table_or_entry_points() -> None:
    assert said("good") == said("plugin") == (0, "well done\n", "")
    code, _, error = said("god")
    assert code == 2
    assert "No such command 'god'. Did you mean 'good'?" in error


@pytest.mark.parametrize(
    ("command", "code", "problem"),
    [
        ("refused", 5, "the root is away"),
        ("full", 1, "[Errno 28] No space left on device: '/data'"),
        ("cluster", 1, "cluster needs flask, which is not installed: pip install 'mangrove[cluster]'"),
        ("demo", 1, "demo needs no_such_package, which is not installed: pip install 'mangrove[all]'"),
        ("renamed", 1, "renamed cannot be loaded (AttributeError: "),
        ("number", 1, f"{__name__}:GOOD is no command"),
        (
            "broken",
            1,
            "this is a fault in mangrove (KeyError: 'a fault of ours'); with MANGROVE_DEBUG=1 it shows where",
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence_on_standard_error(command: str, code: int, problem: str) -> None:
    ended, output, error = said(command)
    assert (ended, output) == (code, "")
    assert error.startswith(f"Error: {problem}")
    assert error.count("\n") == 1


def test_a_fault_of_ours_can_be_seen_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANGROVE_DEBUG", "1")
    assert isinstance(CliRunner().invoke(main, ["broken"]).exception, KeyError)


def test_being_interrupted_is_tidy() -> None:
    assert said("interrupted") == (130, "", "\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    assert said("piped") == (1, "", "")


def test_help_loads_only_what_is_not_in_the_table() -> None:
    code, output, _ = said("--help")
    assert code == 0
    assert re.search(r"Mine:\n  good +Help of good.\n", output)
    assert re.search(r"Programs:\n  cluster +Help of cluster.\n", output)
    assert re.search(r"More:\n(.+\n)*  plugin +Does what it should.\n", output)
    assert "no_such_package" not in output
    assert said("demo", "run", "--option")[0] == 1


def test_version() -> None:
    assert said("--version") == (0, f"mangrove, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("a", "b"), 2),
        (NotFound("x"), 3),
        (Conflict("x"), 4),
        (Forbidden("x"), 4),
        (Unauthorized("x"), 4),
        (Unavailable("x"), 5),
        (UnexpectedAnswer("x"), 5),
        (TimedOut("x"), 6),
        (CorruptFile("x"), 1),
        (MangroveError("x"), 1),
    ],
)
def test_codes_say_what_kind_of_failure_it_is(error: MangroveError, code: int) -> None:
    assert failure_of(error).exit_code == code


def test_what_others_say_does_nothing_to_a_terminal_and_names_the_request() -> None:
    error = UnexpectedAnswer("\x1b[2Jgone")
    error.request_id = "r-1"
    assert failure_of(error).message == "�[2Jgone (request r-1, by which its log names it)"


# -- the real ones


def real_commands() -> list[tuple[tuple[str, ...], click.Command]]:
    return [(path, command) for path, command in walk(main) if path]


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()


def test_the_table_says_what_the_commands_say(real: None) -> None:
    for name, entry in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert "(Not available" not in (command.help or ""), command.help
        assert (command.help or "").partition("\n")[0] == entry.help, name


def test_every_command_and_option_says_what_it_does(real: None) -> None:
    for path, command in real_commands():
        assert command.help, path
        assert command.help.partition("\n")[0].endswith("."), path
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, (path, parameter.name)


def test_help_of_every_command_can_be_shown(real: None) -> None:
    for path, _ in real_commands():
        if path[-1] == "run":  # they show the help of their programs
            continue
        code, output, _ = said(*path, "--help")
        assert code == 0, path
        assert output.startswith(f"Usage: mangrove {' '.join(path)}"), path


def test_the_installed_command_has_all_of_them_and_loads_none_before_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mangrove.cli.main", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for command in ("cluster", "demo", "deploy", "down", "node", "root", "up"):
        assert f"\n  {command} " in done.stdout
    assert "Not available" not in done.stdout
    code = (
        "import sys; from mangrove.cli.main import main; main(['--help'], standalone_mode=False);"
        "heavy = ('flask', 'psutil', 'rich', 'pymongo', 'node_engine', 'http.client', 'paho', 'msgspec', 'yaml');"
        "print([each for each in heavy if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
