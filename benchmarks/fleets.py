"""Generated fleets, reports and requests for the benchmark of placement.

The generator, seeded, so that each run sees the same:

- Children are nodes of four sizes, as edge sites have them: of ten, five are small boards (4 cores, 4 GiB, arm64),
  three are PCs (8 cores, 16 GiB, amd64), one is a server (32 cores, 128 GiB, amd64) and one has accelerators besides
  (16 cores, 64 GiB, 4 GPUs, 4 `tpu`, amd64). Each has a label `zone` (20 of them), one `host` (its own), a position in
  central Europe (uniform), a round trip of 1, 5, 20 or 50 ms, and one in fifty a taint.
- A report: one in ten moves the round trip, one in ten the label `zone`, and each what there is of memory and disk,
  as other programs on the device take it: 0 to 3 times 64 MiB of memory less, 1 to 4 times 256 MiB of disk more.
- Requests ask for 0.05 to 0.5 cores and 32 to 256 MiB, uniform: a child takes some tens of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from mangrove.model.child import Capacity
from mangrove.model.position import Position
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


def reported(said: Capacity, dice: random.Random) -> Capacity:
    """What a child might say next that said this at first."""
    moved = Resources(memory=-64 * dice.randrange(4), disk=256 * dice.randrange(1, 5))
    round_trip, labels = said.round_trip, said.labels
    if dice.random() < 0.1:
        round_trip = dice.choice([1.0, 2.0, 5.0])
    if dice.random() < 0.1:
        labels = {**labels, "zone": f"z{dice.randrange(ZONES)}"}
    return msgspec.structs.replace(said, allocatable=said.allocatable + moved, round_trip=round_trip, labels=labels)


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
