"""`python -m tests.simulation`: run seeds, print what they did, stop at the third that breaks an invariant."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.listening import listening
from tests.simulation.lives import Tally, live_all, missed, summary, table
from tests.simulation.tree import Plan, Tree
from tests.simulation.world import InvariantBroken

#: What `--seconds` asks of each second of two cores: 50,000 faults while something was under way, 2,000,000 messages,
#: and every fault met by every message at both levels 100 times, in three minutes.
_BUSY, _MESSAGES, _HITS = 50_000 / 360, 2_000_000 / 360, 100 / 360


def _one(seed: int) -> int:
    """One seed with its whole trace."""
    tree = Tree(seed, Plan.of(seed))
    failure: InvariantBroken | None = None
    try:
        with listening(tree.world):
            tree.run()
    except InvariantBroken as broken:
        failure = broken
    print(*tree.world.trace, sep="\n")
    print(f"seed {seed}: {failure or 'all invariants held'}")
    return 1 if failure is not None else 0


def _some(first: int, count: int) -> int:
    tally = live_all(range(first, first + count))
    print(summary(tally))
    return _verdict(tally)


def _for(first: int, seconds: float, cores: int) -> int:
    """Seeds for so many seconds on each core, and whether they did as much as they should."""
    begun = time.monotonic()
    with ProcessPoolExecutor(cores) as pool:
        parts = pool.map(
            partial(_share, seconds=seconds), [range(first + core, first + 10**9, cores) for core in range(cores)]
        )
        tally = Tally()
        for part in parts:
            tally.add(part)
    print(table(tally.hits))
    print(summary(tally))
    print(f"{time.monotonic() - begun:.1f} s, seeds from {first} on")
    too_few = missed(tally.hits, int(_HITS * seconds * cores))
    for name, count, least in (
        ("faults while something was under way", tally.during[""], _BUSY * seconds * cores),
        ("messages", tally.messages.total(), _MESSAGES * seconds * cores),
    ):
        if count < least:
            too_few.append(f"{name}: {count:,}, and should be {least:,.0f}")
    print(*(f"too few: {line}" for line in too_few), sep="\n")
    return _verdict(tally) or int(bool(too_few))


def _share(seeds: range, seconds: float) -> Tally:
    return live_all(seeds, seconds)


def _verdict(tally: Tally) -> int:
    print(*tally.failed.values(), sep="\n")
    print(f"failed: {sorted(tally.failed)}" if tally.failed else "all invariants held")
    return 1 if tally.failed else 0


def main() -> int:
    """Exit status 0 when all seeds keep all invariants and, with `--seconds`, enough was met; else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, help="run seeds for so long on each core, and ask that enough is met")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="processes at once, with --seconds")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run without --seconds")
    parser.add_argument("--first", type=int, help="the first of them; drawn when left out with --seconds")
    parser.add_argument("--seed", type=int, help="run this one only, and print its whole trace")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed)
    if arguments.seconds is not None:
        first = random.SystemRandom().randrange(10**9) if arguments.first is None else arguments.first
        return _for(first, arguments.seconds, arguments.cores)
    return _some(arguments.first or 1, arguments.seeds)


if __name__ == "__main__":
    sys.exit(main())
