"""How fast what an instance printed comes from its file to a client, through two levels."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, Result
from benchmarks.tree import growing_tree
from mangrove.client.logs import read_logs
from mangrove.client.root import RootClient
from mangrove.client.wait import wait_until

#: Bytes of a line with its end, as of a usual log.
_LINE = 100
#: Lines a second that an answer should bring, at least; and how many the figures are about.
_GOAL = 20_000
_LINES = 100_000

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
    """lines: that are there before anybody asks; a file keeps no more than 20 MiB. rounds: how often they are read."""

    lines: int
    rounds: int


FULL, QUICK = Size(lines=_LINES, rounds=7), Size(lines=10_000, rounds=1)


def measure(folder: Path, size: Size) -> Result:
    """One instance, read whole by one client."""
    with growing_tree(folder) as tree:
        cluster = tree.add_cluster("cluster")
        tree.add_node(cluster, tree.node_token(cluster, 1), "node", "process")
        tree.wait_for_nodes(1)
        script = _PRINTER.format(text=_LINE - 10, lines=size.lines)
        service = tree.declare("talker", "process", cmd=[sys.executable, "-c", script])
        instance = f"{service}.{tree.client.deploy(service)}"
        tree.wait_for_running(service, 1)
        wait_until(lambda: _last(tree.client, instance) == "end", 60, what="the instance to have printed all")
        texts, lines = [], []
        for _ in range(size.rounds):
            texts.append(_rate(tree.client.lines(f"/api/v1/instances/{instance}/logs", accept="text/plain"), size))
            lines.append(_rate(read_logs(tree.client, instance), size))
    figures = [
        Figure(
            f"{_LINES:,} lines as {kind}",
            _LINES / statistics.median(rates),
            "s",
            _LINES / _GOAL,
            f"{statistics.median(rates):,.0f} lines/s ({min(rates):,.0f} to {max(rates):,.0f})",
        )
        for kind, rates in (("text", texts), ("JSON", lines))
    ]
    return Result(
        "logs",
        "from an instance's file to a client",
        (
            "one root, one cluster, one node with one process instance, all on this machine; two brokers",
            f"{size.lines:,} lines of {_LINE} bytes in the instance's file; from the request until the Python client "
            f"has the last line, {size.rounds} rounds",
            "as text, and as JSON lines with time, stream and position, decoded; the client shares the two cores",
        ),
        tuple(figures),
        {"text": texts, "json": lines},
    )


def _rate(lines: Iterable[object], size: Size) -> float:
    """Lines a second. Raises RuntimeError when not all came."""
    begun = time.perf_counter()
    count = sum(1 for _ in lines)
    seconds = time.perf_counter() - begun
    if count != size.lines + 1:
        raise RuntimeError(f"{count} lines came instead of {size.lines + 1}")
    return count / seconds


def _last(client: RootClient, instance: str) -> str:
    return "".join(line.line for line in read_logs(client, instance, tail=1))
