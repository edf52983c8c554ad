"""What would have to make room for an instance that fits nowhere: less important ones, as few and as small as can be.

Pure: it says who, and changes nothing. Kubernetes takes all less important pods of a node away, and gives back those
that it can, the most important first; Nomad takes what comes nearest to the missing amounts. Here the set is the best
one there is, by the order of `_Cost`, as long as the child has few candidates (`_EXACT`), and that of Kubernetes else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mangrove.model.choice import Displacement
from mangrove.model.specification import Specification
from mangrove.placement.engine import suitable
from mangrove.placement.filters import FILTERS
from mangrove.placement.filters.fit import Fit
from mangrove.placement.fleet import GOING, Fleet, Row
from mangrove.placement.request import Request
from mangrove.placement.table import Amounts, Numbers
from mangrove.placement.words import Mask

#: Children whose victims are looked at one by one, those first that lack least at the lowest priority: as many as
#: kube-scheduler looks at (its `MinCandidateNodesAbsolute`).
_CHILDREN = 100
#: Candidates on one child up to which every set is weighed, and steps after which the best one found is taken: some
#: milliseconds.
_EXACT, _STEPS = 24, 2000

#: Of sets of victims the one is best that is first by this: their priorities, the highest first; then their size, in
#: shares of what the child has. So one of priority 5 is worse than two of 0, and two of 0 are worse than one. Where
#: that is equal, who came last goes.
_Cost = tuple[tuple[int, ...], float]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An attempt that could make room. gives: of each amount that is missing. age: the lower, the longer it is
    there."""

    attempt: str
    priority: int
    size: float
    gives: tuple[int, ...]
    age: int = 0


def may_displace(fleet: Fleet, specification: Specification) -> bool:
    """Whether there is anything at all that is less important, and it may displace it."""
    return specification.preemption_policy != "never" and any(
        GOING < priority < specification.priority for priority in fleet.table.yielders
    )


def displace(fleet: Fleet, specification: Specification, avoid: Collection[str] = ()) -> Displacement | None:
    """The child on which least has to make room for one instance, and what; None when that helps nowhere.

    Only what is strictly less important makes room. What leaves anyway counts as gone. avoid: children not to choose.
    """
    if not may_displace(fleet, specification):
        return None
    request = fleet.request(specification)
    if fleet.noun == "cluster":
        return _on_clusters(fleet, request, avoid)
    best: tuple[_Cost, str, int, tuple[str, ...]] | None = None
    for threshold, number in _promising(fleet, request, avoid, GOING):
        if best is not None and best[0][0] and best[0][0][0] < threshold:
            break  # whatever is left displaces something more important
        row = fleet.at(number)
        found = _victims(fleet, request, row)
        if found is not None and (best is None or (found[0], row.name) < best[:2]):
            best = (found[0], row.name, number, found[1])
    return None if best is None else Displacement(fleet.at(best[2]).id, best[3])


def _promising(fleet: Fleet, request: Request, avoid: Collection[str], least: int) -> list[tuple[int, int]]:
    """Rows where enough would be free if all that is less important were gone: (the priority up to which it must go at
    least, row), the lowest first, and of these those that lack least. least: the lowest priority that counts."""
    table, below = fleet.table, request.specification.priority
    mask = suitable(fleet, request, avoid)
    rows = slice(0, table.size)
    free = {key: _column(table.free.get(key), table.size).copy() for key, _ in request.asked}
    lacks: Numbers = np.zeros(table.size)
    needed: Amounts = np.full(table.size, below)
    for priority in [least - 1, *sorted(each for each in table.yielders if least <= each < below)]:
        enough: Mask = np.ones(table.size, np.bool_)
        for key, asked in request.asked:
            if priority >= least:
                free[key] += _column(table.yielding[priority].get(key), table.size)
            enough &= free[key] >= asked
        if priority == least - 1:
            for key, asked in request.asked:
                lacks += np.maximum(0, asked - free[key]) * table.share[key][rows] if key in table.share else 0
        needed[mask & enough & (needed == below)] = max(priority, GOING)
    found = np.flatnonzero(needed < below)
    found = found[np.lexsort((lacks[found], needed[found]))][:_CHILDREN]
    return [(int(needed[number]), int(number)) for number in found]


def _victims(fleet: Fleet, request: Request, row: Row) -> tuple[_Cost, tuple[str, ...]] | None:
    """The best set of attempts on a node without which the instance fits there."""
    below = request.specification.priority
    wanted_near = {("service", name) for wish in request.by_type.get("latency", ()) for name in wish.names}
    going = [attempt for attempt, priority in row.yielding.items() if priority == GOING]
    held = [
        (attempt, priority, *fleet.reservation(attempt)[1:])
        for attempt, priority in row.yielding.items()
        if GOING < priority < below
    ]
    with _without(fleet, going):
        missing = _missing(fleet, request, row)
        candidates = []
        for age, (attempt, priority, resources, kinds) in enumerate(held):
            amounts = dict(resources.amounts())
            gives = tuple(kinds.count(of) if isinstance(of, tuple) else max(0, amounts.get(of, 0)) for of in missing)
            if any(gives) and wanted_near.isdisjoint(kinds):
                shares = (
                    amount * fleet.table.share[key][row.number]
                    for key, amount in amounts.items()
                    if key in fleet.table.share
                )
                candidates.append(_Candidate(attempt, priority, float(sum(shares)), gives, age))
        found = cover(tuple(missing.values()), candidates)
        if found is None or not _passes(fleet, request, row, [one.attempt for one in found]):
            return None
    return _cost(found), tuple(one.attempt for one in found)


