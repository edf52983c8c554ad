"""How long an instance is away when its node dies, beside a Docker Swarm; and that nothing moves without need."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import swarm
from benchmarks.processes import working_below
from benchmarks.result import Figure, Result, spread
from benchmarks.tree import ClusterProgram, Program, Tree, growing_tree, running_in
from mangrove.client.wait import wait_until

_NODES = 3
#: Seconds of pause between two looks.
_POLL = 0.02
#: Seconds after which an instance that does not run counts as lost.
_LOST = 60.0
#: Seconds that a node is left alone before it dies: its beats and leases are at some moment of their own by then.
_CALM = 1.0


@dataclass(frozen=True)
class Size:
    """Rounds of a node that dies, of one that falls silent, and of a Swarm's worker that dies."""

    crashes: int
    silences: int
    swarm: int


FULL, QUICK = Size(60, 8, 6), Size(2, 1, 0)


def measure(folder: Path, size: Size) -> Result:
    """Rounds on process instances; the Swarm's are containers."""
    with growing_tree(folder / "tree") as tree:
        forest = _Forest(tree)
        at_once = forest.deploy("hasty", disconnect={"act_on_gone": True})
        crashed = [forest.round(at_once, forest.crash) for _ in range(size.crashes)]
        tree.undeploy(at_once)
        patient = forest.deploy("patient")
        silent = [forest.round(patient, forest.silence) for _ in range(size.silences)]
        tree.undeploy(patient)
    theirs, why_not = swarm.measured(folder / "swarm", size.swarm) if size.swarm else ([], "no Swarm was asked for")
    figures = [
        *spread("crash to replacement RUNNING", crashed),
        Figure("crash to replacement RUNNING, slowest", max(crashed), "s", 2),
    ]
    if silent:
        figures += spread("silence to replacement RUNNING", silent)
        figures.append(Figure("silence to replacement RUNNING, slowest", max(silent), "s", 12))
    if theirs:
        figures += spread("Docker Swarm, crash to replacement running", theirs)
        ratio = sorted(theirs)[len(theirs) // 2] / sorted(crashed)[len(crashed) // 2]
        figures.append(Figure("Docker Swarm's median by ours", ratio))
    return Result(
        "recovery",
        "a node dies, or is not heard any more",
        (
            f"one root, one cluster, {_NODES} nodes on this machine; lease 10 s; one process instance",
            "crash: SIGKILL to the engine and all of its instances at once, policy act_on_gone; the kernel closes its "
            "connections, as it does not when a machine loses its power: that is the next row",
            "silence: SIGSTOP to the engine, policy as by default; its connections stay and carry nothing",
            f"until the root says that the replacement runs, asked every {1000 * _POLL:.0f} ms",
            *((why_not,) if why_not else ("Docker Swarm: one manager, two workers, all settings as they come",)),
        ),
        tuple(figures),
        {"crash": crashed, "silence": silent, "swarm": theirs},
    )


class _Forest:
    """One cluster whose nodes die and come back."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._cluster: ClusterProgram = tree.add_cluster("cluster")
        token = tree.node_token(self._cluster, _NODES)
        self._nodes = {f"node{n}": tree.add_node(self._cluster, token, f"node{n}", "process") for n in range(_NODES)}
        tree.wait_for_nodes(_NODES)

    def deploy(self, name: str, **fields: object) -> str:
        """A service with one instance that runs."""
        service = self._tree.declare(name, "process", cmd=["sleep", "1000000"], **fields)
        self._tree.client.deploy(service)
        self._tree.wait_for_running(service, 1)
        return service

    def round(self, service: str, strike: Callable[[Program], Callable[[], None]]) -> float:
        """Seconds from what befalls the node of a service's instance until it runs on another; all is well then."""
        before = wait_until(lambda: self._node_of(service), _LOST, what="it to run")
        time.sleep(_CALM)
        begun = time.monotonic()
        recover = strike(self._nodes[before])
        while self._node_of(service) in ("", before):
            if time.monotonic() - begun > _LOST:
                raise RuntimeError(f"nothing replaces it: {self._tree.client.service(service).instances}")
            time.sleep(_POLL)
        took = time.monotonic() - begun
        recover()
        self._tree.wait_for_nodes(_NODES)
        return took

    def crash(self, node: Program) -> Callable[[], None]:
        """It is gone with all that it runs."""
        node.kill()
        for process in working_below(node.folder):
            process.kill()
        return node.start

    def silence(self, node: Program) -> Callable[[], None]:
        """It is not heard any more."""
        node.process.send_signal(signal.SIGSTOP)
        return lambda: node.process.send_signal(signal.SIGCONT)

    def _node_of(self, service: str) -> str:
        """The node on which a service's instance runs; empty while it does not."""
        running = running_in(self._tree.client.service(service)).values()
        return next((instance.node.name for instance in running if instance.node is not None), "")
