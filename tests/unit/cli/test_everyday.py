"""`mangrove nodes`, `services` and `deploy` against a root that is played."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from mangrove.base.errors import InvalidInput
from mangrove.cli import options
from mangrove.cli.main import main
from mangrove.client.documents import Application, Instance, Node, Place, Service, ServiceSummary
from mangrove.model.phases import Phase

APPLICATION = Application("a" * 24, "pulse", "demo")


class FakeRoot:
    """A root with one application of two services, once that is declared."""

    def __init__(self, address: str = "") -> None:
        self.declared: Any = None
        self.deployed: list[str] = []
        self.known: list[Node] = []

    def __call__(self, address: str, **more: object) -> FakeRoot:
        return self

    def login(self, user: str, password: str) -> None:
        """Anybody may."""

    def nodes(self) -> list[Node]:
        return self.known

    def applications(self) -> list[Application]:
        return [APPLICATION] if self.declared is not None else []

    def create_applications(self, sla: Any) -> list[Application]:
        if not isinstance(sla, dict):
            raise InvalidInput("", "an SLA is an object")
        self.declared = sla
        return self.applications()

    def services(self, application: str) -> list[ServiceSummary]:
        word = {"instance_number": 0, "status": "RUNNING", "status_detail": "No extra information"}
        return [
            ServiceSummary(name, name, "demo", application, instances=(word,) * self.deployed.count(name))
            for name in ("board", "sensor")
        ]

    def deploy(self, service: str) -> int:
        self.deployed.append(service)
        return 0

    def service(self, id: str) -> Service:
        placed = Instance(0, Phase.RUNNING, cluster=Place("c", "north"), node=Place("n", "north-1"))
        return Service(id, id, "demo", APPLICATION.id, "Admin", instances=(placed,) * self.deployed.count(id))


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> FakeRoot:
    fake = FakeRoot()
    monkeypatch.setattr(options, "RootClient", fake)
    monkeypatch.setenv("MANGROVE_ROOT", "far:1")
    monkeypatch.setenv("MANGROVE_PASSWORD", "secret")
    return fake


def run(*arguments: str, stdin: str | bytes = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments, input=stdin)
    return done.exit_code, done.stdout, done.stderr


def test_deploying_creates_what_is_declared_and_runs_each_service_once(root: FakeRoot) -> None:
    code, output, hint = run("deploy", "-", stdin=json.dumps({"applications": []}))
    assert code == 0
    assert root.declared == {"applications": []}
    assert output == "pulse: board, instance 0, is requested\npulse: sensor, instance 0, is requested\n"
    assert "mangrove services" in hint
    lines = [line for line in run("services")[1].splitlines() if "RUNNING" in line]
    assert len(lines) == 2
    assert all("north-1" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "FILE: is not JSON"),
        (b"\xff\xfe", "FILE: is not JSON"),
        (b"[]", "an SLA is an object"),
        (b"x" * (1024 * 1024 + 1), "FILE: is larger than 1048576 bytes"),
    ],
)
def test_what_cannot_be_deployed_changes_nothing(root: FakeRoot, text: bytes, said: str) -> None:
    code, _, error = run("deploy", "-", stdin=text)
    assert code == 2
    assert said in error
    assert root.declared is None
    assert root.deployed == []


def test_a_file_that_is_not_there(root: FakeRoot) -> None:
    code, _, error = run("deploy", "missing.json")
    assert code == 2
    assert "missing.json" in error


def test_where_there_is_nothing_the_next_step_is_told(root: FakeRoot) -> None:
    assert "mangrove node token" in run("nodes")[1]
    assert "mangrove deploy FILE" in run("services")[1]
    root.declared = {}
    assert run("services")[1] == "No instance is wanted of any service.\n"


def test_nodes(root: FakeRoot) -> None:
    root.known = [Node("n", "north-1", "live", Place("c", "north"))]
    assert "north-1" in run("nodes")[1]
