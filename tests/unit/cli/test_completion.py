"""Completion, in a real shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CommandLine

#: Completes `$1` as bash does when Tab is pressed behind it.
_PRESS_TAB = r"""
source "$2"
read -ra COMP_WORDS <<< "$1"
[[ "$1" == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
COMP_LINE="$1" COMP_POINT=${#1}
spec=$(complete -p mangrove)
function=${spec#*-F }
"${function%% *}" mangrove "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mangrove dep", ["deploy"]),
        ("mangrove context ", ["list", "remove", "use"]),
        ("mangrove completion z", ["zsh"]),
        ("mangrove context list --out", ["--output"]),
        ("mangrove context list --output ", ["json", "table"]),
    ],
)
def test_bash_completes(cli: CommandLine, typed: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = cli.home / "completion"
    script.write_text(cli("completion", "bash").output)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        [bash, "--norc", "-c", _PRESS_TAB, "bash", typed, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": path, "HOME": str(cli.home), "PYTHONPATH": ":".join(sys.path)},
    )
    assert sorted(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef mangrove"), ("fish", "complete --no-files --command")])
def test_other_shells_get_a_script_too(cli: CommandLine, shell: str, mark: str) -> None:
    said = cli("completion", shell)
    assert said.code == 0
    assert mark in said.output


def test_an_unknown_shell(cli: CommandLine) -> None:
    said = cli("completion", "tcsh")
    assert said.code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in said.error
