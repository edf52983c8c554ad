"""Choosing children: how many placements in a second of CPU time, in the manner of kube-scheduler's workloads."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from benchmarks import peer
from benchmarks.fleets import ZONES, capacities, constrained, fleet_of, reported, request
from benchmarks.naive import Naive
from benchmarks.quality import gaps
from benchmarks.result import Figure, Result
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen, Displacement, NoFit
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Preference, Specification
from mangrove.placement.engine import place, place_many
from mangrove.placement.fleet import Fleet
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of, priority_of
from mangrove.roles.program import GARBAGE

#: Where goals hold; at other sizes figures are reported.
_GOALS_AT = 5_000
#: Microseconds of CPU: 4,000 placements a second with all filters, 10,000 of known classes, 100,000 in one call; a
#: report. Bytes: a child.
_ALL_FILTERS, _CLASSES, _IN_ONE_CALL, _REPORT, _BYTES = 250.0, 100.0, 10.0, 20.0, 2_000
#: Rows that the naive reference scores for one placement on average, to see that none is better: it looks at all of
#: them at every so many placements.
_LOOKED_AT = 50
#: Kinds of requests that come again and again, and instances in one call.
_KINDS, _AT_ONCE = 200, 1_000
#: Placements of the long run that are checked together.
_CHECKED = 1_000


@dataclass(frozen=True)
class Size:
    """Children of each fleet; placements of each workload and of the long run; small cases for the solver.

    peer: whether a scheduler of another orchestrator is measured too.
    """

    children: tuple[int, ...]
    placements: int
    long: int
    cases: int
    peer: bool


FULL = Size((100, 1_000, 5_000, 10_000, 100_000), 2_000, 200_000, 20, peer=True)
QUICK = Size((100, 500), 100, 1_000, 3, peer=False)

#: What a workload asks for, one after the other.
Wanted = Callable[[random.Random, int], Specification]


class Run:
    """One fleet under load: what is asked for is placed and reserved; only that is timed.

    All that happens is written down, and told to the naive reference by `check`.
    """

    def __init__(self, said: list[Capacity]) -> None:
        self.said = {f"c{number}": capacity for number, capacity in enumerate(said)}
        self.fleet = fleet_of(said)
        self.seconds = 0.0
        self.reporting = 0.0  # CPU-seconds of `reports` children that reported
        self.reports = self.asked = self.placed = 0
        self._naive = Naive(self.said)
        self._told: list[Callable[[], None]] = []
        self._fillers: dict[str, Specification] = {}  # by attempt
        self._running: list[tuple[str, Specification, str]] = []  # (attempt, what, where): the newest

    def one(self, specification: Specification) -> None:
        """Place and reserve one."""
        attempt = f"a{self.asked}"
        begun = time.process_time()
        answer = place(self.fleet, specification)
        child = answer.child if isinstance(answer, Chosen) else None
        if child is not None:
            self.fleet.reserve(attempt, child, specification.resources, kinds_of(specification))
        self.seconds += time.process_time() - begun
        self._chosen(attempt, specification, child, compared=self.asked % max(1, len(self.said) // _LOOKED_AT) == 0)

    def many(self, specification: Specification, count: int, *, compared: bool = True) -> None:
        """Place and reserve so many at once. compared: whether placing one by one must choose the very same."""
        twin = self.fleet.snapshot() if compared else None
        begun = time.process_time()
        children = place_many(self.fleet, specification, count)
        attempts = [f"a{self.asked + number}" for number in range(len(children))]
        for attempt, child in zip(attempts, children, strict=True):
            self.fleet.reserve(attempt, child, specification.resources, kinds_of(specification))
        self.seconds += time.process_time() - begun
        if twin is not None:
            assert children == _one_after_the_other(twin, specification, count), "in one call others were chosen"
        for attempt, child in zip(attempts, children, strict=True):
            self._chosen(attempt, specification, child, compared=False)

    def fill(self) -> None:
        """Give each child four instances of different importance that leave nothing free."""
        for child, said in self.said.items():
            for number in range(4):
                needs = Resources(cpu=said.allocatable.cpu // 4, memory=said.allocatable.memory // 4)
                tolerates = (Constraint("tolerates", key="owner"),)
                filler = Specification("filler", resources=needs, constraints=tolerates, priority=number)
                attempt = f"{child}.{number}"
                self.fleet.reserve(attempt, child, needs, kinds_of(filler), priority_of(filler))
                self._fillers[attempt] = filler
                self._told.append(partial(self._naive.take, filler, child))

    def displace(self, specification: Specification) -> None:
        """Place and reserve one where less important ones make room; these end at once."""
        begun = time.process_time()
        answer: Chosen | NoFit | Displacement | None = place(self.fleet, specification)
        if isinstance(answer, NoFit):
            answer = displace(self.fleet, specification)
        victims = answer.victims if isinstance(answer, Displacement) else ()
        for victim in victims:
            self.fleet.release(victim)
        child = answer.child if isinstance(answer, Chosen | Displacement) else None
        if child is not None:
            kinds, priority = kinds_of(specification), priority_of(specification)
            self.fleet.reserve(f"a{self.asked}", child, specification.resources, kinds, priority)
        self.seconds += time.process_time() - begun
        if child is not None and victims:
            gone = [self._fillers[victim] for victim in victims]
            self._told.append(partial(self._naive.displaced, specification, child, gone))
        self._chosen(f"a{self.asked}", specification, child, compared=False)

    def report(self, dice: random.Random, count: int) -> None:
        """So many children say something else."""
        news = [(child, reported(self.said[child], dice)) for child in self._some(dice, count)]
        begun = time.process_time()
        for child, capacity in news:
            self.fleet.update(child, capacity)
        self.reporting += time.process_time() - begun
        self.reports += count
        self._told.append(lambda: self._naive.report(news))

    def end(self, dice: random.Random) -> None:
        """One of the newest ends."""
        if not self._running:
            return
        attempt, specification, child = self._running.pop(dice.randrange(len(self._running)))
        begun = time.process_time()
        self.fleet.release(attempt)
        self.seconds += time.process_time() - begun
        self._told.append(lambda: self._naive.give_back(specification, child))

    def replace(self, dice: random.Random) -> None:
        """A child leaves, and comes again; what it runs stays promised."""
        (child,) = self._some(dice, 1)
        begun = time.process_time()
        self.fleet.remove(child)
        self.fleet.add(child, f"n{child[1:]}")
        self.fleet.update(child, self.said[child])
        self.fleet.set_live(child, True)
        self.seconds += time.process_time() - begun
        self._told.append(lambda: self._naive.report([(child, self.said[child])]))

    def check(self) -> None:
        """All that happened since the last check once more, by the naive reference. Raises AssertionError."""
        told, self._told = self._told, []
        for happened in told:
            happened()

    def _chosen(self, attempt: str, specification: Specification, child: str | None, *, compared: bool) -> None:
        self.asked += 1
        if child is None:
            if compared:
                self._told.append(lambda: self._naive.nowhere(specification))
            return
        self.placed += 1
        if compared:
            self._told.append(lambda: self._naive.best(specification, child))
        self._told.append(lambda: self._naive.take(specification, child))
        self._running = [*self._running[-50:], (attempt, specification, child)]

    def _some(self, dice: random.Random, count: int) -> list[str]:
        return [f"c{dice.randrange(len(self.said))}" for _ in range(count)]

    def figure(self, name: str, goal: float | None) -> Figure:
        """Microseconds of CPU for one placement, after a last check."""
        self.check()
        each = 1e6 * self.seconds / max(1, self.asked)
        note = f"{1e6 / each:,.0f} a second; {self.placed} of {self.asked} placed"
        return Figure(f"{len(self.said)} children, {name}", each, "µs", goal, note)


def measure(folder: Path, size: Size) -> Result:
    """All workloads on all fleets."""
    figures: list[Figure] = []
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE)  # as our programs do
    try:
        for count in size.children:
            figures += _on(count, size.placements if count < 50_000 else max(1, size.placements // 5))
        figures += _flat(size.long)
    finally:
        gc.set_threshold(*before)
    figures += gaps(size.cases)
    beside, told = peer.figures(folder) if size.peer else ([], "")
    return Result(
        "placement",
        "choosing one of many children",
        (
            "one process; CPU time of choosing and reserving, nothing else; fleets and requests: benchmarks/fleets.py",
            "with reports: between each two placements one in a hundred children says something else (of 5,000 fifty, "
            "and five of these another label); their cost is not in the placements' but told apart, as of one report; "
            "what is known of requests and does not hold any more is found out anew within the placement",
            "basic: every request different, cores and memory; all filters: every request different, with labels, "
            f"taints, architecture, system, area, round trip, most per node; classes: requests of {_KINDS} kinds",
            "noise: every second request fits nowhere, and is told why; churn: one ends for each that begins, and now "
            "and then a child leaves and comes again; one on each: `per_node` 1 on all children in one call; pinned: "
            "each to a node by its name; devices: GPUs and counted things; affinity: to one service, away from "
            "another; spread: over zones and nodes; preemption: all children are full, and less important instances "
            "make room (found by `place`, which explains that nothing fits, and then `displace`)",
            "checked afterwards by a naive reference (benchmarks/naive.py): that each choice was possible, and of one "
            f"in (children / {_LOOKED_AT}) that no other child was better, or that it really fits nowhere; that "
            f"{_AT_ONCE:,} in one call go to the very children, in that order, that one by one they would; that what "
            "makes room is less important, and all of it needed",
            "memory: of the table and of what a child says, as it is decoded from its message",
            *((told,) if told else ()),
        ),
        (*figures, *beside),
    )


def _on(count: int, placements: int) -> list[Figure]:
    said = list(capacities(count))
    goal = count == _GOALS_AT
    figures = []

    def add(name: str, run: Run, limit: float | None = None) -> None:
        figures.append(run.figure(name, limit if goal else None))

    add("basic", _one_by_one(said, placements, request))
    add("basic, with reports", _one_by_one(said, placements, request, reports=True))
    run = _one_by_one(said, placements, constrained, reports=True)
    add("all filters, with reports", run, _ALL_FILTERS)
    dice = random.Random(4)
    kinds = [request(dice, number, Constraint("label", key="zone", names=_zones(dice, 10))) for number in range(_KINDS)]
    run = _one_by_one(said, placements, lambda dice, number: kinds[number % _KINDS], reports=True)
    add(f"{_KINDS} classes, with reports", run, _CLASSES)
    report = 1e6 * run.reporting / run.reports
    for preference in (Preference("best_fit"), Preference("spread")):
        run = Run(said)
        dice = random.Random(5)
        for number in range(3):
            run.report(dice, max(1, count // 100))
            run.many(request(dice, number, preferences=(preference,)), _AT_ONCE)
        add(f"{_AT_ONCE:,} in one call, {preference.scorer}", run, _IN_ONE_CALL)
    add("noise", _one_by_one(said, placements, _noise))
    add("churn", _churn(said, placements))
    run = Run(said)
    run.many(request(random.Random(6), 0, Constraint("per_node", threshold=1)), count, compared=False)
    add("one on each", run)
    add("pinned", _one_by_one(said, min(placements, count), _pinned))
    add("devices", _one_by_one(said, placements, _devices))
    add("affinity", _one_by_one(said, placements, _affinity))
    add("spread", _one_by_one(said, placements, _spread))
    run, dice = Run(said), random.Random(9)
    run.fill()
    for number in range(placements // 4):
        run.displace(request(dice, number, priority=10))
    add("preemption", run)
    figures.append(Figure(f"{count} children, one report", report, "µs", _REPORT if goal else None))
    figures.append(Figure(f"{count} children, memory of one", _bytes_of_one(said), "bytes", _BYTES if goal else None))
    return figures


def _bytes_of_one(said: list[Capacity]) -> float:
    messages = [msgspec.json.encode(one) for one in said]
    decoder = msgspec.json.Decoder(Capacity)
    gc.collect()
    tracemalloc.start()
    kept = fleet_of([decoder.decode(message) for message in messages])
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken / len(kept.rows)


def _one_by_one(said: list[Capacity], placements: int, wanted: Wanted, *, reports: bool = False) -> Run:
    run, dice = Run(said), random.Random(3)
    for number in range(placements):
        if reports:
            run.report(dice, max(1, len(said) // 100))
        run.one(wanted(dice, number))
    return run


def _one_after_the_other(fleet: Fleet, specification: Specification, count: int) -> list[str]:
    children = []
    for number in range(count):
        answer = place(fleet, specification)
        if not isinstance(answer, Chosen):
            break
        fleet.reserve(f"twin{number}", answer.child, specification.resources, kinds_of(specification))
        children.append(answer.child)
    return children


def _noise(dice: random.Random, number: int) -> Specification:
    if number % 2:
        return request(dice, number)
    return msgspec.structs.replace(request(dice, number), resources=Resources(cpu=10**6 + number))


def _churn(said: list[Capacity], placements: int) -> Run:
    run, dice = Run(said), random.Random(7)
    for number in range(placements):
        run.end(dice)
        if number % 50 == 49:
            run.replace(dice)
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
    kinds = [request(dice, number, resources=Resources(cpu=5, memory=4)) for number in range(_KINDS)]
    part = placements // 20
    times = []
    for number in range(placements):
        if number % part == 0:
            times.append(run.seconds)
        run.report(dice, _GOALS_AT // 100)
        run.one(kinds[number % _KINDS])
        if number % _CHECKED == 0:
            run.check()
    run.check()
    times.append(run.seconds)
    first, last = times[2] - times[1], times[-1] - times[-2]
    note = f"from the {part:,}th to the {placements:,}th placement on {_GOALS_AT} children, with reports"
    return [Figure("the last placements against the first ones", last / first, "times", 1.2, note)]
