"""How the command line finds its commands, and what it says when something goes wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import click
import pytest
from click.testing import CliRunner

from mangrove import __version__
from mangrove.base.errors import Unavailable
from mangrove.cli import main as module
from mangrove.cli.main import GROUP, main

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


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "good": GOOD,
        "refused": f"{__name__}:refused",
        "full": f"{__name__}:full",
        "broken": f"{__name__}:broken",
        "cluster": f"{__name__}:uninstalled",
        "demo": "no_such_package.commands:demo",
        "renamed": f"{__name__}:nothing_of_that_name",
        "number": f"{__name__}:GOOD",
    }
    points = EntryPoints(EntryPoint(name, value, GROUP) for name, value in found.items())
    monkeypatch.setattr(module, "entry_points", lambda **wanted: points.select(**wanted))


def said(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_commands_are_entry_points() -> None:
    assert said("good") == (0, "well done\n", "")
    code, _, error = said("bad")
    assert code == 2
    assert "No such command 'bad'" in error


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("refused", "the root is away"),
        ("full", "[Errno 28] No space left on device: '/data'"),
        ("cluster", "cluster needs flask, which is not installed: pip install 'mangrove[cluster]'"),
        ("demo", "demo needs no_such_package, which is not installed: pip install 'mangrove[all]'"),
        ("renamed", "renamed cannot be loaded (AttributeError: "),
        ("number", f"{__name__}:GOOD is no command"),
    ],
)
def test_what_goes_wrong_is_one_sentence_on_standard_error(command: str, problem: str) -> None:
    code, output, error = said(command)
    assert (code, output) == (1, "")
    assert error.startswith(f"Error: {problem}")
    assert error.count("\n") == 1


def test_a_command_that_cannot_be_loaded_takes_any_arguments_and_spoils_no_other() -> None:
    assert said("demo", "run", "--option")[0] == 1
    code, output, _ = said("--help")
    assert code == 0
    assert "Does what it should." in output
    assert "(Not available: demo needs no_such_package" in output


def test_our_own_faults_are_not_hidden() -> None:
    assert isinstance(CliRunner().invoke(main, ["broken"]).exception, KeyError)


def test_version() -> None:
    assert said("--version") == (0, f"mangrove, version {__version__}\n", "")


def test_the_installed_command_has_all_of_them_and_loads_none_before_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mangrove.cli.main", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for command in ("cluster", "demo", "deploy", "down", "node", "nodes", "root", "services", "up"):
        assert f"\n  {command} " in done.stdout
    assert "Not available" not in done.stdout
    code = (
        "import sys; from mangrove.cli.main import main; main(['--version'], standalone_mode=False);"
        "print([each for each in ('flask', 'psutil', 'rich', 'pymongo', 'node_engine') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
