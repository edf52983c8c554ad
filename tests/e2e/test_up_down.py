"""`mangrove up` and `down`: a set-up on one machine that is kept, beside others, and that stops completely."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from examples.image import IMAGE, ensure_image
from mangrove.cli.options import RootOptions
from mangrove.client.documents import Instance
from mangrove.client.root import RootClient
from mangrove.client.wait import wait_until
from mangrove.model.phases import Phase
from node_engine.runtimes.interface import LABEL_NODE
from tests.e2e.machine import Machine, sla

PATIENCE = 60.0

#: Appends a line at each start.
COUNTER = {
    "microservice_name": "counter",
    "virtualization": "process",
    "code": "",
    "cmd": ["/bin/sh", "-c", 'echo "$MANGROVE_ATTEMPT" >>"$STARTS"; exec sleep 1000'],
}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.end()


def up(machine: Machine, folder: Path, *options: str) -> RootClient:
    """Bring a set-up up; a client that is logged in to it by what it keeps."""
    machine.mangrove("up", "--dir", str(folder), *options)
    return RootOptions(None, "Admin", None, folder).connect()


def down(machine: Machine, folder: Path) -> str:
    return machine.mangrove("down", "--dir", str(folder)).output


def deploy(machine: Machine, folder: Path, name: str, service: dict[str, Any]) -> None:
    file = machine.home / f"{name}.json"
    file.write_text(sla(name, service))
    machine.mangrove("deploy", "--dir", str(folder), str(file))


def counting(machine: Machine, name: str) -> tuple[dict[str, Any], Callable[[], list[str]]]:
    """The counter as a service, and what it has counted: the attempt of each start."""
    starts = machine.home / f"{name}-starts"
    starts.touch()
    return {**COUNTER, "environment": [f"STARTS={starts}"]}, lambda: starts.read_text().split()


def instance_of(client: RootClient) -> Instance:
    """The only instance there is."""
    [service] = client.services()
    [instance] = client.service(service.id).instances
    return instance


def wait_running(client: RootClient, restarts: int = 0) -> Instance:
    """The only instance, once it runs after so many restarts."""

    def look() -> Instance | None:
        instance = instance_of(client)
        return instance if (instance.phase, instance.restarts) == (Phase.RUNNING, restarts) else None

    found = wait_until(look, PATIENCE, what="the instance to run", interval=0.05)
    assert found is not None
    return found


def programs(machine: Machine, folder: Path) -> dict[str, psutil.Process]:
    """The programs of a set-up that run, by name."""
    found = {}
    for process in machine.processes():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "--data-dir" in command and command[command.index("--data-dir") + 1].startswith(f"{folder}/"):
                found[Path(command[command.index("--data-dir") + 1]).name] = process
    return found


def test_what_was_deployed_runs_again_after_down_and_up(machine: Machine) -> None:
    folder = machine.home / "setup"
    said = machine.mangrove("up", "--dir", str(folder), "--port", "0", "--runtimes", "process")
    client = RootOptions(None, "Admin", None, folder).connect()
    [address] = re.findall(r"The root listens on (http://127\.0\.0\.1:\d+)", said.output)
    [password] = re.findall(r"with the password (\S+)", said.output)
    assert password == (folder / "admin.password").read_text().strip()
    assert "RUNNING" not in machine.mangrove("instance", "list", "--root", address, "--password", password).output
    for log in folder.glob("*.log"):
        assert password not in log.read_text()
        assert "mgv-" not in log.read_text()

    service, starts = counting(machine, "first")
    deploy(machine, folder, "first", service)
    first = wait_running(client)
    identities = {cluster.id for cluster in client.clusters()}, {node.id for node in client.nodes()}
    assert [
        line
        for line in machine.mangrove("instance", "list", "--dir", str(folder)).output.splitlines()
        if "RUNNING" in line
    ]

    assert "Stopped a root, 1 cluster and 1 node" in down(machine, folder)
    assert machine.processes() == []
    assert "Nothing of the set-up" in down(machine, folder)
    error = machine.mangrove("instance", "list", "--dir", str(folder), ok=False).error
    assert f"`mangrove up --dir {folder}` starts it." in error

    # The options of the first time are remembered, and nothing is shown twice.
    said = machine.mangrove("up", "--dir", str(folder))
    assert address in said.output
    assert password not in said.all
    client = RootOptions(None, "Admin", None, folder).connect()
    again = wait_running(client, restarts=1)
    assert (again.number, again.attempt, again.failures) == (0, first.attempt, 0)
    assert len(starts()) == 2
    assert ({cluster.id for cluster in client.clusters()}, {node.id for node in client.nodes()}) == identities

    # Up again changes nothing that runs.
    before = {process.pid for process in machine.processes()}
    machine.mangrove("up", "--dir", str(folder))
    assert {process.pid for process in machine.processes()} == before
    assert wait_running(client, restarts=1).since == again.since
    down(machine, folder)
    assert machine.processes() == []


def test_after_a_crash_of_everything_up_goes_on_and_down_leaves_nothing(machine: Machine) -> None:
    folder = machine.home / "setup"
    client = up(machine, folder, "--port", "0", "--runtimes", "process")
    service, starts = counting(machine, "first")
    deploy(machine, folder, "first", service)
    wait_running(client)

    # The programs die, the instance goes on, and is found again.
    for process in programs(machine, folder).values():
        process.kill()
    assert len(machine.instances()) >= 2
    client = up(machine, folder)
    wait_running(client)
    assert len(starts()) == 1

    # Also without any program the instances are stopped.
    for process in programs(machine, folder).values():
        process.kill()
    wait_until(lambda: not programs(machine, folder), PATIENCE, what="the programs to die")
    down(machine, folder)
    assert machine.processes() == []
    client = up(machine, folder)
    wait_running(client, restarts=1)
    assert len(starts()) == 2
    down(machine, folder)


def test_two_set_ups_side_by_side_know_nothing_of_each_other(machine: Machine) -> None:
    folders = [machine.home / name for name in ("one", "two")]
    clients, counts = [], []
    for folder in folders:
        clients.append(up(machine, folder, "--port", "0", "--runtimes", "process"))
        service, starts = counting(machine, folder.name)
        deploy(machine, folder, folder.name, service)
        counts.append(starts)
    for client in clients:
        wait_running(client)
    setups = [json.loads((folder / "setup.json").read_text()) for folder in folders]
    assert setups[0]["port"] != setups[1]["port"]
    ids = [{node.id for node in client.nodes()} for client in clients]
    assert [len(each) for each in ids] == [1, 1]
    assert not ids[0] & ids[1]

    down(machine, folders[0])
    assert set(programs(machine, folders[0])) == set()
    assert set(programs(machine, folders[1])) == {"root", "cluster-1", "node-1-1"}
    assert wait_running(clients[1])
    assert [len(count()) for count in counts] == [1, 1]
    down(machine, folders[1])


def test_it_grows_and_tokens_let_others_join(machine: Machine) -> None:
    folder = machine.home / "setup"
    client = up(machine, folder, "--port", "0", "--runtimes", "process")
    here = ("--dir", str(folder))
    machine.mangrove("up", *here, "--clusters", "2", "--nodes", "2")
    assert sorted(node.name for node in client.nodes()) == ["node-1-1", "node-1-2", "node-2-1", "node-2-2"]
    assert {cluster.state for cluster in client.clusters()} == {"live"}
    error = machine.mangrove("up", *here, "--nodes", "1", ok=False).error
    assert "--nodes: this set-up has 2 and cannot shrink to 1" in error
    assert "--port: this set-up has its root on" in machine.mangrove("up", *here, "--port", "9", ok=False).error

    # Tokens, alone on standard output so that they can be piped.
    cluster = machine.mangrove("cluster", "token", *here, "--ttl", "5m")
    node = machine.mangrove("node", "token", *here, "--cluster", "cluster-2", "--uses", "1")
    port = json.loads((folder / "setup.json").read_text())["port"]
    address = f"127.0.0.1:{port + 2}"
    local = machine.mangrove("node", "token", "--data-dir", str(folder / "cluster-1"), "--address", address)
    for said in (cluster, node, local):
        assert re.fullmatch(r"mgv-[0-9a-f]{24}-[0-9a-f]{32}\n", said.output)
    error = machine.mangrove("node", "token", *here, ok=False).error
    assert error == "Error: --cluster: name the cluster that the node shall join (cluster-1, cluster-2)\n"
    assert "'nowhere'" in machine.mangrove("node", "token", *here, "--cluster", "nowhere", ok=False).error

    # What is revoked lets nobody in; the other one does, once.
    id = local.output.split("-")[1]
    data = ("--data-dir", str(folder / "cluster-1"), "--address", address)
    machine.mangrove("node", "token", *data, "--revoke", id)
    new = ("node", "join", address, "--data-dir", str(machine.home / "new"))
    assert "was revoked" in machine.mangrove(*new, "--token", local.output.strip(), ok=False).error
    elsewhere = ("node", "join", f"127.0.0.1:{port + 4}", "--data-dir", str(machine.home / "new"), "--name", "new")
    assert "new has joined cluster-2" in machine.mangrove(*elsewhere, "--token", node.output.strip()).output
    machine.mangrove("cluster", "token", *here, "--revoke", cluster.output.split("-")[1])
    down(machine, folder)


def test_a_port_that_is_taken_is_named_and_nothing_is_left_half_done(
    machine: Machine, free_port: Callable[[], int]
) -> None:
    folder = machine.home / "setup"
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        said = machine.mangrove("up", "--dir", str(folder), "--port", str(port), ok=False)
    assert said.code == 5
    assert f"port {port} is in use" in said.error
    assert not folder.exists()
    assert machine.processes() == []

    # A port that somebody took while the set-up was down.
    client = up(machine, folder, "--port", "0", "--runtimes", "process")
    assert list(client.nodes())
    down(machine, folder)
    port = json.loads((folder / "setup.json").read_text())["port"] + 3
    with socket.create_server(("127.0.0.1", port)):
        said = machine.mangrove("up", "--dir", str(folder), ok=False)
    assert f"port {port}, which cluster-1 of this set-up uses, is taken" in said.error
    assert "What has started runs on; `mangrove down" in said.error
    up(machine, folder)
    down(machine, folder)


def test_a_program_that_dies_at_its_start_is_shown_with_what_it_said(machine: Machine) -> None:
    folder = machine.home / "setup"
    said = machine.mangrove("up", "--dir", str(folder), "--port", "0", "--runtimes", "dokcer", ok=False)
    assert "node-1-1 has ended" in said.error
    assert "--runtimes: 'dokcer' is not one of" in said.error
    # What was mistyped can be mended, and the password is shown when it has come up.
    said = machine.mangrove("up", "--dir", str(folder), "--runtimes", "process")
    assert (folder / "admin.password").read_text().strip() in said.output
    down(machine, folder)
    (folder / "cluster-1" / "cluster.db").write_bytes(b"this is no database" * 100)
    said = machine.mangrove("up", "--dir", str(folder), ok=False)
    assert said.code == 1
    assert f"cluster-1 has ended; {folder}/cluster-1.log says last:" in said.error
    assert "mangrove-cluster: " in said.error
    assert "cluster.db" in said.error
    assert "Traceback" not in said.error
    down(machine, folder)


def test_where_nothing_was_made_there_is_nothing_to_stop(machine: Machine) -> None:
    assert "There is no set-up in" in machine.mangrove("down").output
    assert list(machine.home.iterdir()) == []


def test_one_command_at_a_time(machine: Machine) -> None:
    folder = machine.home / "setup"
    with machine.begin("up", "--dir", str(folder), "--port", "0", "--runtimes", "process") as first:
        wait_until(lambda: machine.processes() and (folder / "root.log").exists(), PATIENCE, what="the root to start")
        said = machine.mangrove("down", "--dir", str(folder), ok=False)
        assert "another command is bringing" in said.error
        assert first.wait(PATIENCE) == 0
        assert first.communicate() is not None
    down(machine, folder)


@pytest.mark.docker
def test_containers_stop_with_down_and_run_again_with_up(machine: Machine, docker_host: str) -> None:
    folder = machine.home / "setup"
    with contextlib.closing(docker.DockerClient(base_url=docker_host)) as engine:
        ensure_image(engine)
        machine.environment["DOCKER_HOST"] = docker_host
        client = up(machine, folder, "--port", "0", "--runtimes", "docker")
        service = {
            "microservice_name": "sleeper",
            "virtualization": "container",
            "code": IMAGE,
            "cmd": ["python3", "-c", "import signal, sys; signal.signal(15, lambda *_: sys.exit()); signal.pause()"],
        }
        deploy(machine, folder, "containers", service)
        wait_running(client)
        assert [container.status for container in engine.containers.list(filters={"label": LABEL_NODE})] == ["running"]
        # Which engine it was is kept with the set-up.
        del machine.environment["DOCKER_HOST"]
        down(machine, folder)
        assert engine.containers.list(all=True, filters={"label": LABEL_NODE}) == []
        client = up(machine, folder)
        wait_running(client, restarts=1)
        assert [container.status for container in engine.containers.list(filters={"label": LABEL_NODE})] == ["running"]
        down(machine, folder)
        assert engine.containers.list(all=True, filters={"label": LABEL_NODE}) == []
