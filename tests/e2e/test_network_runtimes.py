"""Instances of the runtimes, a container and a process, in the network between services."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mangrove.network.door import PLAN
from mangrove.network.plan import LocalInstance, NodePlan, ServiceAddress
from node_engine.network import Network
from node_engine.runtimes.docker import DockerRuntime
from node_engine.runtimes.interface import Runtime, RuntimeFault, Workload
from node_engine.runtimes.process import ProcessRuntime
from tests.e2e.hosts import needs_namespaces
from tests.e2e.network import Machine, machines, service, wait
from tests.integration.runtimes import IMAGE, INSTALLATION, load_image, output_of, remove_all, run, workload

WEB = service("service1", "shop", ServiceAddress("10.30.0.1"))
ASKER = service("asker", "shop")
#: A web server that says what it is, and then what its own network looks like.
_SERVE = """
busybox mkdir -p www
echo $MANGROVE_ATTEMPT >www/index.html
cat /etc/resolv.conf
exec busybox httpd -f -p 80 -h www
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Machine]:
    needs_namespaces()
    with machines("north", service1=WEB, asker=ASKER) as (machine,):
        machine.attach("client", "asker", 0, 5)
        yield machine


@pytest.fixture
def network(node: Machine) -> Iterator[Network]:
    made = Network(node.folder, node.host.address, lambda: None)
    made.start()
    wait(lambda: made.networking().wanted, "the netmanager was found")
    yield made
    made.close()


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request: pytest.FixtureRequest, tmp_path: Path, network: Network) -> Iterator[Runtime]:
    made: Runtime
    if request.param == "docker":
        host = request.getfixturevalue("docker_host")
        load_image(host)
        made = DockerRuntime(INSTALLATION, "north", host=host, network=network)
    else:
        made = ProcessRuntime(tmp_path / "instances", INSTALLATION, "north", network=network)
    yield made
    remove_all(made)
    made.close()


def networked(runtime: Runtime, attempt: str, last: int, script: str = _SERVE) -> Workload:
    shell = "/bin/sh" if runtime.name == "process" else "sh"
    made = workload(
        attempt,
        *(shell, "-c", script),
        added=(f"MANGROVE_ATTEMPT={attempt}",),
        runtime=runtime.name,
        image=IMAGE if runtime.name == "docker" else "",
    )
    addresses = f"10.18.1.{last}", f"fdff:18:1::{last:x}"
    return Workload(made.attempt, made.service, 0, 1, made.specification, made.environment, (), *addresses)


def page(node: Machine, address: str) -> str:
    """What the client sees there; empty when nobody answers."""
    client = node.instances["client"]
    with client.host.inside(), contextlib.suppress(OSError):
        answer: bytes = urllib.request.urlopen(f"http://{address}/", timeout=5).read()
        return answer.decode().strip()
    return ""


def test_an_instance_has_its_address_and_is_reached(node: Machine, network: Network, runtime: Runtime) -> None:
    attempt = f"{runtime.name}1"
    work = networked(runtime, attempt, 30)
    instance = LocalInstance(attempt, "service1", 0, work.ipv4, work.ipv6)
    network.publish(msgspec.structs.replace(node.plan, instances={**node.plan.instances, attempt: instance}))
    run(runtime, work)
    wait(lambda: page(node, work.ipv4) == attempt, "it answers at its address")
    assert page(node, "10.30.0.1") == attempt
    assert page(node, f"[{work.ipv6}]") == attempt
    wait(lambda: b"nameserver 10.18.1.1" in output_of(runtime, attempt), "its names are asked of the node")
    # A container's namespace ends with it, a process keeps its own; both come back at the same address.
    runtime.stop(attempt, 0.0)
    wait(lambda: page(node, work.ipv4) == "", "it is gone")
    runtime.start(work)
    wait(lambda: page(node, work.ipv4) == attempt, "it answers again")
    runtime.remove(attempt)
    assert attempt not in str(node.ask_view()["instances"])
    network.publish(node.plan)
    wait(lambda: msgspec.json.decode((node.folder / PLAN).read_bytes(), type=NodePlan) == node.plan, "it is published")


def test_without_a_netmanager_it_is_not_started_and_says_why(node: Machine, runtime: Runtime) -> None:
    node.kill()
    work = networked(runtime, f"{runtime.name}2", 31)
    try:
        with pytest.raises(RuntimeFault, match="no network for this instance: the netmanager does not answer"):
            run(runtime, work)
        assert all(instance.state != "running" for instance in runtime.list())
    finally:
        node.start()
    run(runtime, work)
    assert [instance.state for instance in runtime.list()] == ["running"]


def test_an_instance_without_addresses_is_as_ever(node: Machine, runtime: Runtime) -> None:
    bare = networked(runtime, f"{runtime.name}3", 32, script="sleep 1000")
    run(runtime, Workload(bare.attempt, bare.service, 0, 1, bare.specification, bare.environment))
    assert bare.attempt not in str(node.ask_view()["instances"])
