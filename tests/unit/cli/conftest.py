"""The command line as a user types it, in a home of its own, and a real API for it to talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mangrove import __version__
from mangrove.cli.main import main
from mangrove.network.layout import layout_of
from mangrove.roles.http_server import serve
from mangrove.roles.routes import OPEN, Route
from tests.root_api import RootApi


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it wrote."""

    code: int
    output: str
    error: str


@dataclass
class CommandLine:
    """Runs commands; environment: of all of them."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str | bytes = "", **environment: str) -> Said:
        done = CliRunner().invoke(main, arguments, input=stdin, env={**self.environment, **environment})
        assert "Traceback" not in done.output
        return Said(done.exit_code, done.stdout, done.stderr)

    @property
    def contexts(self) -> Path:
        """The file of logins."""
        return self.home / "config" / "mangrove" / "contexts.json"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    for name in ("DIR", "ROOT", "CONTEXT", "USER", "PASSWORD", "DEBUG"):
        monkeypatch.delenv(f"MANGROVE_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path)


@dataclass(frozen=True)
class Served:
    """An API on a store in memory that listens at `address`."""

    api: RootApi
    address: str
    stop: Callable[[], None]


def version() -> dict[str, Any]:
    return {"program": "root", "name": "root", "software": __version__, "protocols": [1]}


def live() -> dict[str, str]:
    return {"message": "alive"}


@pytest.fixture
def served() -> Iterator[Served]:
    routes = [Route("GET", "/api/v1/version", version, OPEN, "Version"), Route("GET", "/livez", live, OPEN, "Alive")]
    api = RootApi(more_routes=routes, layout=layout_of())
    server = serve(api.app, "127.0.0.1", 0, threads=4)
    yield Served(api, f"127.0.0.1:{server.port}", server.stop)
    server.stop()


@pytest.fixture
def root(served: Served, cli: CommandLine) -> RootApi:
    """The API that all commands talk to, as Admin."""
    done = cli("login", served.address, "--password-stdin", stdin="Admin\n")
    assert done.code == 0, done.error
    return served.api
