"""Instances as containers of a real Docker engine, which is asked directly what there is."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest
from docker.models.containers import Container

from mangrove.model.phases import Phase
from tests.e2e.conftest import MakeTree
from tests.e2e.machine import Machine, at_a_terminal
from tests.e2e.programs import eventually, reconnecting
from tests.e2e.tree import Tree, process
from tests.integration.runtimes import IMAGE, busybox_layer, load_image, registry, tar_of

pytestmark = pytest.mark.docker

#: Runs until it is asked to end, and ends then: the first process of a container would else ignore that.
OBEDIENT = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    """The Docker engine itself; all containers of these tests end with them."""
    load_image(docker_host)
    client = docker.DockerClient(base_url=docker_host, timeout=60)
    yield client
    for container in client.containers.list(all=True, filters={"label": ["mangrove.node"]}):
        container.remove(force=True)
    client.close()


@pytest.fixture(scope="module")
def tree(plant: MakeTree, engine: docker.DockerClient, docker_host: str) -> Tree:
    """One cluster with one node."""
    tree = plant().start(alpha=[])
    tree.add_node("n1", "alpha", runtimes="docker", DOCKER_HOST=docker_host)
    tree.settle()
    return tree


@pytest.fixture(autouse=True)
def nothing_left(tree: Tree, engine: docker.DockerClient) -> Iterator[None]:
    """After each test all is removed again, and nothing died of it."""
    pids = tree.pids()
    yield
    for application in tree.client.applications():
        tree.client.delete_application(application.id)
    eventually(lambda: not containers(tree, engine), "all containers to be gone")
    if "n1" in pids:
        assert pids.keys() == tree.pids().keys()


def containers(tree: Tree, engine: docker.DockerClient) -> dict[int, Container]:
    """Those that n1 made, running or not, by the number of their instance."""
    node = tree.nodes["n1"]
    labels = [f"mangrove.installation={node.installation}", f"mangrove.node={node.identity.child}"]
    found = engine.containers.list(all=True, filters={"label": labels}, ignore_removed=True)
    return {int(container.labels["mangrove.number"]): container for container in found}


def deploy(tree: Tree, *command: str, instances: int = 1, **fields: Any) -> str:
    [service] = tree.create(process(*(command or OBEDIENT), virtualization="container", **{"code": IMAGE, **fields}))
    for _ in range(instances):
        tree.client.deploy(service)
    return service


def run(tree: Tree, *command: str, instances: int = 1, **fields: Any) -> str:
    service = deploy(tree, *command, instances=instances, **fields)
    for number in range(instances):
        tree.wait_phase(service, Phase.RUNNING, number)
    return service


def test_a_container_is_as_the_user_asked(
    tree: Tree, engine: docker.DockerClient, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "index.html").write_text("hello from the volume")
    tmp_path.chmod(0o755)
    port = free_port()
    service = run(
        tree,
        *("sh", "-c", "trap 'exit 0' TERM; httpd -f -p 80 -h /data & wait"),
        memory=64,
        vcpus=1,
        environment=["GREETING=hello world"],
        port=f"{port}:80",
        constraints=[{"type": "addons", "needs": ["volume-driver/local", "oci-runtime/runc"]}],
        volumes=[
            {"volume_id": str(tmp_path), "csi_driver": "", "mount_path": "/data", "config": {"read_only": "true"}}
        ],
    )
    [container] = containers(tree, engine).values()
    assert container.status == "running"
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * 2**20, 64 * 2**20, 10**9)
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["Privileged"]
    environment = set(container.attrs["Config"]["Env"])
    attempt = container.labels["mangrove.attempt"]
    node = tree.nodes["n1"]
    expected = {
        "GREETING=hello world",
        "HOSTNAME=instance-0",
        f"MANGROVE_SERVICE={service}",
        "MANGROVE_INSTANCE=0",
        f"MANGROVE_ATTEMPT={attempt}",
        f"MANGROVE_NODE={node.identity.child}",
        "MANGROVE_EPOCH=1",
    }
    assert expected <= environment
    assert {"mangrove.installation", "mangrove.node", "mangrove.attempt"} <= container.labels.keys()

    def page() -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                return connection.makefile().read()
        except OSError:
            return ""

    assert "hello from the volume" in eventually(page, "an answer on the published port")


def test_what_the_engine_does_not_have_is_said(tree: Tree) -> None:
    service = deploy(tree, constraints=[{"type": "addons", "needs": ["volume-driver/local", "oci-runtime/missing"]}])
    tree.wait_reason(service, "needs addons oci-runtime/missing, volume-driver/local: 1 cluster without them")
    tree.client.delete_service(service)


def test_a_container_outlives_its_engine_and_is_taken_up_again(tree: Tree, engine: docker.DockerClient) -> None:
    service = run(tree, instances=2)
    before = {number: (each.id, each.attrs["State"]["Pid"]) for number, each in containers(tree, engine).items()}
    node = tree.nodes["n1"]
    for let_go in (node.kill, node.stop):
        with reconnecting(node):
            let_go()
            node.start()
        added = run(tree)
        tree.client.delete_service(added)
        eventually(lambda: len(containers(tree, engine)) == 2, "the added one to be gone")
        after = {number: (each.id, each.attrs["State"]["Pid"]) for number, each in containers(tree, engine).items()}
        assert after == before
    said = tree.instances(service)
    assert [(said[number].phase, said[number].restarts) for number in (0, 1)] == [(Phase.RUNNING, 0)] * 2


def test_a_container_that_ends_is_started_again_and_says_why(tree: Tree, engine: docker.DockerClient) -> None:
    service = deploy(tree, "sh", "-c", "sleep 0.1; exit 7")
    instance = tree.wait_reason(service, "exit code 7; failure ")
    assert instance.exit_code == 7
    tree.wait_reason(service, "exit code 7; failure 2 of 6")
    eventually(lambda: len(containers(tree, engine)) == 1, "the same one, or one in its place")


def test_a_container_that_somebody_removes_comes_back(tree: Tree, engine: docker.DockerClient) -> None:
    run(tree)
    [container] = containers(tree, engine).values()
    container.remove(force=True)
    eventually(lambda: [each.status for each in containers(tree, engine).values()] == ["running"], "another one")
    assert containers(tree, engine)[0].id != container.id


def test_too_much_memory_says_so(tree: Tree) -> None:
    service = deploy(tree, "sh", "-c", "x=a; while true; do x=$x$x; done", memory=16)
    tree.wait_reason(service, "out of memory (limit 16 MiB)")


def test_one_shot_completes_once(tree: Tree, engine: docker.DockerClient, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    volumes = [{"volume_id": str(tmp_path), "csi_driver": "", "mount_path": "/data"}]
    service = deploy(tree, "sh", "-c", "echo ran >> /data/runs", one_shot=True, volumes=volumes)
    tree.wait_phase(service, Phase.COMPLETED)
    tree.nodes["n1"].restart()
    tree.settle()
    added = run(tree)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert tree.instances(service)[0].phase is Phase.COMPLETED
    assert tree.instances(added)[0].phase is Phase.RUNNING


def test_an_image_or_a_program_that_is_not_there_says_so(tree: Tree) -> None:
    image = deploy(tree, code="registry.invalid/no/such:1")
    program = deploy(tree, "no-such-program")
    tree.wait_reason(image, "image registry.invalid/no/such:1 is not on this node, and its registry cannot be reached")
    tree.wait_reason(program, f"executable no-such-program not found in image {IMAGE}")
    assert "registry.invalid/no/such:1" in tree.summary(image)[1]


def test_strangers_are_left_alone_and_own_orphans_removed(tree: Tree, engine: docker.DockerClient) -> None:
    service = run(tree)
    [own] = containers(tree, engine).values()
    installation, node = own.labels["mangrove.installation"], own.labels["mangrove.node"]

    def stranger(name: str = "", **labels: str) -> Container:
        return engine.containers.run(IMAGE, list(OBEDIENT), detach=True, labels=labels, name=name or None)

    def label(installation: str, node: str, attempt: str) -> dict[str, str]:
        return {"mangrove.installation": installation, "mangrove.node": node, "mangrove.attempt": attempt}

    strangers = [
        stranger(),
        stranger(**label("f" * 24, node, "a" * 24)),  # of another engine on this machine
        stranger(**label(installation, "f" * 24, "b" * 24)),
    ]
    orphan = stranger(f"mangrove-{'c' * 24}", **label(installation, node, "c" * 24), **{"mangrove.number": "9"})
    try:
        tree.nodes["n1"].restart()
        eventually(lambda: 9 not in containers(tree, engine), "the orphan to be gone")
        tree.client.delete_service(service)
        eventually(lambda: not containers(tree, engine), "its own to be gone")
        for each in strangers:
            each.reload()
            assert each.status == "running"
    finally:
        for each in (*strangers, orphan):
            try:
                each.remove(force=True)
            except docker.errors.NotFound:
                continue


def test_deleting_ends_the_containers(tree: Tree, engine: docker.DockerClient) -> None:
    service = run(tree, instances=3)
    pids = [each.attrs["State"]["Pid"] for each in containers(tree, engine).values()]
    began = time.monotonic()
    tree.client.undeploy(service, 1)
    eventually(lambda: containers(tree, engine).keys() == {0, 2}, "one to be gone")
    tree.client.delete_service(service)
    eventually(lambda: not containers(tree, engine), "all to be gone")
    assert time.monotonic() - began < 60
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_bar_shows_how_far_a_pull_is(
    tree: Tree, engine: docker.DockerClient, registry_port: int, tmp_path: Path
) -> None:
    with registry(registry_port) as shelf:
        image = shelf.add("team/app", "bar", busybox_layer(), tar_of("noise", os.urandom(6 * 2**20)))
        shelf.hurry.clear()
        service = deploy(tree, instances=0, code=image)
        application = tree.client.application(tree.service(service).application).name
        machine = Machine(tmp_path, {"MANGROVE_PASSWORD": "Admin", "COLUMNS": "150", "TERM": "xterm"})
        try:
            with at_a_terminal(
                machine, "scale", "--wait", "--root", tree.root.address, f"{application}.web", "1"
            ) as shown:
                eventually(lambda: re.search(r"team/app:bar .* [1-6]/7 .* MiB pulled", shown()), "a bar half way")
                shelf.hurry.set()
                eventually(lambda: re.search(rf"{application}\.web .* 1/1 ", shown()), "the bar of the service")
        finally:
            shelf.hurry.set()
            tree.client.delete_service(service)
            tree.wait_gone(service)
            eventually(lambda: not containers(tree, engine), "its container to be gone")
            engine.images.remove(image)
