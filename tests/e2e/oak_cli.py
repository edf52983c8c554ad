"""Oakestra's own command line, unmodified from PyPI, in a virtual environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

VERSION = "0.5.5"

#: Installed without what they depend on: oak-cli asks for all of Ansible, which none of the commands here need.
BARE = (f"oak-cli=={VERSION}", "oakestra-utils==0.2.0")

#: What these commands do import, within the ranges that oak-cli names.
NEEDED = (
    "requests==2.34.2",
    "typer>=0.15.4,<0.16",
    "click<8.2",  # the newest that typer 0.15 works with
    "icecream==2.2.0",
    "rich-pixels==3.0.1",
    "ansible-runner==2.4.3",
    "pydantic>=2,<3",
)

#: The port that the command line has built in.
PORT = 10000

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ID = re.compile(r"\b[0-9a-f]{24}\b")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command wrote (both streams, without colours), and how it ended."""

    code: int
    text: str

    @property
    def ids(self) -> list[str]:
        """The ids in it, in order, each once."""
        return list(dict.fromkeys(_ID.findall(self.text)))


class OakCli:
    """Runs `oak` with a home of its own, set up for a root on port 10000 of `address`."""

    def __init__(self, executable: Path, home: Path, address: str) -> None:
        self._executable = executable
        self._home = home
        folder = home / "oak_cli"
        folder.mkdir(parents=True)
        (folder / ".init_flag").touch()  # without it, the first command begins with a large picture
        (folder / ".oak_cli_config").write_text(
            f'[OAK_CLI]\nconfig_version = 1\nlocal_machine_purpose = ["initial"]\nsystem_manager_ip = {address}\n'
        )

    def add_sla(self, name: str, sla: dict[str, Any]) -> None:
        """Put an SLA where `oak app create --sla-file-name NAME` finds it, beside those that oak-cli brings."""
        if not (self._home / "oak_cli" / "SLAs").is_dir():
            self.run("configuration", "show-config")  # it copies its own only while there is no such folder
        (self._home / "oak_cli" / "SLAs" / f"{name}.json").write_text(json.dumps(sla))

    def try_(self, *arguments: str, timeout: float = 60) -> Said:
        """Run `oak` with these arguments; nobody is there to answer questions."""
        # A wide screen, or tables break words in the middle. Requests to loopback must not go to a proxy.
        settings = {"HOME": str(self._home), "COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1", "NO_PROXY": "*"}
        done = subprocess.run(
            [str(self._executable), *arguments],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return Said(done.returncode, _COLOURS.sub("", done.stdout.decode(errors="replace")))

    def run(self, *arguments: str, timeout: float = 60) -> Said:
        """`try_`, of what must succeed."""
        said = self.try_(*arguments, timeout=timeout)
        assert said.code == 0, f"oak {' '.join(arguments)} ended with {said.code}:\n{said.text}"
        return said


def installed(folder: Path) -> Path:
    """The executable `oak` in a virtual environment in `folder`, made there unless an earlier run has.

    Skips the test, with the reason, when pip cannot install it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes want it too
        home = folder / "venv"
        made = home / "made"
        wanted = "\n".join((*BARE, *NEEDED))
        if not made.exists() or made.read_text() != wanted:
            _command(sys.executable, "-m", "venv", "--clear", str(home))
            pip = (str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            _command(*pip, "--no-deps", *BARE)
            _command(*pip, *NEEDED)
            made.write_text(wanted)
        return home / "bin" / "oak"


def _command(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"oak-cli cannot be installed: {' '.join(command)}: {done.stderr.strip()[-500:]}")


def free_address() -> str:
    """A loopback address of which port 10000 is free: since oak-cli's port is fixed, tests differ in the address."""
    for _ in range(1000):
        address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        try:
            with socket.create_server((address, PORT)):
                return address
        except OSError:
            continue
    raise AssertionError(f"port {PORT} is taken on a thousand loopback addresses")
