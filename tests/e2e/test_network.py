"""Packets between instances of one node and of two: real namespaces, the real kernel."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest
from dnslib import RCODE, DNSRecord

from mangrove.model.specification import Port
from mangrove.network.plan import Egress, ServiceAddress
from tests.e2e.hosts import needs_namespaces
from tests.e2e.network import Inside, Machine, machines, service, wait

WEB = service(
    "web", "shop", ServiceAddress("10.30.0.1"), ServiceAddress("fdff:30::1"), ServiceAddress("10.30.0.2", "instance", 1)
)
CART = service("cart", "shop", ServiceAddress("10.30.0.9"))
SPY = service("spy", "other", ServiceAddress("10.30.0.8"))

#: Sends one UDP datagram from an address to another, with a header made by hand; arguments: source, destination.
_LIE = """
import socket, struct, sys
source, target = map(socket.inet_aton, sys.argv[1:])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
udp = struct.pack("!HHHH", 999, 80, 11, 0) + b"lie"
raw.sendto(struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, target) + udp, (sys.argv[2], 0))
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Machine]:
    """One node: three instances of `web`, and one each of `cart` (same application) and `spy` (another one)."""
    needs_namespaces()
    with machines("north", web=WEB, cart=CART, spy=SPY) as (machine,):
        for place in range(3):
            machine.attach(f"web{place}", "web", place, 10 + place).serve()
        machine.attach("client", "cart", 0, 5).serve()
        machine.attach("spy", "spy", 0, 20).serve()
        yield machine


def refused(instance: Inside, address: str, port: int = 80) -> bool:
    """Whether a connection is turned down, and at once: nobody has to wait for a time-out."""
    began = time.monotonic()
    try:
        instance.connect(address, port).close()
    except OSError as error:
        said = (errno.ECONNREFUSED, errno.EACCES, errno.EHOSTUNREACH, errno.ENETUNREACH)
        return error.errno in said and time.monotonic() - began < 3
    return False


def pings(instance: Inside, address: str, size: int = 56) -> bool:
    command = ["nsenter", f"--net={instance.namespace}", "busybox", "ping", "-c1", "-W2", f"-s{size}", address]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def test_round_robin_is_even_and_a_server_sees_its_client(node: Machine) -> None:
    client = node.instances["client"]
    assert Counter(client.call("10.30.0.1") for _ in range(9)) == {(f"web{n}", client.ipv4): 3 for n in range(3)}
    assert Counter(client.call("fdff:30::1") for _ in range(9)) == {(f"web{n}", client.ipv6): 3 for n in range(3)}


def test_an_instances_own_address_and_icmp(node: Machine) -> None:
    client = node.instances["client"]
    assert {client.call("10.30.0.2")[0] for _ in range(5)} == {"web1"}
    assert pings(client, node.instances["web0"].ipv4)
    assert pings(client, node.instances["web0"].ipv6)


def test_an_endpoint_reaches_its_own_service_and_so_itself(node: Machine) -> None:
    assert {node.instances["web0"].call("10.30.0.1")[0] for _ in range(3)} == {"web0", "web1", "web2"}
    assert {node.instances["web0"].call("fdff:30::1")[0] for _ in range(3)} == {"web0", "web1", "web2"}


def test_the_node_itself_reaches_services(node: Machine) -> None:
    with node.host.inside(), socket.create_connection(("10.30.0.1", 80), timeout=5) as connection:
        connection.sendall(b"x")
        assert connection.recv(100).startswith(b"web")


def test_another_application_is_turned_down_at_once(node: Machine) -> None:
    spy, web = node.instances["spy"], node.instances["web0"]
    for address in ("10.30.0.1", "fdff:30::1", web.ipv4, web.ipv6):
        assert refused(spy, address), address
    assert not pings(spy, web.ipv4)
    # Unless it declares it; and that holds in one direction alone.
    declared = msgspec.structs.replace(SPY, reaches=("web",))
    node.change(services={**node.plan.services, "spy": declared})
    assert spy.call("10.30.0.1")[0].startswith("web")
    assert refused(web, spy.ipv4)
    node.change(services={**node.plan.services, "spy": SPY})
    assert refused(spy, "10.30.0.1")


def test_a_service_without_endpoints_turns_down_at_once(node: Machine) -> None:
    assert refused(node.instances["client"], "10.30.0.77")
    with node.host.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("10.30.0.77", 80), timeout=5)


