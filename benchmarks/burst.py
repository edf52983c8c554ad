"""Many instances of one service, asked for at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Figure, Result, spread
from benchmarks.tree import Tree, growing_tree, running_in

#: Requests under way at once: what a user's tools do in parallel, twice the root's HTTP threads.
_CLIENTS = 16
#: Seconds of pause between two looks at all instances.
_POLL = 0.05
#: Seconds after which what does not run counts as lost, and after which all must still run.
_LOST, _LASTING = 60.0, 2.0


@dataclass(frozen=True)
class Size:
    """How many of each; one more round comes before those that count."""

    instances: int
    nodes: int
    rounds: int


FULL, QUICK = Size(200, 20, 10), Size(20, 3, 2)


def measure(folder: Path, size: Size) -> Result:
    """Rounds of so many instances on simulated runtimes of so many node engines, each a process."""
    instances, nodes, rounds = size.instances, size.nodes, size.rounds
    accepted: list[float] = []
    complete: list[float] = []
    lost = 0
    with growing_tree(folder / "tree") as tree:
        cluster = tree.add_cluster("cluster")
        token = tree.node_token(cluster, nodes)
        for number in range(nodes):
            tree.add_node(cluster, token, f"node{number}", "simulated")
        tree.wait_for_nodes(nodes)
        service = tree.declare("crowd", "simulated", code="none")
        for number in range(rounds + 1):
            took = _round(tree, service, instances)
            lost += took[2]
            if number:  # the first one warms up; what it loses counts all the same
                accepted.append(took[0])
                complete.append(took[1])
            tree.undeploy(service)
            tree.wait_for_room()
    return Result(
        "burst",
        f"{instances} instances of one service at once",
        (
            f"one root, one cluster, {nodes} node engines with simulated runtimes, each a process on this machine",
            f"one POST for each instance, {_CLIENTS} at a time; from before the first one until one GET shows all "
            f"running, asked every {1000 * _POLL:.0f} ms beyond the time of the answer; {rounds} rounds after one",
            f"lost: what does not run after {_LOST:.0f} s, or not as the same attempt {_LASTING:.0f} s later",
        ),
        (
            *spread("all requests answered", accepted),
            *spread("all RUNNING", complete),
            Figure("all RUNNING, slowest round", max(complete), "s", 5),
            Figure("lost", lost, "", 0),
        ),
        {"answered": accepted, "running": complete},
    )


def _round(tree: Tree, service: str, instances: int) -> tuple[float, float, int]:
    """Seconds until all requests were answered, and until all instances ran; and how many were lost."""
    begun = time.monotonic()
    with ThreadPoolExecutor(_CLIENTS) as clients:
        requests = [clients.submit(tree.client.deploy, service) for _ in range(instances)]
        numbers = {request.result() for request in requests}
    answered = time.monotonic() - begun
    while not numbers <= (running := running_in(tree.client.service(service))).keys():
        if time.monotonic() - begun > _LOST:
            break
        time.sleep(_POLL)
    took = time.monotonic() - begun
    time.sleep(_LASTING)
    later = running_in(tree.client.service(service))
    kept = [number for number in numbers if number in later and later[number].attempt == running[number].attempt]
    return answered, took, instances - len(kept)
