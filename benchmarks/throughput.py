"""How many instances a second go the whole way: API, store, root, cluster, node, and their statuses back."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks.load import Load, playing
from benchmarks.processes import cpu_seconds
from benchmarks.result import Figure, Result
from benchmarks.tree import Tree, growing_tree
from mangrove.client.wait import wait_until

#: Requests under way at once, as in `burst`.
_CLIENTS = 16
#: Instances that one request asks for where it asks for many.
_AT_ONCE = 100
#: Seconds between two reports of a node's usage: as a parent allows by default.
_PERIOD = 5.0
#: Seconds of pause between two looks, and for all nodes to come, and for all instances to run.
_POLL, _COMING, _PATIENCE = 0.02, 120.0, 120.0
#: Milliseconds for one instance: 1,000 in a second where requests ask for many, 300 where they ask for one.
_GOAL_MANY, _GOAL_ONE = 1.0, 1000 / 300
#: What is Mangrove's own of the processes.
_OURS = ("root", "clusters")


@dataclass(frozen=True)
class Size:
    """Clusters; nodes of each; services; instances of each service; rounds that count, after those that do not."""

    clusters: int
    nodes: int
    services: int
    instances: int
    warm_up: int
    rounds: int


FULL, QUICK = Size(4, 50, 40, _AT_ONCE, 1, 3), Size(2, 4, 4, 10, 0, 1)

#: The requests for so many instances of each of these services.
Ask = Callable[[Tree, int, list[str]], list[Callable[[], object]]]


@dataclass(frozen=True)
class Round:
    """Seconds from the first request until all run; CPU-seconds meanwhile of each group of processes."""

    seconds: float
    cpu: dict[str, float]


def measure(folder: Path, size: Size) -> Result:
    """Rounds in which many instances are asked for, first many by a request, then one by each."""
    total = size.services * size.instances
    with growing_tree(folder / "tree") as tree, contextlib.ExitStack() as players:
        loads, groups = [], {"root": [tree.root.process], "brokers": tree.root.children("mosquitto")}
        groups |= {"clusters": [], "simulated nodes": [], "generator": [psutil.Process(os.getpid())]}
        for number in range(size.clusters):
            cluster = tree.add_cluster(f"cluster{number}")
            token = tree.node_token(cluster, size.nodes)
            load = players.enter_context(playing(cluster.address, token, size.nodes, _PERIOD, "simulated"))
            loads.append(load)
            groups["clusters"].append(cluster.program.process)
            groups["brokers"] += cluster.program.children("mosquitto")
            groups["simulated nodes"].append(load.process)
        tree.wait_for_nodes(size.clusters * size.nodes, _COMING)
        services = [tree.declare(f"crowd{number}", "simulated", code="none") for number in range(size.services)]
        run = _Run(tree, loads, groups, services, size.instances)
        rounds = size.warm_up + size.rounds
        many = [run.round(_many) for _ in range(rounds)][size.warm_up :]
        single = [run.round(_one_by_one) for _ in range(rounds)][size.warm_up :]
    return Result(
        "throughput",
        f"{total:,} instances on {size.clusters * size.nodes} nodes, the whole way",
        (
            f"one root and {size.clusters} clusters on SQLite, each with its broker; {size.nodes} nodes of each "
            "cluster are played by one process, by the production state machines over real MQTT",
            "such a node tells that an instance starts, and 50 ms later that it runs; it reports its own usage every "
            f"{_PERIOD:g} s; nothing is really run",
            f"one process asks, {_CLIENTS} requests at a time, each on a connection of its own: for {size.services} "
            f"services, {size.instances} instances each by one request, or by one request for each instance, service "
            "after service in turns",
            "from before the first request until GET /api/v1/services/… of all services shows that all run: not asked "
            "before the nodes have said so",
            f"{size.rounds} rounds after {size.warm_up} to warm up, the median of them; {os.cpu_count()} cores in all",
            "CPU time, user and system, divided by the instances; the generator includes those looks, and the root the "
            "answers to them",
        ),
        (
            *_figures("many by a request", many, total, _GOAL_MANY),
            *_figures("one by a request", single, total, _GOAL_ONE),
        ),
        {"many by a request": [one.seconds for one in many], "one by a request": [one.seconds for one in single]},
    )


class _Run:
    def __init__(
        self,
        tree: Tree,
        loads: list[Load],
        groups: dict[str, list[psutil.Process]],
        services: list[str],
        instances: int,
    ) -> None:
        self._tree = tree
        self._loads = loads
        self._groups = groups
        self._services = services
        self._instances = instances

    def round(self, ask: Ask) -> Round:
        before = self._cpu()
        begun = time.monotonic()
        with ThreadPoolExecutor(_CLIENTS) as clients:
            ask_all = ask(self._tree, self._instances, self._services)
            for asked in [clients.submit(one) for one in ask_all]:
                asked.result()
        total = self._instances * len(self._services)
        wait_until(lambda: self._playing() == total, _PATIENCE, what="all instances to run", interval=_POLL)
        for service in self._services:
            self._tree.wait_for_running(service, self._instances)
        seconds = time.monotonic() - begun
        after = self._cpu()
        for service in self._services:
            self._tree.client.undeploy(service)
        for service in self._services:
            self._tree.undeploy(service)
        self._tree.wait_for_room()
        return Round(seconds, {name: after[name] - before[name] for name in after})

    def _playing(self) -> int:
        return sum(load.counters().running for load in self._loads)

    def _cpu(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, group)) for name, group in self._groups.items()}


def _many(tree: Tree, instances: int, services: list[str]) -> list[Callable[[], object]]:
    return [partial(tree.client.scale, service, instances) for service in services]


def _one_by_one(tree: Tree, instances: int, services: list[str]) -> list[Callable[[], object]]:
    return [partial(tree.client.deploy, service) for _ in range(instances) for service in services]


def _figures(name: str, rounds: list[Round], total: int, goal: float) -> list[Figure]:
    took = statistics.median(one.seconds for one in rounds)
    figures = [Figure(f"{name}, time for each", 1000 * took / total, "ms", goal, f"{total / took:,.0f} instances/s")]
    for group in rounds[0].cpu:
        used = statistics.median(one.cpu[group] for one in rounds)
        figures.append(Figure(f"{name}, CPU of {group} for each", 1000 * used / total, "ms"))
    ours = [sum(one.cpu[group] for group in _OURS) for one in rounds]
    figures.append(Figure(f"{name}, CPU of root and clusters for each", 1000 * statistics.median(ours) / total, "ms"))
    return figures
