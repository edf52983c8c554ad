"""Root, cluster and node as services of a systemd that really runs, from installing to the last trace."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mangrove.client.root import RootClient
from mangrove.model.phases import Phase
from tests.e2e.booted import Booted, booted, cannot_boot
from tests.e2e.programs import eventually
from tests.e2e.tree import process

#: What the only instance runs, so that it is found among all processes.
SLEEP = "98765.4321"


@pytest.fixture(scope="module")
def machine() -> Iterator[Booted]:
    if problem := cannot_boot():
        pytest.skip(problem)
    with tempfile.TemporaryDirectory(prefix="mangrove-booted-") as folder, booted(Path(folder)) as machine:
        yield machine


def sleepers(machine: Booted) -> list[str]:
    """Process ids of the instance in the machine, without its supervisor."""
    return machine.run("pgrep", "--full", "--exact", f"sleep {SLEEP}", check=False).split()


def test_from_installing_to_the_last_trace(machine: Booted, free_port: Callable[[], int]) -> None:
    port, node_port = free_port(), free_port()

    # The root, as a user of its own.
    said = machine.mangrove(
        "root", "install", "--host", "127.0.0.1", "--port", f"{port}", "--mqtt-port", f"{free_port()}"
    )
    assert "mangrove-root runs as mangrove-root" in said
    assert machine.run("stat", "-c", "%U %a", "/var/lib/mangrove/root").split() == ["mangrove-root", "700"]
    password = machine.run("cat", "/var/lib/mangrove/root/admin.password").strip()
    assert password not in machine.run("journalctl", "--no-pager", "--unit", "mangrove-root")
    client = RootClient(f"127.0.0.1:{port}")
    client.login("Admin", password)

    # A cluster.
    options = ("--host", "127.0.0.1", "--port", f"{node_port}", "--mqtt-port", f"{free_port()}")
    joining = ("--root", f"127.0.0.1:{port}", "--name", "alpha")
    machine.mangrove("cluster", "install", *joining, *options, MANGROVE_TOKEN=client.cluster_token(ttl=600).token)
    [cluster] = eventually(lambda: [each for each in client.clusters() if each.state == "live"], "the cluster")

    # A node. Nothing happens the second time.
    token = eventually(lambda: client.node_token(cluster.id, ttl=600), "a token").token
    node = ("node", "install", f"127.0.0.1:{node_port}", "--name", "n1", "--runtimes", "process")
    machine.mangrove(*node, MANGROVE_TOKEN=token)
    eventually(lambda: [node for node in client.nodes() if node.state == "live"], "the node")
    first = machine.shown("mangrove-node", "MainPID")
    again = machine.mangrove(*node)
    assert [line for line in again.splitlines() if not line.startswith("already so")] == [
        "mangrove-node runs as root. Its log: journalctl -u mangrove-node"
    ]
    assert machine.shown("mangrove-node", "MainPID") == first

    # What runs is no part of the service.
    sla = {
        "sla_version": "v2.0",
        "customerID": "Admin",
        "applications": [
            {
                "applicationID": "",
                "application_name": "app",
                "application_namespace": "test",
                "application_desc": "",
                "microservices": [dict(process("sleep", SLEEP))],
            }
        ],
    }
    [application] = client.create_applications(sla)
    [service] = application.services
    client.deploy(service)

    def phase() -> Phase:
        return client.service(service).instances[0].phase

    eventually(lambda: phase() is Phase.RUNNING, "the instance to run")
    running = sleepers(machine)
    assert len(running) == 1
    machine.run("systemctl", "restart", "mangrove-node")
    assert sleepers(machine) == running

    # A dead engine and one that is stuck are started anew.
    def started_anew(after: str) -> str:
        def another() -> str | None:
            now = machine.shown("mangrove-node", "MainPID")
            return (
                now if now not in (after, "0") and machine.shown("mangrove-node", "ActiveState") == "active" else None
            )

        return eventually(another, "the engine to be started anew", 60)

    quicker = machine.root / "etc/systemd/system/mangrove-node.service.d/quicker.conf"
    quicker.parent.mkdir()
    quicker.write_text("[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\nRestartSec=100ms\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "mangrove-node")
    for signal in ("KILL", "STOP"):
        before = machine.shown("mangrove-node", "MainPID")
        machine.run("kill", f"-{signal}", before)
        started_anew(before)
    assert "watchdog" in machine.run("journalctl", "--no-pager", "--unit", "mangrove-node").lower()
    assert sleepers(machine) == running
    eventually(lambda: phase() is Phase.RUNNING, "the instance to run still")

    # And off again.
    said = machine.mangrove("node", "uninstall", "--yes")
    assert said.endswith("Nothing of it is left on this machine.\n")
    assert not sleepers(machine)
    eventually(lambda: not list(client.nodes()), "the root to hear that the node has left")
    machine.mangrove("cluster", "uninstall", "--yes")
    machine.mangrove("root", "uninstall", "--yes")
    assert not [
        path for path in machine.changed.rglob("*mangrove*") if not path.is_relative_to(machine.changed / "opt")
    ]
    assert "mangrove" not in machine.run("ps", "ax", "-o", "user:20,args")
    assert "mangrove" not in machine.run("cat", "/etc/passwd", "/etc/group")


def test_keeping_what_runs(machine: Booted) -> None:
    assert machine.mangrove("node", "uninstall", "--keep", "--yes").endswith("takes it up again.\n")
