"""`python -m tests.simulation`: run seeds, print what they did, stop at the first that breaks an invariant."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from tests.simulation.invariants import InvariantBroken
from tests.simulation.tree import Plan, Tree


class _Ear(logging.Handler):
    """Puts what the programs log into the trace."""

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self._tree = tree

    def emit(self, record: logging.LogRecord) -> None:
        self._tree.world.note(f"    {record.name.rpartition('.')[2]}: {record.getMessage()}")


def listen_to(tree: Tree, *, everything: bool) -> None:
    """Let the trace of this tree hold what its programs log; without `everything`, only that they keep quiet."""
    if everything:
        logging.basicConfig(level=logging.INFO, handlers=[_Ear(tree)], force=True)
    else:
        logging.disable(logging.CRITICAL)


def main() -> int:
    """Exit status 0 when all seeds keep all invariants, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one only, and print its trace when it fails")
    parser.add_argument("--storm", type=float, default=Plan().storm, help="virtual seconds with faults")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    messages: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    begun = time.monotonic()
    failed = []
    for seed in seeds:
        tree = Tree(seed, Plan(storm=arguments.storm))
        listen_to(tree, everything=arguments.seed is not None)
        try:
            tree.run()
        except InvariantBroken as broken:
            failed.append(seed)
            print(f"seed {seed}: {broken}", *broken.__notes__, sep="\n", flush=True)
            if len(failed) >= 3:
                break
        messages += tree.world.messages
        faults += tree.faults
    seconds = time.monotonic() - begun
    print(f"messages: {messages.total()} " + ", ".join(f"{kind} {n}" for kind, n in sorted(messages.items())))
    print(f"faults: {faults.total()} " + ", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())))
    print(f"{len(seeds)} seeds in {seconds:.1f} s, {len(failed)} failed" + (f": {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
