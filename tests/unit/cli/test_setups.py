"""A one-machine set-up in its folder: what is kept, what is refused, and what its programs are told."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mangrove.base.errors import Conflict, CorruptFile, InvalidInput, Unavailable
from mangrove.cli import setups
from mangrove.cli.setups import HOST, Setup


@pytest.fixture
def taken_port(free_port: Callable[[], int]) -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, free_port())) as listening:
        yield listening.getsockname()[1]


def test_what_is_made_is_found_again_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "here"
    made = setups.create(folder, port=0, clusters=2, nodes=3, runtimes="process", lease=4.0)
    assert setups.load(folder) == made
    assert len(setups.password_in(folder)) >= 16
    assert {path.name for path in folder.iterdir()} == {"setup.json", "admin.password"}
    for path in (folder, *folder.iterdir()):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


def test_no_two_have_the_same_id_or_password(tmp_path: Path) -> None:
    made = [setups.create(tmp_path / name, port=0) for name in ("one", "two")]
    assert made[0].id != made[1].id
    assert setups.password_in(tmp_path / "one") != setups.password_in(tmp_path / "two")


def test_oakestras_password_only_when_it_is_asked_for(tmp_path: Path) -> None:
    setup = setups.create(tmp_path / "one", port=0, default_admin=True)
    assert setups.password_in(tmp_path / "one") == "Admin"
    assert "--allow-default-admin" in setups.programs(tmp_path, setup)[0].arguments
    setup = setups.create(tmp_path / "two", port=0)
    root = setups.programs(tmp_path / "two", setup)[0]
    assert "--allow-default-admin" not in root.arguments
    assert root.arguments[root.arguments.index("--admin-password-file") + 1] == str(tmp_path / "two/admin.password")


def test_there_is_none_where_nothing_was_made(tmp_path: Path) -> None:
    assert setups.load(tmp_path) is None
    assert setups.load(tmp_path / "missing") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x", "port": "10000"}'])
def test_a_damaged_one_is_said_and_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "setup.json").write_text(content)
    with pytest.raises(CorruptFile, match=r"setup\.json cannot be read"):
        setups.load(tmp_path)
    assert (tmp_path / "setup.json").read_text() == content


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(Conflict, match="holds something else"):
        setups.create(tmp_path, port=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_taken_port_is_named_and_nothing_is_made(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(Unavailable, match=f"port {taken_port} is in use .* --port 0"):
        setups.create(tmp_path / "new", port=taken_port - 3)
    assert not (tmp_path / "new").exists()


def test_ports_that_are_in_use_are_not_chosen(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    monkeypatch.setattr(setups, "_PORTS", range(taken_port - 2, taken_port + 198))
    first = setups.free_ports(3)
    assert taken_port not in range(first, first + 3)
    with socket.create_server((HOST, first + 1)):
        assert not setups.is_free(first + 1)
        assert setups.is_free(first)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"clusters": 0}, "--clusters: must be 1 to 20, not 0"),
        ({"clusters": 21}, "--clusters: must be 1 to 20, not 21"),
        ({"nodes": 0}, "--nodes: must be 1 to 50, not 0"),
        ({"nodes": -1}, "--nodes"),
        ({"port": 65534}, "--port: 65534 leaves too few ports above it; 4 are needed"),
    ],
)
def test_wishes_that_cannot_be_met_name_the_option(tmp_path: Path, wishes: dict[str, int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        setups.create(tmp_path / "new", **{"port": 0, **wishes})  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_it_grows_and_does_not_shrink() -> None:
    setup = Setup("a" * 24, 12000, clusters=2, nodes=2, runtimes="docker")
    assert setups.changed(setup, None, None, None) == setup
    larger = setups.changed(setup, 3, None, "process")
    assert (larger.clusters, larger.nodes, larger.runtimes) == (3, 2, "process")
    with pytest.raises(InvalidInput, match="--nodes: this set-up has 2 and cannot shrink to 1"):
        setups.changed(setup, 3, 1, None)
    for clusters in (0, 50):
        with pytest.raises(InvalidInput, match=f"--clusters: must be 1 to 20, not {clusters}"):
            setups.changed(setup, clusters, None, None)


def test_its_programs_have_folders_logs_and_ports_of_their_own(tmp_path: Path) -> None:
    setup = Setup("a" * 24, 12000, clusters=2, nodes=2, runtimes="process", lease=4.0)
    programs = {program.name: program for program in setups.programs(tmp_path, setup)}
    nodes = ["node-1-1", "node-1-2", "node-2-1", "node-2-2"]
    assert list(programs) == ["root", "cluster-1", "cluster-2", *nodes]
    assert len({program.data for program in programs.values()} | {p.log for p in programs.values()}) == 14
    ports = [port for program in programs.values() for port in program.ports]
    assert ports == list(range(12000, 12006))
    assert programs["node-2-1"].parent == "cluster-2"
    assert programs["node-2-1"].arguments[:4] == ("--name", "node-2-1", "--cluster", "127.0.0.1:12004")
    for name in ("root", "cluster-1", "cluster-2"):
        arguments = programs[name].arguments
        assert arguments[arguments.index("--lease") + 1] == "4"
        assert arguments[arguments.index("--host") + 1] == HOST


def test_growing_changes_nothing_of_what_is_there(tmp_path: Path) -> None:
    setup = Setup("a" * 24, 12000, clusters=1, nodes=1)
    before = setups.programs(tmp_path, setup)
    after = setups.programs(tmp_path, setups.changed(setup, 3, 2, None))
    assert set(before) < set(after)


def test_the_docker_engine_meant_at_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/other.sock")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")
    assert setups.create(tmp_path, port=0).environment == {"DOCKER_HOST": "unix:///run/other.sock"}
