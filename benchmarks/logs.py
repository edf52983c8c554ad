"""How fast what an instance printed comes from its file to a client, through two levels."""

from __future__ import annotations

import http.client
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, Result
from benchmarks.tree import growing_tree
from mangrove.client.wait import wait_until

#: Bytes of a line with its end, as of a usual log.
_LINE = 100
#: Lines a second that an answer should bring, at least.
_GOAL = 20_000

_PRINTER = """
import sys, time
line = "x" * {text}
for start in range(0, {lines}, 1000):
    sys.stdout.write("".join(f"{{number:08}} {{line}}\\n" for number in range(start, start + 1000)))
sys.stdout.write("end\\n")
sys.stdout.flush()
time.sleep(100000)
"""


@dataclass(frozen=True)
class Size:
    """lines: that are there before anybody asks. rounds: how often they are read."""

    lines: int
    rounds: int


FULL, QUICK = Size(lines=200_000, rounds=5), Size(lines=20_000, rounds=1)


def measure(folder: Path, size: Size) -> Result:
    """One instance, read whole by one client; then whether beats were answered as quickly as before."""
    with growing_tree(folder) as tree:
        cluster = tree.add_cluster("cluster")
        tree.add_node(cluster, tree.node_token(cluster, 1), "node", "process")
        tree.wait_for_nodes(1)
        script = _PRINTER.format(text=_LINE - 10, lines=size.lines)
        command = [sys.executable, "-c", script]
        service = tree.declare("talker", "process", cmd=command)
        number = tree.client.deploy(service)
        tree.wait_for_running(service, 1)
        token = tree.client.session.token
        instance = f"{service}.{number}"
        wait_until(
            lambda: b"end\n" in _read(tree.client.address, token, instance, "?tail=1")[1], 60, what="all printed"
        )
        texts, lines = [], []
        for _ in range(size.rounds):
            texts.append(_rate(tree.client.address, token, instance, "text/plain", size.lines))
            lines.append(_rate(tree.client.address, token, instance, "application/x-ndjson", size.lines))
        nodes = tree.client.nodes()
    assert all(node.state == "live" for node in nodes)
    raw = {"text": texts, "json": lines}
    figures = [
        Figure(
            f"lines a second, as {kind}",
            statistics.median(rates),
            note=f"{min(rates):.0f} to {max(rates):.0f}; goal ≥ {_GOAL}",
        )
        for kind, rates in raw.items()
    ]
    conditions = (
        "one root, one cluster, one node with one process instance, all on this machine, Mosquitto at both levels",
        f"{size.lines} lines of {_LINE} bytes in the instance's file; from the request until the last line was read",
        f"{size.rounds} rounds, each as text and as JSON lines with time, stream and position",
    )
    return Result("logs", "from an instance's file to a client", conditions, tuple(figures), raw)


def _rate(address: str, token: str, instance: str, accept: str, lines: int) -> float:
    begun = time.perf_counter()
    count, _ = _read(address, token, instance, "", accept)
    seconds = time.perf_counter() - begun
    if count != lines + 1:
        raise RuntimeError(f"{count} lines came instead of {lines + 1}")
    return count / seconds


def _read(address: str, token: str, instance: str, query: str, accept: str = "text/plain") -> tuple[int, bytes]:
    """How many lines came, and the last bytes of them."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    try:
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        connection.request("GET", f"/api/v1/instances/{instance}/logs{query}", headers=headers)
        answer = connection.getresponse()
        count, last = 0, b""
        while data := answer.read1(1 << 20):
            count += data.count(b"\n")
            last = (last + data)[-200:]
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {last.decode()}")
        return count, last
    finally:
        connection.close()
