"""Generated fleets and requests for the benchmark of placement, and the plainest judgement of what it chooses.

The generator, seeded, so that each run sees the same:

- Children are nodes of four sizes, as edge sites have them: of ten, five are small boards (4 cores, 4 GiB, arm64),
  three are PCs (8 cores, 16 GiB, amd64), one is a server (32 cores, 128 GiB, amd64) and one has accelerators besides
  (16 cores, 64 GiB, 4 GPUs, 4 `tpu`, amd64). Each has a label `zone` (20 of them), one `host` (its own), a position in
  central Europe (uniform), a round trip of 1, 5, 20 or 50 ms, and one in fifty a taint.
- Requests ask for 0.05 to 0.5 cores and 32 to 256 MiB, uniform: a child takes some tens of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mangrove.model.child import Capacity
from mangrove.model.position import Position, kilometres
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Specification
from mangrove.placement.fleet import Fleet

ZONES = 20
_KINDS = (
    (5, Resources(cpu=4000, memory=4096, disk=32_000), "arm64"),
    (3, Resources(cpu=8000, memory=16_384, disk=250_000), "amd64"),
    (1, Resources(cpu=32_000, memory=131_072, disk=1_000_000), "amd64"),
    (1, Resources(16_000, 65_536, 500_000, 4, 96_000, counted({"tpu": 4})), "amd64"),
)


def capacities(count: int, seed: int = 1) -> Iterator[Capacity]:
    """What so many children say."""
    dice = random.Random(seed)
    kinds = [kind for kind in _KINDS for _ in range(kind[0])]
    for number in range(count):
        _, size, architecture = dice.choice(kinds)
        yield Capacity(
            size,
            architectures=(architecture,),
            operating_systems=("linux",),
            runtimes=("docker", "process"),
            labels={"zone": f"z{dice.randrange(ZONES)}", "host": f"h{number}"},
            taints=("owner=lab",) if number % 50 == 49 else (),
            position=Position(dice.uniform(46, 55), dice.uniform(6, 15)),
            round_trip=dice.choice([1.0, 5.0, 20.0, 50.0]),
        )


def fleet_of(said: list[Capacity]) -> Fleet:
    """Live nodes that say this."""
    fleet = Fleet("node")
    for number, capacity in enumerate(said):
        fleet.add(f"c{number}", f"n{number}")
        fleet.update(f"c{number}", capacity)
        fleet.set_live(f"c{number}", True)
    return fleet


def request(dice: random.Random, number: int, *constraints: Constraint, **more: object) -> Specification:
    """A small service of its own name."""
    needs = Resources(cpu=dice.randrange(50, 500), memory=dice.randrange(32, 256))
    fields = {"resources": needs, "image": "image", **more}
    return Specification(f"service{number}", constraints=constraints, **fields)  # type: ignore[arg-type]


def constrained(dice: random.Random, number: int) -> Specification:
    """A request to which nearly all filters apply, each with values of its own; a few in a hundred children pass."""
    zones = tuple(f"z{zone}" for zone in dice.sample(range(ZONES), 6))
    where = Position(dice.uniform(48, 53), dice.uniform(8, 13))
    return request(
        dice,
        number,
        Constraint("label", key="zone", names=zones),
        Constraint("label", key="host", operator="exists"),
        Constraint("tolerates", key="owner"),
        Constraint("per_node", threshold=2),
        Constraint("geo", position=where, threshold=dice.uniform(150, 400)),
        Constraint("latency", threshold=dice.choice([5.0, 10.0, 20.0])),
        architectures=("amd64",),
        operating_systems=("linux",),
    )


class Replay:
    """What a naive reference says of choices, one after the other: plain Python, row by row, with its own sums."""

    def __init__(self, fleet: Fleet) -> None:
        self._rows = {id: (row.capacity, row.live) for id, row in fleet.rows.items()}
        self._reserved = {id: row.reserved for id, row in fleet.rows.items()}
        self._count: dict[tuple[str, str], int] = {}

    def check(self, specification: Specification, child: str) -> None:
        """Take in a choice; AssertionError when it was not possible."""
        assert self.possible(specification, child), f"{specification.name} does not fit on {child}"
        self._reserved[child] += specification.resources
        self._count[specification.name, child] = self._count.get((specification.name, child), 0) + 1

    def give_back(self, specification: Specification, child: str | None) -> None:
        """A choice has ended."""
        if child is not None:
            self._reserved[child] -= specification.resources
            self._count[specification.name, child] -= 1

    def nowhere(self, specification: Specification) -> None:
        """AssertionError when there was a child after all."""
        assert not any(self.possible(specification, child) for child in self._rows), f"{specification.name} does fit"

    def best(self, specification: Specification, child: str) -> None:
        """AssertionError when another child would have been fuller (best fit over what is asked for)."""
        fullest = max(self._full(specification, one) for one in self._rows if self.possible(specification, one))
        assert self._full(specification, child) >= fullest - 1e-6, f"{specification.name}: {child} is not the best"

    def possible(self, specification: Specification, child: str) -> bool:
        """Whether one more fits there."""
        said, live = self._rows[child]
        free = said.allocatable - self._reserved[child]
        tolerated = {wish.key for wish in specification.constraints if wish.type == "tolerates"}
        return (
            live
            and specification.runtime in said.runtimes
            and (not specification.architectures or bool(set(specification.architectures) & set(said.architectures)))
            and all(taint.partition("=")[0] in tolerated for taint in said.taints)
            and specification.resources.fits_in(free)
            and all(self._met(wish, said, specification.name, child) for wish in specification.constraints)
        )

    def _met(self, wish: Constraint, said: Capacity, name: str, child: str) -> bool:
        if wish.type == "label":
            value = said.labels.get(wish.key)
            return value is not None if wish.operator == "exists" else value in wish.names
        if wish.type == "per_node":
            return self._count.get((name, child), 0) < wish.threshold
        if wish.type == "geo":
            return kilometres(said.position or Position(0, 0), wish.position or Position(0, 0)) <= wish.threshold
        if wish.type == "latency":
            return said.round_trip <= wish.threshold
        if wish.type == "direct":
            return f"n{child[1:]}" in wish.node.split(";")
        return True

    def _full(self, specification: Specification, child: str) -> float:
        said, reserved, needs = self._rows[child][0].allocatable, self._reserved[child], specification.resources
        asked = list(needs.amounts())
        whole, used = dict(said.amounts()), dict(reserved.amounts())
        return sum((used.get(key, 0) + amount) / whole[key] for key, amount in asked) / len(asked)