def test_connections_stay_and_new_ones_follow_changes(node: Machine) -> None:
    client = node.instances["client"]
    there = [client.connect("10.30.0.1") for _ in range(3)]
    stale = client.datagram("10.30.0.1")
    stale.send(b"x")
    bound = stale.recv(100).split()[0].decode()
    try:
        stopping = msgspec.structs.replace(node.plan.instances[bound], state="stopping")
        node.change(instances={**node.plan.instances, bound: stopping})
        assert bound not in {client.call("10.30.0.1")[0] for _ in range(6)}
        for connection in there:
            connection.sendall(b"still")
            assert b"still" in connection.recv(100)
        # UDP has no connections, only what the kernel remembers, and that was forgotten.
        stale.send(b"y")
        assert stale.recv(100).split()[0].decode() != bound
    finally:
        for each in (*there, stale):
            each.close()
        ready = msgspec.structs.replace(node.plan.instances[bound], state="ready")
        node.change(instances={**node.plan.instances, bound: ready})


def test_a_restart_interrupts_nothing_and_mends_what_was_removed(node: Machine) -> None:
    client = node.instances["client"]
    with client.connect("10.30.0.1") as connection:
        node.kill()
        connection.sendall(b"alone")
        assert b"alone" in connection.recv(100)
        assert client.call("10.30.0.1")[0].startswith("web")
        subprocess.run([*node.host.entering, "nft", "flush", "chain", "inet", "mangrove", "translate"], check=True)
        node.start()
        connection.sendall(b"again")
        assert b"again" in connection.recv(100)
    assert Counter(client.call("10.30.0.1")[0] for _ in range(6)) == {f"web{n}": 2 for n in range(3)}


def test_nobody_speaks_with_an_address_of_another(node: Machine) -> None:
    client, web, spy = (node.instances[name] for name in ("client", "web0", "spy"))
    with web.host.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as ear:
        ear.settimeout(1.0)
        for liar, source in ((spy, client.ipv4), (spy, "10.18.9.9"), (spy, "192.0.2.1"), (client, client.ipv4)):
            command = ["nsenter", f"--net={liar.namespace}", sys.executable, "-c", _LIE, source, web.ipv4]
            subprocess.run(command, check=True, timeout=30)
        # Only the last of them is true; it comes behind the others, so they would have been heard.
        assert ear.recvfrom(1000)[1][0] == client.ipv4
        ear.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ear.recvfrom(1000)
    # Outside they are heard from the node's address, or not at all.
    switch = type(node.host)("10.9.0.251", node.host.namespace.removesuffix("north"))
    subprocess.run(["ip", "-n", switch.namespace, "address", "add", "10.9.0.251/24", "dev", "bridge"], check=True)
    with switch.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as ear:
        ear.settimeout(1.0)
        for source in ("10.9.0.77", client.ipv4):
            command = ["nsenter", f"--net={client.namespace}", sys.executable, "-c", _LIE, source, switch.address]
            subprocess.run(command, check=True, timeout=30)
        assert ear.recvfrom(1000)[1][0] == node.host.address


def test_the_nodes_own_ports_are_not_reachable(node: Machine) -> None:
    with node.host.inside():
        listening = socket.create_server(("", 22022))
    with listening:
        for address in (node.host.address, "10.18.1.1"):
            assert refused(node.instances["client"], address, 22022)


def test_ports_are_published(node: Machine) -> None:
    client = node.instances["client"]
    web = msgspec.structs.replace(node.plan.instances["web1"], ports=(Port(8080, 80), Port(8081, 80, "udp")))
    before = node.plan.instances
    assert not node.change(instances={**before, "web1": web}).error
    with node.host.inside():
        for address in ("127.0.0.1", node.host.address):
            with socket.create_connection((address, 8080), timeout=5) as connection:
                connection.sendall(b"x")
                assert connection.recv(100).startswith(b"web1")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(5)
                datagrams.sendto(b"x", (address, 8081))
                assert datagrams.recv(100).startswith(b"web1")
    # What is open to the world is open to all instances too.
    assert node.instances["spy"].call(node.host.address, 8080)[0] == "web1"
    assert client.call(node.host.address, 8080)[0] == "web1"
    node.change(instances=before)
    assert refused(client, node.host.address, 8080)


def lookup(instance: Inside, name: str, resolver: str = "10.18.1.1", kind: str = "A", tcp: bool = False) -> list[str]:
    """What the node's DNS says; AssertionError when it says that there is no such name."""
    with instance.host.inside():
        reply = DNSRecord.parse(
            DNSRecord.question(name, kind).send(resolver, 53, tcp=tcp, timeout=10, ipv6=":" in resolver)
        )
    assert reply.header.rcode == 0, RCODE[reply.header.rcode]
    return [str(each.rdata) for each in reply.rr]


def test_names(node: Machine) -> None:
    client, spy = node.instances["client"], node.instances["spy"]
    assert lookup(client, "web.shop") == ["10.30.0.1"]
    assert lookup(client, "Web.Shop.mangrove.internal", tcp=True) == ["10.30.0.1"]
    assert lookup(client, "web.shop", kind="AAAA") == ["fdff:30::1"]
    assert lookup(client, "web.shop", resolver="fdff:18:1::1") == ["10.30.0.1"]
    assert lookup(client, "2.web.shop") == [node.instances["web2"].ipv4]
    assert lookup(client, "web.shop", kind="MX") == []
    for instance, name in ((client, "nobody.shop.mangrove.internal"), (spy, "web.shop.mangrove.internal")):
        with pytest.raises(AssertionError, match="NXDOMAIN"):
            lookup(instance, name)


