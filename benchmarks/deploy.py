"""How long it takes from a request for an instance until it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import workloads
from benchmarks.processes import working_below
from benchmarks.result import Figure, Result, spread
from benchmarks.tree import PATIENCE, Tree, growing_tree, running_in
from mangrove.client.wait import wait_until

#: Seconds of pause between two looks. A look takes some milliseconds itself, and the root's time with it.
_POLL = 0.01

#: Seconds after which what the API says must be seen at the process itself, too.
_TRUE_AFTER = 10.0


@dataclass(frozen=True)
class Size:
    """Rounds that count, those before them that do not, and whether containers are tried too."""

    rounds: int
    warm_up: int
    docker: bool = True


FULL, QUICK = Size(40, 5), Size(3, 1)


def measure(folder: Path, size: Size) -> Result:
    """Rounds of one process instance, one container, and one plain `docker run`, in turns."""
    with workloads.docker_engine(folder, size.docker) as docker, growing_tree(folder / "tree") as tree:
        cluster = tree.add_cluster("cluster")
        token = tree.node_token(cluster, 2)
        for number in range(2):
            environment = {"DOCKER_HOST": docker} if docker else {}
            tree.add_node(cluster, token, f"node{number}", "docker,process" if docker else "process", **environment)
        tree.wait_for_nodes(2)
        process = tree.declare("process", "process", cmd=workloads.PROCESS)
        turns: dict[str, Callable[[], float]] = {"process": lambda: deploy(tree, process, _processes)}
        if docker:
            container = tree.declare("container", "docker", code=workloads.IMAGE, cmd=workloads.CONTAINER)
            turns["container"] = lambda: deploy(tree, container, lambda _tree: _containers(docker))
            turns["docker run"] = lambda: _docker_run(docker)
        times: dict[str, list[float]] = {name: [] for name in turns}
        for number in range(size.warm_up + size.rounds):
            for name, turn in turns.items():
                took = turn()
                tree.wait_for_room()
                if number >= size.warm_up:
                    times[name].append(took)
    return Result(
        "deploy",
        "from request to RUNNING",
        (
            "one root, one cluster, two nodes, all on this machine",
            "from before POST …/instance until GET /api/v1/services/… says that it runs, asked every "
            f"{1000 * _POLL:.0f} ms beyond the time of the answer; then checked at the process itself",
            f"{size.rounds} rounds after {size.warm_up} to warm up, each of one instance: {', then '.join(turns)}",
            *(() if docker else ("no Docker engine is to be had here: containers are left out",)),
        ),
        tuple(_figures(times)),
        times,
    )


def deploy(tree: Tree, service: str, running: Callable[[Tree], int] | None = None) -> float:
    """Seconds from the request for an instance until it runs; then it is taken away. running: how many really do."""
    begun = time.monotonic()
    number = tree.client.deploy(service)
    while number not in running_in(tree.client.service(service)):
        if time.monotonic() - begun > PATIENCE:
            raise RuntimeError(f"does not run: {tree.client.service(service).instances}")
        time.sleep(_POLL)
    took = time.monotonic() - begun
    if running is not None:  # the supervisor of a process may be about to become it
        wait_until(lambda: running(tree) == 1, _TRUE_AFTER, what="what the API says to be true", interval=0.005)
    tree.undeploy(service)
    if running is not None:
        wait_until(lambda: running(tree) == 0, PATIENCE, what="the instance to end", interval=0.02)
    return took


def _figures(times: dict[str, list[float]]) -> list[Figure]:
    figures = spread("process, request to RUNNING", times["process"], p50=300, p95=600)
    if "container" in times:
        ours = spread("container, request to RUNNING", times["container"])
        plain = spread("docker run -d", times["docker run"])
        figures += [*ours, *plain]
        figures.append(Figure("container above docker run, p50", ours[0].value - plain[0].value, "ms", 300))
        figures.append(Figure("container above docker run, p95", ours[1].value - plain[1].value, "ms"))
    return figures


def _processes(tree: Tree) -> int:
    return sum(process.name() == workloads.PROCESS[0] for process in working_below(tree.folder))


def _containers(docker: str) -> int:
    """Of Mangrove, those that ended too: what still has to be removed would slow down the next turn."""
    return len(workloads.run_docker(docker, "ps", "--all", "--quiet", "--filter", "label=mangrove.attempt").split())


def _docker_run(docker: str) -> float:
    """Seconds that `docker run -d` takes."""
    begun = time.monotonic()
    container = workloads.run_docker(docker, "run", "-d", workloads.IMAGE, *workloads.CONTAINER)
    took = time.monotonic() - begun
    workloads.run_docker(docker, "rm", "--force", container)
    return took