def cover(missing: Sequence[int], candidates: Sequence[_Candidate]) -> list[_Candidate] | None:
    """The best set of candidates which together give all that is missing, the most important first; None: there is
    none. By branch and bound; the first set that it comes to is Kubernetes'."""
    # Most important first, of these the smallest, then the oldest: what comes first is kept if the rest is enough.
    order = sorted(candidates, key=lambda one: (-one.priority, one.size, one.age))
    rest = [tuple(missing)]  # what all from there on leave missing
    for one in reversed(order):
        rest.append(_minus(rest[-1], one.gives))
    rest.reverse()
    if any(amount > 0 for amount in rest[0]):
        return None
    chosen, left = list[_Candidate](), tuple(missing)
    for index, one in enumerate(order):
        if not _enough(_minus(left, _minus(missing, rest[index + 1]))):
            chosen.append(one)
            left = _minus(left, one.gives)
    if len(order) > _EXACT:
        return chosen
    return _Search(missing, order, rest, chosen).best


class _Search:
    """Every set that could still be better than the best one so far, in the order of the candidates."""

    def __init__(
        self,
        missing: Sequence[int],
        order: list[_Candidate],
        rest: list[tuple[int, ...]],
        first: list[_Candidate],
    ) -> None:
        self._order = order
        self._given = [_minus(missing, left) for left in rest]  # by all from there on
        self._steps = _STEPS
        self.best = first
        self._cost = _cost(first)
        self._look(0, tuple(missing), [])

    def _look(self, index: int, left: tuple[int, ...], chosen: list[_Candidate]) -> None:
        self._steps -= 1
        if self._steps < 0:
            return
        priorities = tuple(one.priority for one in chosen)
        size = sum(one.size for one in chosen)
        if _enough(left):
            if (priorities, size) < self._cost:
                self.best, self._cost = list(chosen), (priorities, size)
            return
        # At least one more is needed, at best one of the lowest priority.
        if index == len(self._order) or (*priorities, self._order[-1].priority) > self._cost[0]:
            return
        one = self._order[index]
        if _enough(_minus(left, self._given[index + 1])):
            self._look(index + 1, left, chosen)
        if _enough(_minus(left, self._given[index])):
            self._look(index + 1, _minus(left, one.gives), [*chosen, one])


def _on_clusters(fleet: Fleet, request: Request, avoid: Collection[str]) -> Displacement | None:
    """A cluster in which the least important have to make room, by what it tells; which ones, it decides itself."""
    needs, below = request.specification.resources, request.specification.priority
    best: tuple[int, int] | None = None
    for threshold, number in _promising(fleet, request, avoid, GOING + 1):
        if best is not None and best[0] <= threshold:
            break
        row = fleet.at(number)
        rooms = [(GOING, row.capacity.largest), *row.capacity.yielding]
        fits = [
            priority
            for priority, there in rooms
            if priority < below and (not row.capacity.largest or any(needs.fits_in(room) for room in there))
        ]
        if not fits or not row.capacity.nodes:
            continue
        worst = max(threshold, fits[0])
        if best is not None and best[0] <= worst:
            continue
        lower = [attempt for attempt, priority in row.yielding.items() if priority < below]
        if _passes(fleet, request, row, lower, amounts=False):
            best = (worst, number)
    return None if best is None else Displacement(fleet.at(best[1]).id, by_child=True)


def _missing(fleet: Fleet, request: Request, row: Row) -> dict[str | tuple[object, ...], int]:
    """What is missing on a node: amounts by key; and by kind, how many of that kind are too many."""
    table, name = fleet.table, request.specification.name
    missing: dict[str | tuple[object, ...], int] = {}
    for key, asked in request.asked:
        missing[key] = asked - int(_column(table.free.get(key), table.size)[row.number])
    for port in request.specification.ports:
        kind = ("port", port.host, port.protocol)
        missing[kind] = int(table.tallies.of(kind)[row.number])
    for wish in request.by_type.get("per_node", ()):
        there = int(table.tallies.of(("service", name))[row.number])
        missing["service", name] = max(missing.get(("service", name), 0), there + 1 - int(wish.threshold))
    return {of: amount for of, amount in missing.items() if amount > 0}


def _passes(fleet: Fleet, request: Request, row: Row, gone: Collection[str], *, amounts: bool = True) -> bool:
    """Whether a child would take the instance if these attempts were gone. amounts: whether to look at these too."""
    here = np.array([row.number], np.intp)
    with _without(fleet, gone):
        return all(
            condition.check(request, fleet, here)[0]
            for condition in FILTERS
            if (amounts or not isinstance(condition, Fit)) and condition.applies(request, fleet)
        )


@contextmanager
def _without(fleet: Fleet, attempts: Collection[str]) -> Iterator[None]:
    """As if these were not there."""
    held = [fleet.reservation(attempt) for attempt in attempts]
    there = [(fleet.rows[child].number, resources, kinds) for child, resources, kinds in held]
    for number, resources, kinds in there:
        fleet.table.reserve(number, resources, -1)
        fleet.table.tallies.add(kinds, number, -1)
    try:
        yield
    finally:
        for number, resources, kinds in there:
            fleet.table.reserve(number, resources, 1)
            fleet.table.tallies.add(kinds, number, 1)


def _cost(victims: Sequence[_Candidate]) -> _Cost:
    return tuple(one.priority for one in victims), sum(one.size for one in victims)


def _column(column: Amounts | None, size: int) -> Amounts:
    return np.zeros(size, np.int64) if column is None else column[:size]


def _minus(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a - b for a, b in zip(one, other, strict=True))


def _enough(left: tuple[int, ...]) -> bool:
    return all(amount <= 0 for amount in left)
