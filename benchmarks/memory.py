"""How much memory each program needs, and CPU time while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workloads
from benchmarks.processes import cpu_seconds, memory_of
from benchmarks.result import Figure, Result
from benchmarks.tree import Program, Tree, growing_tree

_MB = 1e6
#: Goals in MB (all processes of the program) and percent of one core at rest.
_ROOT, _CLUSTER, _PROCESS, _DOCKER, _AT_REST = 120, 90, 30, 45, 0.5
_PER_NODE = 5


@dataclass(frozen=True)
class Size:
    """Node engines; seconds before CPU time at rest is counted, and while it is; whether one of them has Docker."""

    nodes: int
    settle: float
    rest: float
    docker: bool = True


FULL, QUICK = Size(20, 180.0, 120.0), Size(4, 10.0, 10.0)


def measure(folder: Path, size: Size) -> Result:
    """A tree of node engines with five instances each, after a while."""
    nodes, settle, rest = size.nodes, size.settle, size.rest
    with workloads.docker_engine(folder, size.docker) as docker, growing_tree(folder / "tree") as tree:
        programs = _grow(tree, nodes, docker)
        time.sleep(settle)
        before = {name: cpu_seconds(program.process) for name, program in programs.items()}
        begun = time.monotonic()
        time.sleep(rest)
        passed = time.monotonic() - begun
        used = {name: cpu_seconds(program.process) - before[name] for name, program in programs.items()}
        percent = {name: 100 * seconds / passed for name, seconds in used.items()}
        figures = list(_parent_figures("root", programs["root"], _ROOT, percent))
        figures += _parent_figures("cluster", programs["cluster"], _CLUSTER, percent)
        figures += _node_figures("node, process runtime", programs["process"], _PROCESS, percent["process"])
        if docker:
            figures += _node_figures("node, Docker SDK", programs["docker"], _DOCKER, percent["docker"])
    return Result(
        "memory",
        "memory, and CPU time at rest",
        (
            f"one root, one cluster, {nodes} node engines with {_PER_NODE} instances each, each a process on this "
            "machine: one engine has the process runtime"
            + (", one the Docker runtime, the others simulated ones" if docker else ", the others simulated ones"),
            f"memory {settle + rest:.0f} s after the last instance ran, CPU time over the last {rest:.0f} s of these, "
            "during which nobody asked for anything",
            "PSS divides what processes share among them, and here they share Python; RSS counts it whole: a device "
            "on which nothing else runs Python needs about that much",
            "all processes of a program: root and cluster with their broker, a node with the supervisors of its "
            "process instances, without the instances",
        ),
        tuple(figures),
    )


def _grow(tree: Tree, nodes: int, docker: str) -> dict[str, Program]:
    """The programs that are measured, by role, when all instances run."""
    cluster = tree.add_cluster("cluster")
    token = tree.node_token(cluster, nodes)
    programs = {"root": tree.root, "cluster": cluster.program}
    programs["process"] = tree.add_node(cluster, token, "process", "process")
    if docker:
        programs["docker"] = tree.add_node(cluster, token, "docker", "docker", DOCKER_HOST=docker)
    for number in range(nodes - len(programs) + 2):
        tree.add_node(cluster, token, f"simulated{number}", "simulated")
    tree.wait_for_nodes(nodes)
    wanted = {tree.declare("process", "process", cmd=workloads.PROCESS): _PER_NODE}
    if docker:
        wanted[tree.declare("container", "docker", code=workloads.IMAGE, cmd=workloads.CONTAINER)] = _PER_NODE
    wanted[tree.declare("simulated", "simulated", code="none")] = _PER_NODE * (nodes - len(wanted))
    for service, count in wanted.items():
        for _ in range(count):
            tree.client.deploy(service)
    for service, count in wanted.items():
        tree.wait_for_running(service, count)
    return programs


def _parent_figures(name: str, program: Program, goal: float, percent: dict[str, float]) -> Iterator[Figure]:
    brokers = program.children("mosquitto") + program.children("nats-server")
    whole, broker = memory_of([program.process, *brokers]), memory_of(brokers)
    yield Figure(f"{name}, PSS", whole.pss / _MB, "MB", goal, f"of it {broker.pss / _MB:.1f} MB its broker")
    yield Figure(f"{name}, RSS", whole.rss / _MB, "MB", None, f"of it {broker.rss / _MB:.1f} MB its broker")
    yield Figure(f"{name}, CPU at rest", percent[name], "%", None, "of one core, without the broker")


def _node_figures(name: str, program: Program, goal: float, percent: float) -> Iterator[Figure]:
    supervisors = program.children("sh")
    whole, extra = memory_of([program.process, *supervisors]), memory_of(supervisors)
    yield Figure(f"{name}, PSS", whole.pss / _MB, "MB", goal, f"of it {extra.pss / _MB:.1f} MB supervisors")
    yield Figure(f"{name}, RSS", whole.rss / _MB, "MB", None, f"of it {extra.rss / _MB:.1f} MB supervisors")
    yield Figure(f"{name}, CPU at rest", percent, "%", _AT_REST, "of one core")
