"""`mangrove doctor`: what it finds, and what it advises."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mangrove.cli import checks
from mangrove.client.http import HttpClient, parse_address
from mangrove.link.brokers import mosquitto, nats
from tests.unit.cli.conftest import CommandLine, Served


def found(cli: CommandLine, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    said = cli("doctor", "-o", "json", *arguments)
    return said.code, {each["check"]: each for each in json.loads(said.output)}


def test_all_is_looked_at_and_what_is_well_needs_nothing(cli: CommandLine, served: Served) -> None:
    cli("login", served.address, "--password-stdin", stdin="Admin")
    _, said = found(cli)
    names = {
        "python",
        "broker",
        "ports of a root",
        "ports of a cluster",
        "kernel",
        "containers",
        "disk",
        "memory",
        "open files",
        "logins",
    }
    assert names | {"root", "clock", "broker of the root", "login"} == said.keys()
    assert said["root"]["found"].startswith(f"http://{served.address} answers: root")
    assert said["clock"]["state"] == "well"
    assert said["login"]["state"] == "well"
    assert "what to do" in cli("doctor").output


def test_a_root_that_does_not_answer_is_trouble(cli: CommandLine, free_port: Callable[[], int]) -> None:
    port = free_port()
    code, said = found(cli, "--root", f"127.0.0.1:{port}")
    assert code == 1
    assert said["root"]["state"] == "trouble"
    assert "nothing listens" in said["root"]["found"]
    assert "root" not in found(cli, "--offline", "--root", f"127.0.0.1:{port}")[1]


def test_a_login_that_has_ended_is_trouble(cli: CommandLine, served: Served) -> None:
    cli("login", served.address, "--password-stdin", stdin="Admin")
    served.api.clock.advance_to(served.api.clock.now() + 365 * 24 * 3600)
    code, said = found(cli)
    assert code == 1
    assert (said["login"]["state"], said["login"]["advice"]) == ("trouble", "mangrove login")


@pytest.mark.parametrize(
    ("off", "state", "words"),
    [(0, "well", "agrees"), (-3600, "trouble", "s behind the root's"), (3600, "trouble", "s ahead of the root's")],
)
def test_clocks(served: Served, off: float, state: str, words: str) -> None:
    said = checks.clock(HttpClient(parse_address(served.address, 1)), time.time() + off)
    assert said.state == state
    assert words in said.found


Space = namedtuple("Space", "total used free")


@pytest.mark.parametrize(("free", "state"), [(10**12, "well"), (500 * 1024**2, "note"), (10**6, "trouble")])
def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Space(0, 0, free))
    said = checks.disk(tmp_path / "not" / "yet")
    assert said.state == state
    assert str(tmp_path) in said.found


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("MemTotal: 9\nMemAvailable:   8000000 kB\n", "well"),
        ("MemAvailable: 300000 kB\n", "note"),
        ("MemAvailable: 1000 kB\n", "trouble"),
        ("MemAvailable: much\n", "note"),
        ("", "note"),
    ],
)
def test_memory(tmp_path: Path, text: str, state: str) -> None:
    table = tmp_path / "meminfo"
    table.write_text(text)
    assert checks.memory(table).state == state


def test_logins_that_others_may_read(cli: CommandLine, served: Served) -> None:
    assert checks.privacy().found == "none is kept here"
    cli("login", served.address, "--password-stdin", stdin="Admin")
    assert checks.privacy().state == "well"
    cli.contexts.chmod(0o644)
    assert checks.privacy().advice == f"chmod 600 {cli.contexts}"


def test_a_port_that_something_else_has(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, served: Served, free_port: Callable[[], int]
) -> None:
    monkeypatch.setattr(checks, "DEFAULT_PORT", int(served.address.rpartition(":")[2]))
    monkeypatch.setattr(checks, "_LOCAL", 30.0)
    with socket.create_server(("", free_port())) as other:
        monkeypatch.setattr(checks, "CLUSTER_PORT", other.getsockname()[1])

        def hang_up() -> None:
            with suppress(OSError):  # this is over
                while True:
                    other.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        root, cluster = checks.ports(cli.home)
        other.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    assert root.state == "well"
    assert "the root of Mangrove listens here" in root.found
    assert cluster.state == "note"
    assert "--port" in cluster.advice


def test_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosquitto, "find", lambda: "")
    monkeypatch.setattr(nats, "find", lambda: "")
    assert checks.broker().advice.startswith("a root or cluster needs one")


@contextmanager
def engine(path: Path, answer: bytes) -> Iterator[None]:
    """Something that gives each connection to a Unix socket the same answer."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "state"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", "well"), (b"SSH-2.0\r\n", "note"), (b"", "note")],
)
def test_container_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bytes, state: str) -> None:
    path = tmp_path / "engine.sock"
    monkeypatch.setattr(checks, "_sockets", lambda: [tmp_path / "none.sock", path])
    monkeypatch.setattr(checks, "_LOCAL", 30.0)
    with engine(path, answer):
        assert checks.containers().state == state


def test_an_engine_that_one_may_not_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(checks, "_pings", refuse)
    monkeypatch.setattr(checks, "_sockets", lambda: [tmp_path])
    assert "sudo usermod -aG" in checks.containers().advice


def test_where_engines_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///my/docker.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    places = [str(path) for path in checks._sockets()]
    assert places[0] == "/my/docker.sock"
    assert "/run/user/7/podman/podman.sock" in places
    assert os.path.isabs(places[-1])