def test_names_are_told_to_nobody_else(node: Machine) -> None:
    """Who is neither an instance nor the node itself would be told of all applications."""
    outside = type(node.host)("10.9.0.252", node.host.namespace.removesuffix("north"))
    for command in ("address add 10.9.0.252/24 dev bridge", f"route add 10.18.1.1 via {node.host.address}"):
        subprocess.run(["ip", "-n", outside.namespace, *command.split()], check=True)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with outside.inside(), pytest.raises(OSError, match=r"(?i)refused|host|permi"):
            _ask_names(kind)


def _ask_names(kind: socket.SocketKind) -> None:
    """Connected, so that a refusal is heard of at once."""
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.settimeout(10.0)
        asking.connect(("10.18.1.1", 53))
        asking.send(bytes(DNSRecord.question("web.shop").pack()))
        asking.recv(100)


def test_junk_in_the_plan_is_refused_and_the_last_one_stays(node: Machine) -> None:
    client = node.instances["client"]
    good = node.plan
    bad = msgspec.structs.replace(WEB, addresses=(ServiceAddress("10.30.0.1 }; flush ruleset; #"),))
    error = node.change(services={**good.services, "web": bad}).error
    assert "services.web.addresses" in error
    assert "is not an address" in error
    assert client.call("10.30.0.1")[0].startswith("web")
    node.plan = good
    assert not node.change().error


def test_egress_goes_where_the_list_allows(node: Machine) -> None:
    client = node.instances["client"]
    # Outside is whatever is not of this network: here, an address that the switch has.
    switch = node.host.namespace.removesuffix("north")
    subprocess.run(["ip", "-n", switch, "address", "add", "10.9.0.250/24", "dev", "bridge"], check=True)
    outside = type(node.host)("10.9.0.250", switch)
    with outside.inside():
        listening = [socket.create_server(("", port)) for port in (80, 81)]
    try:
        client.connect("10.9.0.250", 81).close()
        connection, (seen, _) = listening[1].accept()
        connection.close()
        assert seen == node.host.address
        allowed = msgspec.structs.replace(CART, egress=(Egress("10.9.0.0/24", "tcp", 80),))
        node.change(services={**node.plan.services, "cart": allowed})
        client.connect("10.9.0.250", 80).close()
        assert refused(client, "10.9.0.250", 81)
        assert client.call("10.30.0.1")[0].startswith("web")
    finally:
        node.change(services={**node.plan.services, "cart": CART})
        for each in listening:
            each.close()


def test_a_firewall_that_drops_what_is_forwarded_is_opened_or_told_of(node: Machine) -> None:
    client = node.instances["client"]

    def nft(*lines: str) -> None:
        command = [*node.host.entering, "nft", "-f", "-"]
        subprocess.run(command, input="\n".join(lines), text=True, check=True, timeout=30)

    closed = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    nft("add table ip filter", closed)
    with pytest.raises(TimeoutError):
        client.connect("10.30.0.1", timeout=1)
    node.kill()
    node.start()
    assert "table ip filter" in node.ask_view()["trouble"] or "ip filter" in node.change().error
    # As Docker sets it up.
    nft("add chain ip filter DOCKER-USER", "add rule ip filter FORWARD jump DOCKER-USER")
    node.kill()
    node.start()
    assert client.call("10.30.0.1")[0].startswith("web")
    assert not node.change().error
    assert refused(node.instances["spy"], "10.30.0.1")
    nft("delete table ip filter")


def test_an_instance_that_is_given_another_address_has_that_alone(node: Machine) -> None:
    made = node.attach("moved", "web", 8, 50)
    made.serve()
    client = node.instances["client"]
    assert client.call(made.ipv4)[0] == "moved"
    again = node.attach("moved", "web", 8, 51)
    again.process = made.process
    assert client.call(again.ipv4)[0] == "moved"
    assert refused(client, made.ipv4)
    node.release("moved")


def test_what_was_released_leaves_nothing(node: Machine) -> None:
    made = node.attach("gone", "web", 7, 40)
    made.serve()
    client = node.instances["client"]
    assert {client.call("10.30.0.1")[0] for _ in range(4)} >= {"gone"}
    node.release("gone")
    assert "gone" not in {client.call("10.30.0.1")[0] for _ in range(8)}
    assert refused(client, made.ipv4)
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert "mangrove-gone" not in left
    wait(lambda: "gone" not in str(node.ask_view()["instances"]), "the view does not show it")
