"""Every command of the tutorial, typed on two machines that are network namespaces; its answers are what it shows."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.console import Step, missing, steps
from tests.e2e.hosts import Shell, Switch, environment, needs_namespaces
from tests.e2e.machine import LONG

CHECKOUT = Path(__file__).parents[2]
TUTORIAL = CHECKOUT / "docs/tutorial.md"
ADDRESSES = {"one": "192.0.2.1", "two": "192.0.2.2"}


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Shell]]:
    needs_namespaces()
    with Switch() as switch:
        shells = {}
        for name, address in ADDRESSES.items():
            home = tmp_path / name
            home.mkdir()
            (home / "mangrove").symlink_to(CHECKOUT)
            shells[name] = Shell(switch.plug(name, address), home)
        yield shells
        left = [program for shell in shells.values() for program in shell.end()]
    assert left == []


def install(command: str, home: Path) -> str:
    """Run what needs the package index, which the machines cannot reach, from the same folder."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout


@pytest.mark.timeout(600)
def test_the_tutorial_does_what_it_says(machines: dict[str, Shell]) -> None:
    token = ""
    for step in steps(TUTORIAL):
        shell = machines[step.machine]
        command = step.command.replace("TOKEN", token) if token else step.command
        written = install(command, shell.home) if "pip install" in command else shell.run(command, 2 * LONG)
        assert missing(step, written) == "", f"{step.command}\nanswered:\n{written}"
        token = next(iter(re.findall(r"^mgv-\S+", written, re.MULTILINE)), token)


def test_the_tutorial_uses_both_machines() -> None:
    assert {step.machine for step in steps(TUTORIAL)} == ADDRESSES.keys()
    assert len(steps(TUTORIAL)) > 20


def test_an_answer_that_is_not_there_is_noticed() -> None:
    step = Step("one", "mangrove node list", ("… one … garage …", "… two …"))
    assert missing(step, "│ one  │ garage │\n│ two │ x │") == ""
    assert missing(step, "│ two  │ garage │\n│ one │ garage │") == "… two …"
    assert missing(step, "") == "… one … garage …"
