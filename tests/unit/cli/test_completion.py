"""Completion, in a real shell."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mangrove.cli import complete
from tests.root_api import RootApi, microservice
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


def pressed_tab(cli: CommandLine, typed: str) -> list[str]:
    """What a shell is offered for the last word."""
    count = typed.count(" ")
    # Tests call the group by its own name, `main`.
    offered = cli(_MAIN_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(count))
    return [line.partition(",")[2] for line in offered.output.splitlines() if line]


def test_names_come_from_the_root(cli: CommandLine, root: RootApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "_PATIENCE", 30.0)
    root.add_cluster()
    root.add_node()
    web = root.create("shop", microservice("web"), microservice("worker"))["microservices"][0]
    root.deploy(web)
    assert pressed_tab(cli, "mangrove service show sh") == ["shop.web", "shop.worker"]
    assert pressed_tab(cli, "mangrove instance show shop.w") == ["shop.web.0"]
    assert pressed_tab(cli, "mangrove undeploy ") == ["shop", "shop.web", "shop.worker"]
    assert pressed_tab(cli, "mangrove app delete s") == ["shop"]
    assert pressed_tab(cli, "mangrove node show n") == ["node1"]
    assert pressed_tab(cli, "mangrove instance list --cluster a") == ["alpha"]
    assert pressed_tab(cli, "mangrove context use 127") == json.loads(cli.contexts.read_text())["current"].split()


def test_without_a_root_nothing_is_offered_and_nothing_said(cli: CommandLine, free_port: Callable[[], int]) -> None:
    assert pressed_tab(cli, "mangrove service show ") == []
    assert pressed_tab(cli, f"mangrove service show --root 127.0.0.1:{free_port()} ") == []


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef mangrove"), ("fish", "complete --no-files --command")])
def test_other_shells_get_a_script_too(cli: CommandLine, shell: str, mark: str) -> None:
    said = cli("completion", shell)
    assert said.code == 0
    assert mark in said.output


def test_an_unknown_shell(cli: CommandLine) -> None:
    said = cli("completion", "tcsh")
    assert said.code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in said.error
