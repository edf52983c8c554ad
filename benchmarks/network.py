"""What the network between services costs beside a network that is set up by hand, and how fast it follows changes."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from benchmarks.result import Figure, Result
from mangrove.model.network import ServiceAddress
from mangrove.network.plan import Endpoint, ServiceEntry
from tests.e2e.hosts import Host, Switch
from tests.e2e.network import Inside, Machine, machines, service, share

#: TCP port of iperf3, and of what answers small requests.
_BULK, _SMALL = 5201, 80
_ADDRESS = "10.30.0.1"
#: Bytes that VXLAN over IPv4 adds.
_OVERHEAD = 50


@dataclass(frozen=True)
class Size:
    """rounds: of each measurement, interleaved; seconds: of each throughput; requests and connections: of each round;
    services: of ten instances each; changes: of one of these."""

    rounds: int
    seconds: int
    requests: int
    connections: int
    services: int
    changes: int


FULL, QUICK = Size(10, 2, 2000, 500, 1000, 20), Size(1, 1, 50, 20, 20, 2)


@dataclass(frozen=True)
class Way:
    """A client, and an address at which the server of the other node answers it."""

    client: Inside
    address: str


def measure(folder: Path, size: Size) -> Result:
    """Needs root, iperf3 and nft."""
    figures: list[Figure] = []
    raw: dict[str, list[float]] = {}
    for kind, options in (("same link", ()), ("VXLAN", ("--encapsulate",))):
        with _ways(options) as (ours, byhand):
            found = _compare(ours, byhand, size)
        for name, values in found.items():
            raw[f"{kind}, {name}"] = values
        figures += _figures(kind, found)
    with machines("north") as (node,):
        took, memory = _changes(node, size)
    raw["change"] = took
    most = size.services * 10
    figures.append(Figure(f"change of one of {most} instances, p50", _ms(took), "ms", 50.0, _quartiles(took, 1000)))
    figures.append(Figure(f"netmanager with {most} endpoints, PSS", memory / 1e6, "MB", 50.0))
    return Result(
        "network",
        "what the network between services costs",
        (
            "two nodes as network namespaces on one bridge, an instance on each; by hand: the same interfaces and "
            "routes, made with ip, without any rule of nftables",
            f"{size.rounds} rounds, interleaved: iperf3 for {size.seconds} s over one connection; {size.requests} "
            f"requests of 64 bytes, one after the other; {size.connections} connections, one after the other",
            "the small requests are made and answered by Python",
            "a change: the plan's file is written, and the netmanager answers that it is in effect",
        ),
        tuple(figures),
        raw,
    )


def _figures(kind: str, found: dict[str, list[float]]) -> Iterator[Figure]:
    for name, unit, scale in (("throughput", "Gbit/s", 1e-9), ("connections", "/s", 1.0), ("round trip", "µs", 1e6)):
        medians = {}
        for whose in ("service", "by hand"):
            values = found[f"{name}, {whose}"]
            medians[whose] = statistics.median(values) * scale
            yield Figure(f"{kind}: {name}, {whose}", medians[whose], unit, None, _quartiles(values, scale))
        if name == "round trip":
            yield Figure(f"{kind}: added round trip", medians["service"] - medians["by hand"], unit, 30.0)
        else:
            # At least 95 % of what it is by hand.
            yield Figure(f"{kind}: {name}, by hand / service", medians["by hand"] / medians["service"], "", 1 / 0.95)


def _compare(ours: Way, byhand: Way, size: Size) -> dict[str, list[float]]:
    """Bits per second, seconds, and connections per second, of each round."""
    found: dict[str, list[float]] = {}
    tries: dict[str, Callable[[Way], float]] = {
        "throughput": lambda way: _throughput(way, size.seconds),
        "round trip": lambda way: _round_trip(way, size.requests),
        "connections": lambda way: _connections(way, size.connections),
    }
    for number in range(size.rounds):
        for name, attempt in tries.items():
            both = [("service", ours), ("by hand", byhand)]
            # Who begins takes turns too.
            for whose, way in both if number % 2 else both[::-1]:
                found.setdefault(f"{name}, {whose}", []).append(attempt(way))
    return found


def _throughput(way: Way, seconds: int) -> float:
    command = ["nsenter", f"--net={way.client.namespace}", "iperf3", "-c", way.address, "-t", str(seconds), "-J"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60 + seconds)
    answer = msgspec.json.decode(done.stdout)
    return float(answer["end"]["sum_received"]["bits_per_second"])


def _round_trip(way: Way, requests: int) -> float:
    with way.client.connect(way.address, _SMALL) as connection:
        times = []
        for _ in range(requests):
            began = time.perf_counter()
            connection.sendall(b"x" * 64)
            connection.recv(1000)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def _connections(way: Way, connections: int) -> float:
    with way.client.host.inside():
        began = time.perf_counter()
        for _ in range(connections):
            way.client.connect(way.address, _SMALL).close()
        return connections / (time.perf_counter() - began)


@contextlib.contextmanager
def _ways(options: tuple[str, ...]) -> Iterator[tuple[Way, Way]]:
    """Ours, and one by hand."""
    entry = service("web", "shop", ServiceAddress(_ADDRESS))
    other = service("client", "shop")
    with contextlib.ExitStack() as stack:
        north, south = stack.enter_context(machines("north", "south", options=options, web=entry, client=other))
        client = north.attach("client0", "client", 0, 5)
        server = south.attach("web0", "web", 0, 5)
        share(north, south)
        there, back = stack.enter_context(_by_hand(vxlan=bool(options)))
        for each in (server, back):
            each.serve(_SMALL)
            command = ["nsenter", f"--net={each.namespace}", "iperf3", "-s", "-p", str(_BULK)]
            bulk = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            stack.callback(bulk.wait)
            stack.callback(bulk.kill)
        if back.process is not None:
            stack.callback(back.process.communicate)
            stack.callback(back.process.kill)
        time.sleep(0.5)  # iperf3 does not say when it listens
        yield Way(client, _ADDRESS), Way(there, back.ipv4)


@contextlib.contextmanager
def _by_hand(*, vxlan: bool) -> Iterator[tuple[Inside, Inside]]:
    """A client and a server behind a node each, with interfaces and routes and nothing else."""
    with Switch() as switch:
        nodes = [Host(f"10.8.0.{n}", switch.plug(f"hand{n}", f"10.8.0.{n}")) for n in (1, 2)]
        ends = []
        for number, node in enumerate(nodes, 1):
            inside = f"{switch.namespace}in{number}"
            switch.hosts.append(inside)
            own, far = f"10.7.{number}", f"10.7.{3 - number}"
            direct = (f"-n {node.namespace} route add {far}.0/24 via 10.8.0.{3 - number}",)
            way = _tunnel(node, number, far) if vxlan else direct
            for command in (
                f"netns add {inside}",
                f"-n {node.namespace} link add inner type veth peer name eth0 netns {inside}",
                f"-n {node.namespace} link set inner up",
                f"-n {node.namespace} address add {own}.1/24 dev inner",
                f"-n {inside} address add {own}.5/24 dev eth0",
                f"-n {inside} link set lo up",
                f"-n {inside} link set eth0 up",
                f"-n {inside} route add default via {own}.1" + (f" mtu {1500 - _OVERHEAD}" if vxlan else ""),
                *way,
            ):
                subprocess.run(["ip", *command.split()], check=True, timeout=30)
            subprocess.run([*node.entering, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], check=True)
            ends.append(Inside(f"hand{number}", f"{own}.5", "", f"/run/netns/{inside}"))
        yield ends[0], ends[1]


def _tunnel(node: Host, number: int, far: str) -> tuple[str, ...]:
    """Commands that send a network through VXLAN."""
    peer, own_end, far_end = f"10.8.0.{3 - number}", f"0a:00:00:00:00:0{number}", f"0a:00:00:00:00:0{3 - number}"
    at = f"-n {node.namespace}"
    return (
        f"{at} link add vx type vxlan id 5 dstport 4789 nolearning remote {peer}",
        f"{at} link set vx address {own_end} mtu {1500 - _OVERHEAD} up",
        f"{at} neighbour add {far}.1 lladdr {far_end} dev vx nud permanent",
        f"{at} route add {far}.0/24 via {far}.1 dev vx onlink",
    )


def _changes(node: Machine, size: Size) -> tuple[list[float], int]:
    """Seconds of each change of one instance, and the netmanager's memory in bytes after them."""
    services: dict[str, ServiceEntry] = {}
    endpoints: dict[str, Endpoint] = {}
    for place in range(size.services):
        id = f"s{place}"
        address = ServiceAddress(f"10.30.{place // 250}.{place % 250 + 1}")
        services[id] = service(id, f"app{place}", address, group=f"g{place % 100}")
        for number in range(10):
            at = place * 10 + number
            attempt = f"e{place}x{number}"
            ipv4 = f"10.18.{100 + at // 250}.{at % 250 + 2}"
            endpoints[attempt] = Endpoint(attempt, id, number, "south", ipv4)
    node.attach("here", "s0", 99, 5)
    assert not node.change(services=services, endpoints=endpoints).error
    took = []
    for number in range(size.changes):
        changed = msgspec.structs.replace(endpoints[f"e{number}x0"], ipv4=f"10.18.240.{number + 2}")
        endpoints = {**endpoints, changed.attempt: changed}
        node.plan = msgspec.structs.replace(node.plan, endpoints=endpoints)
        began = time.perf_counter()
        error = node.change().error
        took.append(time.perf_counter() - began)
        assert not error, error
    assert node.process is not None
    return took, psutil.Process(node.process.pid).memory_full_info().pss


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def _quartiles(values: list[float], scale: float) -> str:
    several = [*values, *values] if len(values) == 1 else values
    low, _, high = statistics.quantiles(several, n=4, method="inclusive")
    return f"quartiles {low * scale:.3g} and {high * scale:.3g}, n = {len(values)}"
