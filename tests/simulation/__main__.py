"""`python -m tests.simulation`: run seeds, print what they did, stop at the third that breaks an invariant."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace

from tests.simulation.listening import listening, quiet
from tests.simulation.tree import Plan, Tree
from tests.simulation.world import InvariantBroken

#: Seeds that may fail before the rest is left alone.
_ENOUGH = 3


def _one(seed: int, storm: float) -> int:
    """One seed with its whole trace."""
    tree = Tree(seed, replace(Plan.of(seed), storm=storm))
    failure: InvariantBroken | None = None
    try:
        with listening(tree.world):
            tree.run()
    except InvariantBroken as broken:
        failure = broken
    print(*tree.world.trace, sep="\n")
    print(f"seed {seed}: {failure or 'all invariants held'}")
    return 1 if failure is not None else 0


def _many(first: int, count: int, storm: float) -> int:
    messages: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    attacks = ran = 0
    failed: list[int] = []
    begun = time.process_time()
    for seed in range(first, first + count):
        tree = Tree(seed, replace(Plan.of(seed), storm=storm))
        ran += 1
        try:
            with quiet():
                tree.run()
        except InvariantBroken as broken:
            failed.append(seed)
            print(f"seed {seed}: {broken}", *broken.__notes__, sep="\n", flush=True)
        messages += tree.world.messages
        faults += tree.faults.counted
        attacks += tree.faults.adversary.sent
        if len(failed) >= _ENOUGH:
            break
    seconds = time.process_time() - begun
    print(f"messages: {messages.total()} " + ", ".join(f"{kind} {n}" for kind, n in sorted(messages.items())))
    print(f"an adversary's: {attacks}")
    print(f"faults: {faults.total()} " + ", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())))
    print(f"per CPU-minute: {60 * messages.total() / seconds:.0f} messages, {60 * faults.total() / seconds:.0f} faults")
    print(f"{ran} seeds in {seconds:.1f} s, {len(failed)} failed" + (f": {failed}" if failed else ""))
    return 1 if failed else 0


def main() -> int:
    """Exit status 0 when all seeds keep all invariants, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one only, and print its whole trace")
    parser.add_argument("--storm", type=float, default=Plan().storm, help="virtual seconds with faults")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.storm)
    return _many(arguments.first, arguments.seeds, arguments.storm)


if __name__ == "__main__":
    sys.exit(main())
