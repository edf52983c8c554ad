"""What instances print reaches a client through two levels, whatever breaks on the way, and disturbs nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mangrove.base.errors import Conflict, InvalidInput, NotFound, Unavailable
from mangrove.client.logs import LogLine, read_logs
from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.machine import Machine
from tests.e2e.programs import PATIENCE, eventually, reconnecting
from tests.e2e.tree import Tree, shell

#: Prints a numbered line ten times a second, and never ends.
TICKS = "n=0; while true; do echo tick $n; n=$((n+1)); sleep 0.1; done"
#: Prints as fast as it can until there is no reader for a while: 40 MB/s of numbered lines.
FLOOD = "exec yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"


#: Seconds, at both levels.
LEASE = 10.0


@pytest.fixture(scope="module", params=["mosquitto"])
def tree(plant: MakeTree, request: pytest.FixtureRequest) -> Tree:
    return plant(lease=LEASE, broker=request.param).start(alpha=["n1"])


@pytest.fixture
def service(tree: Tree, request: pytest.FixtureRequest) -> Iterator[str]:
    """A service of one instance that runs the script in the test's mark."""
    script = request.node.get_closest_marker("script").args[0]
    made = tree.deploy(*shell(script))
    tree.wait_running(made)
    yield made
    tree.client.undeploy(made)
    tree.wait_gone(made)


def texts(lines: Iterator[LogLine]) -> list[str]:
    return [line.line for line in lines]


def collected(tree: Tree, instance: str) -> tuple[list[LogLine], threading.Thread]:
    """What comes, in a list that grows until the instance is gone."""
    lines: list[LogLine] = []
    thread = threading.Thread(target=lambda: lines.extend(read_logs(tree.client, instance, follow=True)), daemon=True)
    thread.start()
    return lines, thread


@pytest.mark.script("echo one; echo two >&2; printf 'th\\303ree\\n'; exec sleep 1000")
def test_lines_as_text_and_as_json(tree: Tree, service: str) -> None:
    instance = f"{service}.0"
    lines = eventually(lambda: (found := list(read_logs(tree.client, instance)))[2:] and found, "three lines")
    assert [(line.stream, line.line) for line in lines] == [("stdout", "one"), ("stdout", "two"), ("stdout", "th�ree")]
    assert all(abs(line.time - time.time()) < 60 for line in lines)
    path = f"/api/v1/instances/{instance}/logs"
    assert list(tree.client.lines(path, accept="text/plain")) == [b"one", b"two", "th�ree".encode()]
    assert texts(read_logs(tree.client, instance, tail=1)) == ["th�ree"]
    assert texts(read_logs(tree.client, instance, since=lines[0].position)) == ["two", "th�ree"]
    assert len(texts(read_logs(tree.client, instance, since="1h"))) == 3
    assert len(texts(read_logs(tree.client, instance, since=f"{lines[0].time - 1:.3f}"))) == 3
    for wrong in ("yesterday", "p", "p1-x", "-1"):
        with pytest.raises(InvalidInput, match="since: must be like 10m"):
            texts(read_logs(tree.client, instance, since=wrong))
    with pytest.raises(NotFound, match=r"there is no instance .*\.7"):
        texts(read_logs(tree.client, f"{service}.7"))
    with pytest.raises(NotFound, match="there is no service"):
        texts(read_logs(tree.client, f"{'0' * 24}.0"))


@pytest.mark.script(TICKS)
def test_following_through_the_death_of_cluster_root_and_engine(tree: Tree, service: str) -> None:
    """Each line once and in order, whoever is killed."""
    lines, thread = collected(tree, f"{service}.0")
    eventually(lambda: len(lines) > 5, "the first lines")
    with reconnecting(tree.nodes["n1"]):
        tree.clusters["alpha"].kill()
        tree.clusters["alpha"].start()
    _goes_on(lines)
    tree.root.kill()
    tree.root.start()
    _goes_on(lines)
    tree.nodes["n1"].kill()
    tree.nodes["n1"].start()
    _goes_on(lines)
    tree.settle()
    tree.client.undeploy(service)
    thread.join(60)
    assert not thread.is_alive(), "an instance that is gone prints no more"
    assert [line.line for line in lines] == [f"tick {number}" for number in range(len(lines))]


def _goes_on(lines: list[LogLine]) -> None:
    now = time.time()
    eventually(lambda: lines[-1].time > now, "lines of after a death")


def test_a_failed_instance_can_still_be_read(tree: Tree) -> None:
    service = tree.deploy(*shell("echo about to fail; exit 3"))
    tree.wait_reason(service, "exit code 3")
    assert texts(read_logs(tree.client, f"{service}.0"))[0] == "about to fail"
    tree.client.undeploy(service)


def test_what_runs_nowhere_prints_nothing_and_says_why(tree: Tree) -> None:
    service = tree.deploy(constraints=[{"type": "direct", "node": "nosuchnode"}])
    tree.wait_reason(service, "nosuchnode")
    with pytest.raises((Conflict, Unavailable), match=r"runs nowhere yet|knows of no node"):
        texts(read_logs(tree.client, f"{service}.0"))
    tree.client.delete_service(service)


