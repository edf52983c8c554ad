"""The life of services as real processes, from the root's API to what the kernel says, and back."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from mangrove.base.errors import NotFound
from mangrove.client.documents import Instance
from mangrove.model.phases import Phase
from node_engine.runtimes.cgroups import ControlGroups
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import eventually, lives
from tests.e2e.tree import Tree, process, shell


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with two nodes."""
    return plant().start(alpha=["n1", "n2"])


@pytest.fixture(autouse=True)
def nothing_left(tree: Tree) -> Iterator[None]:
    """After each test all is removed again: every process that an application had, within seconds."""
    before = {name: pid for name, pid in tree.pids().items() if name != "late"}
    yield
    for application in tree.client.applications():
        tree.client.delete_application(application.id)
    eventually(lambda: not tree.running(), "all processes to be gone")
    nodes = tree.nodes.values()
    eventually(lambda: not any(node.processes() for node in nodes), "all supervisors to be gone")
    folders = [node.data / "instances" for node in nodes]
    eventually(lambda: not any(list(folder.iterdir()) for folder in folders), "all folders to be gone")
    pids = tree.pids()
    assert {name: pids.get(name) for name in before} == before  # nothing died of it


def limits() -> bool:
    """Whether memory limits of processes hold on this machine."""
    groups = ControlGroups.find("mangrove-test-probe")
    permitted = groups is not None and not groups.why_not()
    if groups is not None:
        groups.tidy()
    return permitted


