"""What it costs a cluster to hear a thousand nodes."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.deploy import deploy
from benchmarks.load import device_name, playing
from benchmarks.processes import cpu_seconds, memory_of
from benchmarks.result import Figure, Result, spread
from benchmarks.tree import PATIENCE, ClusterProgram, growing_tree
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.wait import TimedOut, wait_until
from mangrove.model.child import NodeView

#: Seconds between two reports of a node, as Oakestra's nodes do by default.
_PERIOD = 2.0
#: Seconds for all nodes to join and connect.
_COMING = 600.0
_MIB = 2**20


@dataclass(frozen=True)
class Size:
    """Nodes; seconds before CPU time is counted, and while it is; rounds of deploying."""

    nodes: int
    warm_up: float
    seconds: float
    rounds: int


FULL, QUICK = Size(1000, 30.0, 120.0, 20), Size(50, 4.0, 10.0, 3)


def measure(folder: Path, size: Size) -> Result:
    """A cluster under the reports of many nodes that one other process plays."""
    nodes = size.nodes
    with growing_tree(folder / "tree") as tree:
        cluster = tree.add_cluster("cluster")
        token = tree.node_token(cluster, nodes + 1)
        tree.add_node(cluster, token, "real", "simulated")
        begun = time.monotonic()
        with playing(cluster.address, token, nodes, _PERIOD, "process") as load:
            wait_until(lambda: load.counters().settled == nodes, _COMING, what="all nodes to be settled", interval=1.0)
            coming = time.monotonic() - begun
            tree.wait_for_nodes(nodes + 1)
            time.sleep(size.warm_up)
            programs = {
                "cluster": cluster.program.process,
                "broker": cluster.program.children("mosquitto")[0],
                "root": tree.root.process,
                "load": load.process,
            }
            before, heard = {name: cpu_seconds(one) for name, one in programs.items()}, load.counters()
            started = time.monotonic()
            time.sleep(size.seconds)
            passed = time.monotonic() - started
            after, now = {name: cpu_seconds(one) for name, one in programs.items()}, load.counters()
            used = {name: after[name] - before[name] for name in programs}
            service = tree.declare("one", "simulated", code="none")
            times = [deploy(tree, service) for _ in range(size.rounds)]
            memory = memory_of([cluster.program.process])
            end = load.counters("quiet")
            differing = _differing(cluster, end.told)
    reports = now.reports - heard.reports
    each = 1000 / reports
    return Result(
        "reports",
        f"usage reports of {nodes} nodes",
        (
            f"one cluster (with its root) hears {nodes} nodes, which one other process plays by the production state "
            "machines over real MQTT, each with an identity, a key and a TCP connection of its own",
            f"each reports all of its usage every {_PERIOD:g} s and beats besides: {reports / passed:.0f} reports and "
            f"{(now.beats - heard.beats) / passed:.0f} beats in a second, over {passed:.0f} s",
            "CPU time of the cluster's process, user and system, divided by the reports; beats, acknowledgements, "
            "deciding and telling the root of all nodes are in it",
            f"request to RUNNING: as in `deploy`, {size.rounds} rounds on one more node, a real node engine with a "
            "simulated runtime, while the load goes on",
            f"joining and connecting all of them took {coming:.0f} s",
        ),
        (
            Figure("cluster, CPU-seconds per 1,000 reports", used["cluster"] * each, "s", 1),
            Figure("cluster, of one core", 100 * used["cluster"] / passed, "%"),
            Figure("its broker, CPU-seconds per 1,000 reports", used["broker"] * each, "s"),
            Figure("root, CPU-seconds per 1,000 reports", used["root"] * each, "s"),
            Figure("who plays the nodes, of one core", 100 * used["load"] / passed, "%"),
            *spread("beat sent to acknowledgement heard", now.latencies),
            *spread("request to RUNNING under this load", times),
            Figure("nodes whose newest report is not what the cluster shows", differing, "", 0),
            Figure("connections that broke", end.connects - nodes, "", 0),
            Figure("messages that were not sent", end.unsent, "", 0),
            Figure("cluster, RSS", memory.rss / 1e6, "MB", None, "without its broker"),
        ),
        {"deploy": times, "slowest acknowledgements": sorted(now.latencies)[-100:]},
    )


def _differing(cluster: ClusterProgram, told: list[int]) -> int:
    """Nodes whose newest report, of which there will be no more, the cluster does not show."""
    operator = (cluster.program.folder / "data" / "secrets" / "operator.token").read_text()
    client = HttpClient(parse_address(cluster.address, 0), timeout=30.0)

    def differing() -> int:
        views = client.request("GET", "/api/v1/nodes", bearer=operator, form=list[NodeView])
        shown = {view.name: view.usage.memory // _MIB for view in views}
        return sum(shown.get(device_name(number)) != count for number, count in enumerate(told))

    with contextlib.suppress(TimedOut):  # it sums up what it heard every few seconds
        wait_until(lambda: differing() == 0, PATIENCE, what="the newest reports", interval=1.0)
    return differing()
