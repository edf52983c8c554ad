"""Packets between instances of two nodes: on one link, and through the tunnel."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from mangrove.network.plan import ServiceAddress
from tests.e2e.hosts import needs_namespaces
from tests.e2e.network import Inside, Machine, machines, service, share

WEB = service("web", "shop", ServiceAddress("10.30.0.1"), ServiceAddress("fdff:30::1"))
CLOSE = service("close", "shop", ServiceAddress("10.30.0.2", "closest"))
SPY = service("spy", "other")


@pytest.fixture(scope="module", params=["direct", "vxlan"])
def nodes(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Machine]]:
    """Two nodes with an instance of each service on both."""
    needs_namespaces()
    options = ("--encapsulate",) if request.param == "vxlan" else ()
    with ExitStack() as stack:
        pair = stack.enter_context(machines("north", "south", options=options, web=WEB, close=CLOSE, spy=SPY))
        north, south = pair
        for place, machine in enumerate(pair):
            for at, name in enumerate(("web", "close", "spy")):
                machine.attach(f"{name}{place}", name, place, 10 + at).serve()
        share(north, south)
        yield north, south


def pings(instance: Inside, address: str, size: int) -> bool:
    command = ["nsenter", f"--net={instance.namespace}", "busybox", "ping", "-c1", "-W2", f"-s{size}", address]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def test_instances_of_two_nodes_reach_each_other(nodes: tuple[Machine, Machine]) -> None:
    north, south = nodes
    client, far = north.instances["close0"], south.instances["web1"]
    assert client.call(far.ipv4) == ("web1", client.ipv4)
    assert client.call(far.ipv6) == ("web1", client.ipv6)
    assert {client.call("10.30.0.1")[0] for _ in range(4)} == {"web0", "web1"}
    assert {client.call("fdff:30::1")[0] for _ in range(4)} == {"web0", "web1"}
    with north.host.inside(), socket.create_connection((far.ipv4, 80), timeout=5) as connection:
        connection.sendall(b"from the node")
        assert b"10.18.1.1" in connection.recv(100)


def test_isolation_holds_between_nodes(nodes: tuple[Machine, Machine]) -> None:
    north, south = nodes
    spy = north.instances["spy0"]
    assert spy.call(south.instances["spy1"].ipv4)[0] == "spy1"
    for address in (south.instances["web1"].ipv4, south.instances["web1"].ipv6):
        with pytest.raises(OSError, match=r"refused|denied"):
            spy.call(address)


def test_sizes_that_the_path_does_not_bear(nodes: tuple[Machine, Machine]) -> None:
    north, south = nodes
    client, far = north.instances["close0"], south.instances["web1"]
    for address in (far.ipv4, far.ipv6):
        assert pings(client, address, 56)
        # Above the tunnel's size, below the underlay's, and above both.
        # The first ones tell both ends what the path bears.
        assert any(pings(client, address, 1440) for _ in range(4))
        assert any(pings(client, address, 4000) for _ in range(4))
        if north.options:
            # Told by ICMP, not made up for by fragments of the outer packets.
            route = ["nsenter", f"--net={client.namespace}", "ip", "route", "get", address]
            assert "mtu 1450" in subprocess.run(route, capture_output=True, text=True, check=True).stdout
        with client.connect(address) as connection:
            connection.sendall(b"x" * 300_000)
            heard = 0
            while heard < 300_000:
                heard += len(connection.recv(65536))


def test_closest_is_here_and_then_wherever_it_is(nodes: tuple[Machine, Machine]) -> None:
    north, _ = nodes
    client = north.instances["web0"]
    peer = msgspec.structs.replace(north.plan.peers["south"], distance=20.0)
    north.change(peers={"south": peer})
    assert {client.call("10.30.0.2")[0] for _ in range(4)} == {"close0"}
    before = north.plan.instances
    stopping = msgspec.structs.replace(before["close0"], state="stopping")
    north.change(instances={**before, "close0": stopping})
    assert client.call("10.30.0.2")[0] == "close1"
    north.change(instances=before)


def test_another_site_is_said_to_be_out_of_reach(nodes: tuple[Machine, Machine]) -> None:
    north, south = nodes
    before = north.plan.peers
    north.change(peers={"south": msgspec.structs.replace(before["south"], remote=True)})
    client = north.instances["close0"]
    with pytest.raises(OSError, match=r"unreachable|No route|refused"):
        client.call(south.instances["web1"].ipv4)
    # A service is carried by those that can be reached.
    assert {client.call("10.30.0.1")[0] for _ in range(4)} == {"web0"}
    assert "no encrypted path" in str(north.ask_view()["peers"])
    north.change(peers=before)
    assert client.call(south.instances["web1"].ipv4)[0] == "web1"


def test_people_see_which_way_packets_go(nodes: tuple[Machine, Machine]) -> None:
    north, south = nodes
    client, far = north.instances["close0"], south.instances["web1"]
    client.call("10.30.0.1")
    how = "through VXLAN" if north.options else "directly"

    def net(*arguments: str) -> str:
        command = [*north.host.entering, sys.executable, "-m", "mangrove.cli.main", "net", *arguments]
        done = subprocess.run(
            [*command, f"--folder={north.folder}"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = net("show")
    assert f"instance close0 of close: {client.ipv4} {client.ipv6} on mgvi" in shown
    assert "web.shop 10.30.0.1 (round_robin): 10.18.1.10, 10.18.2.10; 0 connections" not in shown
    assert "web.shop 10.30.0.1 (round_robin): 10.18.1.10, 10.18.2.10; " in shown
    traced = net("trace", "web.shop")
    assert "10.30.0.1 is the address of web.shop (round_robin)" in traced
    assert f"{far.ipv4} is on south, reached {how}" in traced
    assert net("trace", client.ipv4).startswith(f"{client.ipv4} is instance close0 on this node, behind mgvi")
    for address in (client.ipv4, far.ipv4, far.ipv6):
        assert " ms" in net("ping", "--count=1", address)
    assert "nobody's" in net("trace", "192.0.2.7")