@pytest.mark.script(FLOOD)
def test_readers_that_never_read_hold_nothing_up(tree: Tree, service: str) -> None:
    """As many as there may be, at full speed: another reader gets its lines, the instance and the beats go on."""
    head = f"GET /api/v1/instances/{service}.0/logs?follow=true HTTP/1.1\r\nHost: x\r\n"
    asked = f"{head}Authorization: Bearer {_token(tree)}\r\n\r\n"
    host, _, port = tree.root.address.rpartition("/")[2].partition(":")
    stuck = []
    for _ in range(6):
        connection = socket.create_connection((host, int(port)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(asked.encode())
        stuck.append(connection)
    try:
        connected = {name: tree.program(name).connections() for name in ("alpha", "n1")}
        reader = read_logs(tree.client, f"{service}.0", follow=True)
        begun, count, ages = time.monotonic(), 0, []
        for line in reader:
            count += line.stream == "stdout"
            if count % 2000 == 0:
                ages.append(max(cluster.age for cluster in tree.client.clusters()))
            if count >= 100_000:
                break
        rate = count / (time.monotonic() - begun)
        reader.close()  # type: ignore[attr-defined]
        assert rate > 1000  # of the hundred thousand that it gives on a quiet machine
        assert max(ages) < LEASE, "a beat comes every 2 s"
        assert {name: tree.program(name).connections() for name in ("alpha", "n1")} == connected
        assert all(node.state == "live" for node in tree.client.nodes())
    finally:
        for connection in stuck:
            connection.close()
    instance = tree.wait_phase(service, Phase.RUNNING)
    assert instance.restarts == 0


@pytest.mark.script(TICKS)
def test_streams_beyond_the_bound_are_refused_with_a_sentence(tree: Tree, service: str) -> None:
    """First by the root, of one user; then by the node, of all."""
    readers = eventually(lambda: _as_many_as_there_may_be(tree, f"{service}.0"), "eight places")
    with pytest.raises(Unavailable, match="you have 8 streams open"):
        next(read_logs(tree.client, f"{service}.0", follow=True))
    for reader in readers:
        reader.close()  # type: ignore[attr-defined]
    eventually(lambda: _can_read(tree, f"{service}.0"), "places that are free again")


def _as_many_as_there_may_be(tree: Tree, instance: str) -> list[Iterator[LogLine]] | None:
    """Readers of one user, each of which has read; None while those of the tests before still have places."""
    readers = [read_logs(tree.client, instance, follow=True) for _ in range(8)]
    try:
        for reader in readers:
            next(reader)
    except Unavailable:
        for reader in readers:
            reader.close()  # type: ignore[attr-defined]
        return None
    return readers


def _can_read(tree: Tree, instance: str) -> bool:
    try:
        return bool(texts(read_logs(tree.client, instance, tail=1)))
    except Unavailable:
        return False


@pytest.mark.script("echo hello; n=0; while true; do echo tick $n; n=$((n+1)); sleep 0.1; done")
def test_the_command(tree: Tree, service: str, tmp_path: Path) -> None:
    tree.client.deploy(service)
    tree.wait_running(service, 2)
    for number in range(2):
        eventually(lambda n=number: texts(read_logs(tree.client, f"{service}.{n}"))[1:], "two lines")  # type: ignore[misc]
    machine = Machine(tmp_path, {"MANGROVE_PASSWORD": "Admin"})
    at = ("--root", tree.root.address)
    application = tree.client.application(tree.service(service).application).name
    one = machine.mangrove("logs", "--tail", "1000", f"{application}.web.1", *at)
    assert one.output.splitlines()[:2] == ["hello", "tick 0"]
    both = machine.mangrove("logs", f"{application}.web", *at).output.splitlines()
    assert {f"{application}.web.0 | hello", f"{application}.web.1 | hello"} <= set(both)
    documents = machine.mangrove("logs", service + ".0", "-o", "json", *at).output.splitlines()
    assert json.loads(documents[0])["line"] == "hello"
    with machine.begin("logs", "-f", f"{application}.web", *at) as process:
        assert process.stdout is not None
        seen: set[str] = set()
        while len(seen) < 2 and (line := process.stdout.readline()):
            seen.add(line.partition(" |")[0])
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert seen == {f"{application}.web.0", f"{application}.web.1"}
    wrong = machine.mangrove("logs", "nothing", *at, ok=False)
    assert wrong.code == 3
    assert "there is no service 'nothing'" in wrong.error


def _token(tree: Tree) -> str:
    with contextlib.closing(http.client.HTTPConnection(tree.root.address.rpartition("/")[2], timeout=30)) as connection:
        body = json.dumps({"username": "Admin", "password": "Admin"})
        connection.request("POST", "/api/auth/login", body, {"Content-Type": "application/json"})
        return str(json.loads(connection.getresponse().read())["token"])


def test_what_has_completed_can_still_be_read(tree: Tree) -> None:
    service = tree.deploy(*shell("echo done; echo well"), one_shot=True)
    tree.wait_phase(service, Phase.COMPLETED)
    eventually(lambda: not list((tree.nodes["n1"].data / "instances").iterdir()), "its files to be gone")
    lines = list(read_logs(tree.client, f"{service}.0", follow=True))
    assert [line.line for line in lines] == ["done", "well"]
    assert texts(read_logs(tree.client, f"{service}.0", since=lines[0].position)) == ["well"]
    tree.client.undeploy(service)