def test_what_the_api_calls_running_is_a_process_that_is_as_the_user_asked(tree: Tree, tmp_path: Path) -> None:
    service = tree.deploy(
        "sleep", "1234", environment=["GREETING=hello world", "HOSTNAME=mine", "EMPTY="], memory=64, vcpus=1
    )
    [instance] = tree.wait_running(service)
    said = tree.instances(service)[0]
    assert tree.summary(service) == ("RUNNING", "No extra information")
    assert said.node is not None
    assert said.cluster is not None
    node = tree.nodes[instance.node]
    assert (said.node.name, said.cluster.name, said.node.id) == (instance.node, "alpha", node.identity.child)
    assert (said.reason, said.restarts, said.failures, said.exit_code) == ("", 0, 0, None)
    assert 0 <= time.time() - said.since < 60

    [pid] = instance.pids
    real = psutil.Process(pid)
    assert real.cmdline() == ["sleep", "1234"]
    environment = real.environ()
    expected = {
        "GREETING": "hello world",
        "HOSTNAME": "mine",  # what the user says wins
        "EMPTY": "",
        "MANGROVE_SERVICE": service,
        "MANGROVE_INSTANCE": "0",
        "MANGROVE_ATTEMPT": instance.attempt,
        "MANGROVE_EPOCH": "1",
        "MANGROVE_NODE": node.identity.child,
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert {key: environment.get(key) for key in expected} == expected
    work = node.data / "instances" / instance.attempt / "work"
    assert Path(real.cwd()) == work
    assert environment["HOME"] == str(work)
    for engine_own in ("PYTHONUNBUFFERED", "PYTEST_CURRENT_TEST"):
        assert engine_own not in environment  # what is the engine's own is nobody else's
    usage = eventually(lambda: tree.instances(service)[0].usage, "figures of the instance")
    assert 0 < usage.memory < 64 * 2**20


def test_what_instances_write_is_kept_beside_them(tree: Tree) -> None:
    service = tree.deploy(*shell("echo from $HOSTNAME; pwd; touch made; echo bad >&2; exec sleep 1000"), instances=2)
    for instance in tree.wait_running(service, 2):
        folder = tree.nodes[instance.node].data / "instances" / instance.attempt
        log = folder / "output.log"
        eventually(partial(_ends_with, log, "bad"), "its output")
        assert log.read_text().splitlines() == [f"from instance-{instance.number}", str(folder / "work"), "bad"]
        assert (folder / "work" / "made").exists()


def _ends_with(log: Path, line: str) -> bool:
    return log.read_text().endswith(f"{line}\n")


def test_one_shot_completes_and_never_runs_again(tree: Tree, tmp_path: Path) -> None:
    service = tree.deploy(*shell(f"echo ran >> {tmp_path}/runs"), one_shot=True)
    instance = tree.wait_phase(service, Phase.COMPLETED)
    assert (instance.exit_code, instance.restarts) == (0, 0)
    assert tree.summary(service)[0] == "COMPLETED"
    assert (tmp_path / "runs").read_text() == "ran\n"
    # Another one of the same service is a new instance, and leaves the first alone.
    assert tree.client.deploy(service) == 1
    tree.wait_phase(service, Phase.COMPLETED, 1)
    assert (tmp_path / "runs").read_text() == "ran\nran\n"
    assert tree.instances(service)[0].phase is Phase.COMPLETED


def test_one_shot_that_fails_is_tried_again_until_it_succeeds(tree: Tree, tmp_path: Path) -> None:
    service = tree.deploy(
        *shell(f"echo ran >> {tmp_path}/runs; test $(wc -l < {tmp_path}/runs) -ge 2 || exit 5"), one_shot=True
    )
    instance = tree.wait_phase(service, Phase.COMPLETED)
    assert (tmp_path / "runs").read_text() == "ran\nran\n"
    assert (instance.restarts, instance.exit_code) == (1, 0)


def test_what_ends_is_started_again_in_place_after_a_growing_delay(tree: Tree, tmp_path: Path) -> None:
    log = tmp_path / "starts"
    service = tree.deploy(*shell(f'echo "$(date +%s.%N) $MANGROVE_ATTEMPT $MANGROVE_NODE" >> {log}; exit 3'))
    # Not the first failure: its words last for a second alone.
    instance = tree.wait_reason(service, "exit code 3; failure 3 of 6, tried again after 4 s")
    assert tree.summary(service) == ("FAILED", instance.reason)
    assert (instance.phase, instance.exit_code, instance.restarts) == (Phase.BACKING_OFF, 3, 2)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({(attempt, node) for _, attempt, node in lines}) == 1  # in place: the same attempt on the same node
    first, second, third = (float(line[0]) for line in lines[:3])
    assert second - first >= 1.0
    assert third - second >= 2.0


def test_what_runs_after_failures_says_how_often_it_was_started(tree: Tree, tmp_path: Path) -> None:
    marker = tmp_path / "second"
    service = tree.deploy(*shell(f"test -e {marker} && exec sleep 1000; touch {marker}; exit 1"))

    def again() -> Instance | None:
        now = tree.instances(service)[0]
        return now if (now.phase, now.restarts) == (Phase.RUNNING, 1) else None

    instance = eventually(again, "it to run after its failure")
    assert (instance.reason, instance.exit_code) == ("", None)
    tree.wait_running(service)


def test_an_instance_that_somebody_kills_comes_back(tree: Tree) -> None:
    service = tree.deploy()
    [before] = tree.wait_running(service)
    psutil.Process(before.pids[0]).kill()
    tree.wait_reason(service, "killed by signal 9")
    [after] = tree.wait_running(service)
    assert after.attempt == before.attempt
    assert after.pids != before.pids


@pytest.mark.skipif(not limits(), reason="this machine permits no control groups, so no limits hold")
def test_too_much_memory_ends_it_with_a_reason(tree: Tree) -> None:
    # tail keeps a line until it has all of it: here one that never ends.
    service = tree.deploy(*shell("exec tail /dev/zero"), memory=32)
    reason = "out of memory (limit 32 MiB)"
    tree.wait_reason(service, reason)

    def summed_up() -> bool:
        word, detail = tree.summary(service)
        return word == "FAILED" and reason in detail

    eventually(summed_up, "its service to say so, too")


def test_what_cannot_be_started_says_why(tree: Tree) -> None:
    missing, empty, taken = (
        tree.deploy("no-such-program", "--fast"),
        tree.deploy(environment=["NOT-A-NAME=1"]),
        tree.deploy(volumes=[{"volume_id": "/no/such/folder", "csi_driver": "", "mount_path": "/data"}]),
    )
    tree.wait_reason(missing, "executable no-such-program not found on this node")
    assert tree.summary(missing)[0] != "RUNNING"
    said = "executable no-such-program not found on this node"
    eventually(lambda: said in tree.summary(missing)[1], "its service to say so, too")
    tree.wait_reason(empty, "environment: 'NOT-A-NAME'")
    tree.wait_reason(taken, "volume /no/such/folder does not exist on this node")
    assert not tree.running()


def test_what_fits_nowhere_says_why_and_can_be_removed(tree: Tree) -> None:
    service = tree.deploy(memory=900_000)
    instance = tree.wait_reason(service, "needs 900000 MiB memory: ")
    assert instance.phase is Phase.PENDING
    assert "too small or too full (best has " in instance.reason
    word, detail = tree.summary(service)
    assert (word, detail) == ("NoActiveClusterWithCapacity", instance.reason)
    container = tree.create(process(virtualization="container", code="nginx:latest", cmd=[]))[0]
    tree.client.deploy(container)
    tree.wait_reason(container, "needs runtime docker: 1 cluster without it")
    tree.client.undeploy(service)
    assert tree.instances(service) == {}
    assert tree.summary(service)[0] is None


def test_what_is_full_takes_more_when_something_leaves(tree: Tree) -> None:
    room = min(node.capacity.allocatable.memory for node in tree.client.nodes())
    big = [tree.deploy(memory=room * 6 // 10) for _ in range(2)]
    nodes = {tree.wait_running(service)[0].node for service in big}
    assert nodes == {"n1", "n2"}  # each fits once
    waiting = tree.deploy(memory=room * 6 // 10)
    tree.wait_reason(waiting, f"needs {room * 6 // 10} MiB memory")
    tree.client.delete_service(big[0])
    tree.wait_running(waiting)
    tree.wait_gone(big[0])


def test_what_waits_is_placed_by_itself_when_a_fitting_node_joins(tree: Tree) -> None:
    service = tree.deploy(constraints=[{"type": "direct", "node": "late", "cluster": "alpha"}])
    tree.wait_reason(service, "needs node late: not n1, n2")
    assert tree.summary(service)[0] == "TargetClusterNoCapacity"
    tree.add_node("late", "alpha")
    [instance] = tree.wait_running(service)
    assert instance.node == "late"
    late = tree.nodes["late"]
    late.stop()
    # The instance outlives its engine.
    assert tree.running(service) == [instance]
    late.start()
    tree.settle()
    assert tree.wait_running(service) == [instance]
    late.stop()
    said = late.leave()
    assert said == "This node has left alpha; 1 instances were removed.\n"
    assert tree.running(service) == []
    tree.wait_reason(service, "needs node late: not n1, n2")
    eventually(lambda: {node.name for node in tree.client.nodes()} == {"n1", "n2"}, "the node to be gone")


def test_scaling_up_and_down_touches_only_what_is_meant(tree: Tree) -> None:
    service = tree.deploy(instances=2)
    first = tree.wait_running(service, 2)
    for number in (2, 3, 4):
        assert tree.client.deploy(service) == number
    five = tree.wait_running(service, 5)
    assert {instance.node for instance in five} == {"n1", "n2"}
    assert set(first) < set(five)
    tree.client.undeploy(service, 1)
    four = tree.wait_running(service, 4)
    assert set(four) == {instance for instance in five if instance.number != 1}
    with pytest.raises(NotFound, match="has no instance 1"):
        tree.client.undeploy(service, 1)
    assert tree.client.deploy(service) == 5  # numbers are never used again
    tree.wait_running(service, 5)
    tree.client.undeploy(service)
    tree.wait_gone(service)
    assert tree.instances(service) == {}
    assert tree.client.deploy(service) == 6
    tree.wait_running(service)


def test_deleting_ends_everything_that_belonged_to_it(tree: Tree) -> None:
    # It has children, one of which has left its session.
    family = shell("setsid sh -c 'while true; do sleep 1; done' & sleep 1000 & exec sleep 1000")
    first, second = tree.create(process(*family, microservice_name="one"), process(microservice_name="two"))
    for service in (first, second):
        tree.client.deploy(service)
    tree.wait_running(second)
    before = eventually(lambda: [each for each in tree.running(first) if len(each.pids) >= 4], "all children")
    application = tree.service(first).application
    tree.client.delete_service(first)
    tree.wait_gone(first)
    assert not any(lives(pid) for pid in before[0].pids)
    assert len(tree.running(second)) == 1
    with pytest.raises(NotFound):
        tree.service(first)
    tree.client.delete_application(application)
    tree.wait_gone(second)
    with pytest.raises(NotFound):
        tree.client.application(application)


def test_a_published_port_answers_and_is_promised_only_once(tree: Tree, free_port: Callable[[], int]) -> None:
    port = free_port()
    served = "import http.server, os; http.server.test(http.server.SimpleHTTPRequestHandler, port={0})"
    service = tree.deploy("python3", "-c", served.format(port), port=f"{port}:{port}")
    [instance] = tree.wait_running(service)

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.0 200")
        except OSError:
            return False

    eventually(answers, "an answer on the published port")
    # Both nodes of this test share one machine, so nobody else can have it.
    second = tree.client.deploy(service)
    tree.wait_reason(service, f"port {port}", second)
    assert tree.running(service) == [instance]
    tree.client.undeploy(service, instance.number)
    eventually(lambda: [each.number for each in tree.running(service)] == [second], "the other one to take over", 60)


def test_a_host_path_volume_is_the_folder_of_the_node(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("42")
    volumes = [{"volume_id": str(tmp_path), "csi_driver": "", "mount_path": "/data"}]
    script = 'cp "$MANGROVE_VOLUME_0/in" "$MANGROVE_VOLUME_0/out"; exec sleep 1000'
    service = tree.deploy(*shell(script), volumes=volumes)
    tree.wait_running(service)
    eventually((tmp_path / "out").exists, "what the instance wrote")
    assert (tmp_path / "out").read_text() == "42"
    assert os.stat(tmp_path / "out").st_size == 2
