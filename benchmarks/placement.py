"""Choosing children: how many placements in a second of CPU time, in the manner of kube-scheduler's workloads."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.fleets import ZONES, Replay, capacities, constrained, fleet_of, request
from benchmarks.quality import gaps
from benchmarks.result import Figure, Result
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Preference, Specification
from mangrove.placement.engine import place, place_many
from mangrove.placement.request import kinds_of

#: Where goals hold; at other sizes figures are reported.
_GOALS_AT = 5_000
#: Microseconds of CPU: 4,000 placements a second with all filters, 10,000 of known classes, 100,000 in one call; a
#: report. Bytes: a child.
_ALL_FILTERS, _CLASSES, _IN_ONE_CALL, _REPORT, _BYTES = 250.0, 100.0, 10.0, 20.0, 2_000
#: Of so many placements one is compared with every other child by the naive reference; all are checked for possibility.
_COMPARED = 100


@dataclass(frozen=True)
class Size:
    """Children of each fleet; placements of each workload and of the long run; small cases for the solver."""

    children: tuple[int, ...]
    placements: int
    long: int
    cases: int


FULL = Size((100, 1_000, 5_000, 10_000, 100_000), 2_000, 200_000, 20)
QUICK = Size((100, 500), 100, 1_000, 3)

#: What a workload asks for, one after the other.
Wanted = Callable[[random.Random, int], Specification]


class Run:
    """One fleet under load: what is asked for is placed and reserved; only that is timed."""

    def __init__(self, said: list[Capacity]) -> None:
        self.fleet = fleet_of(said)
        self.said = said
        self.seconds = 0.0
        self.choices: list[tuple[Specification, str | None]] = []
        self.ended: list[tuple[int, int]] = []  # (when so many had been chosen, which one of them)

    def one(self, specification: Specification) -> None:
        """Place and reserve one."""
        begun = time.process_time()
        answer = place(self.fleet, specification)
        child = answer.child if isinstance(answer, Chosen) else None
        if child is not None:
            self._reserve(specification, child, len(self.choices))
        self.seconds += time.process_time() - begun
        self.choices.append((specification, child))

    def many(self, specification: Specification, count: int) -> None:
        """Place and reserve so many at once."""
        begun = time.process_time()
        children = place_many(self.fleet, specification, count)
        for number, child in enumerate(children, len(self.choices)):
            self._reserve(specification, child, number)
        self.seconds += time.process_time() - begun
        self.choices += [(specification, child) for child in children]

    def report(self, dice: random.Random, count: int) -> float:
        """So many children say something else; CPU-seconds."""
        numbers = [dice.randrange(len(self.said)) for _ in range(count)]
        news = [
            msgspec.structs.replace(
                self.said[number],
                allocatable=self.said[number].allocatable + Resources(disk=256 * dice.randrange(1, 5)),
                round_trip=dice.choice([1.0, 2.0, 5.0]) if dice.random() < 0.1 else self.said[number].round_trip,
            )
            for number in numbers
        ]
        begun = time.process_time()
        for number, capacity in zip(numbers, news, strict=True):
            self.fleet.update(f"c{number}", capacity)
        return time.process_time() - begun

    def release(self, dice: random.Random) -> None:
        """One that was placed ends."""
        placed = [at for at in range(max(0, len(self.choices) - 50), len(self.choices)) if self.choices[at][1]]
        if placed:
            at = dice.choice(placed)
            begun = time.process_time()
            self.fleet.release(f"a{at}")
            self.seconds += time.process_time() - begun
            self.ended.append((len(self.choices), at))

    def _reserve(self, specification: Specification, child: str, number: int) -> None:
        self.fleet.reserve(f"a{number}", child, specification.resources, kinds_of(specification))

    def microseconds(self) -> float:
        """Of CPU for one placement."""
        return 1e6 * self.seconds / max(1, len(self.choices))

    def check(self, *, best: bool = False) -> None:
        """All choices once more by the naive reference, on a fresh fleet of the same children."""
        naive = Replay(fleet_of(self.said))
        ended = dict(self.ended)
        gone: set[int] = set()
        for number, (specification, child) in enumerate(self.choices):
            over = ended.get(number)
            if over is not None and over not in gone:
                gone.add(over)
                naive.give_back(*self.choices[over])
            if child is None:
                if number % _COMPARED == 0:
                    naive.nowhere(specification)
                continue
            if best and number % _COMPARED == 0:
                naive.best(specification, child)
            naive.check(specification, child)


def measure(folder: Path, size: Size) -> Result:
    """All workloads on all fleets."""
    figures: list[Figure] = []
    for count in size.children:
        figures += _on(count, size.placements if count < 50_000 else max(1, size.placements // 5))
    figures += _flat(size.long)
    figures += gaps(size.cases)
    return Result(
        "placement",
        "choosing one of many children",
        (
            "one process; CPU time of choosing and reserving, nothing else; fleets and requests: benchmarks/fleets.py",
            "basic: every request different, cores and memory; all filters: every request different, with labels, "
            "taints, architecture, system, area, round trip, most per node; classes: requests of 200 kinds, 1 % of the "
            "children report between two of them (not timed; disk, and for one in ten the round trip)",
            "noise: every second request fits nowhere, and is told why; churn: one ends for each that begins, and now "
            "and then a child leaves and another one comes; one on each: `per_node` 1 on all children in one call; "
            "pinned: each to a node by its name; devices: GPUs and counted things; affinity: to one service, away from "
            "another; spread: over zones and nodes",
            "each choice was checked afterwards by a naive reference: that it was possible, that what was said to fit "
            "nowhere does not, and (one in a hundred, best fit, up to 5,000 children) that none is better",
        ),
        tuple(figures),
    )


def _on(count: int, placements: int) -> list[Figure]:
    tracemalloc.start()
    said = list(capacities(count))
    before = tracemalloc.get_traced_memory()[0]
    kept = fleet_of(said)
    taken = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    del kept
    goal = count == _GOALS_AT
    figures = []

    def add(name: str, run: Run, limit: float | None = None, *, best: bool = False) -> None:
        run.check(best=best and count <= _GOALS_AT)
        each = run.microseconds()
        placed = sum(child is not None for _, child in run.choices)
        note = f"{1e6 / each:,.0f} a second; {placed} of {len(run.choices)} placed"
        figures.append(Figure(f"{count} children, {name}", each, "µs", limit if goal else None, note))

    add("basic", _one_by_one(said, placements, request), best=True)
    add("all filters", _one_by_one(said, placements, constrained), _ALL_FILTERS, best=True)
    run, report = _classes(said, placements)
    add("classes, 1 % report between", run, _CLASSES)
    for name, preference in (("best fit", Preference("best_fit")), ("spread", Preference("spread"))):
        run = Run(said)
        dice = random.Random(5)
        for number in range(3):
            run.many(request(dice, number, preferences=(preference,)), 1000)
        add(f"1,000 in one call, {name}", run, _IN_ONE_CALL)
    add("noise", _one_by_one(said, placements, _noise))
    add("churn", _churn(said, placements))
    run = Run(said)
    run.many(request(random.Random(6), 0, Constraint("per_node", threshold=1)), count)
    add("one on each", run)
    add("pinned", _one_by_one(said, min(placements, count), _pinned))
    add("devices", _one_by_one(said, placements, _devices))
    add("affinity", _one_by_one(said, placements, _affinity))
    add("spread", _one_by_one(said, placements, _spread))
    figures.append(Figure(f"{count} children, one report", report, "µs", _REPORT if goal else None))
    figures.append(Figure(f"{count} children, memory of one", taken, "bytes", _BYTES if goal else None))
    return figures


def _one_by_one(said: list[Capacity], placements: int, wanted: Wanted) -> Run:
    run, dice = Run(said), random.Random(3)
    for number in range(placements):
        run.one(wanted(dice, number))
    return run


def _classes(said: list[Capacity], placements: int) -> tuple[Run, float]:
    """The run, and microseconds for one report."""
    run, dice = Run(said), random.Random(4)
    kinds = [request(dice, number, Constraint("label", key="zone", names=_zones(dice, 10))) for number in range(200)]
    reports, seconds = max(1, len(said) // 100), 0.0
    for number in range(placements):
        seconds += run.report(dice, reports)
        run.one(kinds[number % 200])
    return run, 1e6 * seconds / (reports * placements)


def _noise(dice: random.Random, number: int) -> Specification:
    if number % 2:
        return request(dice, number)
    return msgspec.structs.replace(request(dice, number), resources=Resources(cpu=10**6 + number))


def _churn(said: list[Capacity], placements: int) -> Run:
    run, dice = Run(said), random.Random(7)
    for number in range(placements):
        run.release(dice)
        if number % 50 == 49:
            gone = f"c{dice.randrange(len(said))}"
            begun = time.process_time()
            run.fleet.remove(gone)
            run.fleet.add(gone, f"n{gone[1:]}")
            run.fleet.update(gone, said[int(gone[1:])])
            run.fleet.set_live(gone, True)
            run.seconds += time.process_time() - begun
        run.one(request(dice, number))
    return run


def _pinned(dice: random.Random, number: int) -> Specification:
    return request(dice, number, Constraint("direct", node=f"n{number}"), Constraint("tolerates", key="owner"))


def _devices(dice: random.Random, number: int) -> Specification:
    needs = Resources(cpu=100, memory=64, gpus=number % 2, vram=1000 * (number % 2), counted=counted({"tpu": 1}))
    return request(dice, number, resources=needs)


def _affinity(dice: random.Random, number: int) -> Specification:
    near, far = f"service{number // 2}", f"service{number // 3}"
    return request(
        dice, number, preferences=(Preference("affinity", names=(near,)), Preference("anti_affinity", names=(far,)))
    )


def _spread(dice: random.Random, number: int) -> Specification:
    wanted = (Preference("spread", 2.0, "zone"), Preference("spread"))
    return msgspec.structs.replace(request(dice, number % 10, preferences=wanted), name=f"service{number % 10}")


def _zones(dice: random.Random, count: int) -> tuple[str, ...]:
    return tuple(f"z{zone}" for zone in dice.sample(range(ZONES), count))


def _flat(placements: int) -> list[Figure]:
    """Whether it gets slower with what was placed: the last twentieth against the one at the 10,000th placement."""
    said = list(capacities(_GOALS_AT))
    run, dice = Run(said), random.Random(8)
    kinds = [request(dice, number, resources=Resources(cpu=5, memory=4)) for number in range(200)]
    part = placements // 20
    times = []
    for number in range(placements):
        if number % part == 0:
            times.append(run.seconds)
        run.one(kinds[number % 200])
    times.append(run.seconds)
    first, last = times[2] - times[1], times[-1] - times[-2]
    note = f"from the {part:,}th to the {placements:,}th placement on {_GOALS_AT} children"
    return [Figure("the last placements against the first ones", last / first, "times", 1.2, note)]
