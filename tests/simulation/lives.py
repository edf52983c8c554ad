"""Many seeds, and what they did together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.coverage import LEVELS, MESSAGES
from tests.simulation.listening import quiet
from tests.simulation.tree import Plan, Tree
from tests.simulation.under_way import WHAT
from tests.simulation.world import InvariantBroken

#: By fault, message and level.
Hits = Counter[tuple[str, str, str]]

#: Seeds that may fail before the rest is left alone.
ENOUGH = 3


@dataclass
class Tally:
    """What some lives did. failed: seed → what broke. seconds: of one core."""

    seeds: int = 0
    seconds: float = 0.0
    virtual: float = 0.0
    messages: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    during: Counter[str] = field(default_factory=Counter)
    hits: Hits = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Count what another one did, too."""
        self.seeds += other.seeds
        self.seconds += other.seconds
        self.virtual += other.virtual
        for own, its in (
            (self.messages, other.messages),
            (self.faults, other.faults),
            (self.during, other.during),
        ):
            own.update(its)
        self.hits.update(other.hits)
        self.failed.update(other.failed)


def names() -> list[str]:
    """All faults."""
    return sorted(Tree(0).faults.known)


def live(seed: int, plan: Plan | None = None) -> Tally:
    """The whole life of one seed."""
    begun, tally = time.process_time(), Tally(seeds=1)
    tree = Tree(seed, plan)
    try:
        with quiet():
            tree.run()
    except InvariantBroken as broken:
        tally.failed[seed] = "\n".join([f"seed {seed}: {broken}", *broken.__notes__])
    tally.messages.update(tree.world.messages)
    tally.faults.update(tree.faults.counted)
    tally.during.update(tree.faults.during)
    tally.hits.update(tree.world.coverage.hits)
    tally.virtual = tree.world.time
    tally.seconds = time.process_time() - begun
    return tally


def live_all(seeds: Iterable[int], seconds: float = float("inf")) -> Tally:
    """One life after the other, until they have used so many seconds of this core, or too many have failed."""
    tally = Tally()
    for seed in seeds:
        tally.add(live(seed))
        if tally.seconds >= seconds or len(tally.failed) >= ENOUGH:
            break
    return tally


def table(hits: Hits) -> str:
    """How often each fault met each kind of message, at the links of clusters / of nodes."""
    faults = names()
    heads = [message.replace("bulk/", "") for message in MESSAGES]
    width = max(len(name) for name in faults)
    lines = [f"{'':{width}}  " + "  ".join(f"{head:>11}" for head in heads)]
    for name in faults:
        cells = ["/".join(str(hits[name, message, level]) for level in LEVELS) for message in MESSAGES]
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def missed(hits: Hits, least: int) -> list[str]:
    """The pairs that were met less often than that."""
    return [
        f"{name} × {message} × {level}: {hits[name, message, level]} times"
        for name in names()
        for message in MESSAGES
        for level in LEVELS
        if hits[name, message, level] < least
    ]


def summary(tally: Tally) -> str:
    """The counts, in a few lines."""
    busy = tally.during[""]
    streams = sum(count for name, count in tally.messages.items() if "stream" in name)
    return "\n".join(
        [
            f"{tally.seeds} lives of {tally.virtual:.0f} virtual seconds in {tally.seconds:.1f} s of a core",
            f"messages: {tally.messages.total():,}, {streams:,} of them of streams",
            f"faults: {tally.faults.total():,}, {busy:,} of them while something was under way: "
            + ", ".join(f"{what} {tally.during[what]:,}" for what in WHAT),
        ]
    )
