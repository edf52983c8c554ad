"""Whether anything is moved or started anew without need, on a network that loses and delays: in simulated time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from benchmarks.result import Figure, Result
from mangrove.link.pace import Settings
from mangrove.model.documents import EVENTS
from mangrove.model.specification import Disconnect
from tests.simulation import processes
from tests.simulation.listening import quiet
from tests.simulation.tree import Plan, Tree
from tests.simulation.users import Users
from tests.simulation.world import Weather

#: As `--lease` has them by default.
_SETTINGS = Settings(lease=10.0, beat=2.0)
_LOST, _JITTER = 0.05, 0.2
#: What an event says that had no cause here: everything runs, and nobody wants anything.
_NEEDLESS = ("silent", "suspect", "moved", "placed", "failed", "failing", "refused", "handed-back", "replaced")


@dataclass(frozen=True)
class Size:
    """Trees, each of its own seed; virtual seconds of bad network."""

    trees: int
    seconds: float


FULL, QUICK = Size(3, 3600.0), Size(1, 120.0)


def measure(folder: Path, size: Size) -> Result:
    """Trees whose users are done, left alone on a bad network."""
    events: Counter[str] = Counter()
    starts = messages = instances = 0
    for seed in range(1, size.trees + 1):
        with (
            patch.object(processes, "SETTINGS", _SETTINGS),
            patch.object(Users, "_policy", lambda self, exclusive: Disconnect()),
            quiet(),
        ):
            tree = Tree(seed, Plan(clusters=2, nodes=5, instances=40, readers=0))
            for process in tree.processes:
                process.start()
            tree.world.run(10.0)
            tree.users.declare(5)
            for _ in range(100):
                tree.users.write()
                tree.world.run(2.0)
            tree.world.run(120.0)
            instances += len(tree.watch.wanted)
            known = _events(tree)
            running = {attempt for node in tree.nodes for attempt in node.runtime.running}
            before = tree.world.messages.total()
            tree.world.weather = Weather(lost=_LOST, late=1.0, longest=_JITTER)
            tree.world.run(size.seconds)
            messages += tree.world.messages.total() - before
            starts += len({attempt for node in tree.nodes for attempt in node.runtime.running} - running)
            events += _events(tree) - known
    needless = {kind: count for kind, count in events.items() if kind.rpartition("-")[2] in _NEEDLESS}
    return Result(
        "calm",
        "false positives on a bad network",
        (
            f"{size.trees} simulated trees of one root, 2 clusters and 10 nodes, {instances} instances in all; "
            "lease 10 s, beats every 2 s, policies as by default",
            f"{size.seconds:g} virtual seconds each in which {100 * _LOST:g} % of all messages are lost and each takes "
            f"1 to {1000 * _JITTER:g} ms; nobody wants anything; {messages} messages",
            f"what was told meanwhile: {dict(events) or 'nothing'}",
        ),
        (
            Figure("children counted as silent", sum(n for k, n in needless.items() if k.endswith("silent")), "", 0),
            Figure("instances moved, placed, failed or refused", _count(needless), "", 0),
            Figure("instances started", starts, "", 0),
        ),
    )


def _count(events: dict[str, int]) -> int:
    return sum(count for kind, count in events.items() if not kind.endswith(("silent", "suspect")))


def _events(tree: Tree) -> Counter[str]:
    """How often each kind was told, by any parent."""
    told = (stored for parent in tree.parents for stored in parent.true_store.load(EVENTS))
    return Counter(str(stored.document["kind"]) for stored in told)
