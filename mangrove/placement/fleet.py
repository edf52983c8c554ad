"""A parent's table of children: what they can allocate and what is reserved on them. Updated in place."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from mangrove.base.digest import digest_of
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.position import Position
from mangrove.model.resources import FIELDS, NOTHING, Resources, counted
from mangrove.model.specification import LEAST_PRIORITY, Preference
from mangrove.placement.request import Request
from mangrove.placement.table import Table

#: Requests whose preparation and masks are remembered: the services that are being placed just now.
_REQUESTS_KEPT = 256

#: Names of services of which those that want to be near them hear: more than a parent has services.
_SOUGHT = 10_000

Kinds = tuple[Hashable, ...]

#: In place of the priority of what was withdrawn: below every other one, its room comes without displacing it.
GOING = LEAST_PRIORITY - 1


@dataclass(slots=True, eq=False)
class Row:
    """One child, a `noun` (`cluster` or `node`). number: of its row in the table. yielding: attempts there that make
    room for what is more important, with their priorities."""

    id: str
    name: str
    noun: str
    number: int
    capacity: Capacity
    live: bool = False
    cordoned: bool = False
    drained: bool = False
    quarantined: bool = False
    reserved: Resources = NOTHING
    attempts: int = 0
    yielding: dict[str, int] = field(default_factory=dict)
    _revision: str = ""

    @property
    def free(self) -> Resources:
        return self.capacity.allocatable - self.reserved

    @property
    def open(self) -> bool:
        """Whether it may be given new work."""
        return self.live and not self.cordoned and not self.quarantined

    @property
    def heard(self) -> bool:
        """Whether it ever said what it can allocate."""
        return self.capacity is not _UNKNOWN

    @property
    def revision(self) -> str:
        """Digest of what it can allocate, apart from the version that this reflects; empty before it said anything."""
        if not self._revision and self.heard:
            self._revision = digest_of(undated(self.capacity))
        return self._revision


class _Reservation(NamedTuple):
    child: str
    resources: Resources
    kinds: Kinds
    priority: int | None


class Fleet:
    """All children of a parent. noun: what they are, for sentences ("3 nodes too small").

    preferences: which child is the best for services that do not say. position: where children stand that do not say.
    changed: raised whenever something may fit now that did not fit before. touched: raised by every change. drained:
    ids of those on which nothing shall stay.
    """

    def __init__(self, noun: str, preferences: tuple[Preference, ...] = (), position: Position | None = None) -> None:
        self.noun = noun
        self.preferences = preferences or (Preference("best_fit"),)
        self.position = position
        self.changed = 0
        self.touched = 0
        self.table = Table()
        self._rows: dict[str, Row] = {}
        self._by_number: list[Row | None] = []
        self._by_name: dict[str, tuple[int, ...]] = {}
        self._reservations: dict[str, _Reservation] = {}
        self._strayed: dict[str, set[str]] = {}  # child without a row → attempts reserved on it
        self._requests: dict[object, Request] = {}
        self.drained: set[str] = set()
        self.quarantined: set[str] = set()
        self._sought: set[Hashable] = set()  # kinds that others want to be near

    # -- children

    @property
    def rows(self) -> Mapping[str, Row]:
        """The children by id."""
        return self._rows

    def at(self, number: int) -> Row:
        """The child in a row of the table. Raises KeyError for a row that is not used."""
        row = self._by_number[number]
        if row is None:
            raise KeyError(number)
        return row

    def named(self, name: str) -> tuple[int, ...]:
        """Numbers of the rows of children with this name."""
        return self._by_name.get(name, ())

    def add(self, child: str, name: str) -> Row:
        """The child's row, made if it is new."""
        self.touched += 1
        row = self._rows.get(child)
        if row is None:
            number = self.table.take()
            row = self._rows[child] = Row(child, name, self.noun, number, _UNKNOWN)
            self._by_number += [None] * (number + 1 - len(self._by_number))
            self._by_number[number] = row
            self.table.describe(number, self._placed(_UNKNOWN))
            for attempt in self._strayed.pop(child, ()):
                self._count(row, attempt, self._reservations[attempt], 1)
        elif row.name == name:
            return row
        else:
            self._unname(row)
        row.name = name
        self.table.renamed()
        self._by_name[name] = (*self._by_name.get(name, ()), row.number)
        return row

    def remove(self, child: str) -> None:
        """Forget a child; its reservations go when its attempts are released."""
        self.touched += 1
        self.drained.discard(child)
        self.quarantined.discard(child)
        row = self._rows.pop(child, None)
        if row is None:
            return
        self._by_number[row.number] = None
        self._unname(row)
        held = {attempt for attempt, reserved in self._reservations.items() if reserved.child == child}
        if held:
            self._strayed[child] = held
        for attempt, priority in row.yielding.items():
            self.table.yields(row.number, priority, self._reservations[attempt].resources, -1)
        self.table.give_back(row.number)

    def update(self, child: str, capacity: Capacity) -> None:
        """What a child can allocate has changed."""
        row = self._rows[child]
        self.touched += 1
        before, row.capacity = row.capacity, capacity
        if before is not _UNKNOWN and undated(before) == undated(capacity):
            return
        row._revision = ""
        self.changed += 1
        self.table.describe(row.number, self._placed(capacity))

    def set_live(self, child: str, live: bool) -> None:
        """Whether the child is heard."""
        row = self._rows[child]
        row.live, before = live, row.live
        self._open(row, live and not before)

    def set_cordoned(self, child: str, cordoned: bool, drained: bool = False) -> None:
        """Whether an operator wants no new work for this child, and nothing to stay there either."""
        row = self._rows[child]
        row.cordoned, row.drained, before = cordoned, drained, row.cordoned
        (self.drained.add if drained else self.drained.discard)(child)
        self._open(row, before and not cordoned)

    def set_quarantined(self, child: str, quarantined: bool) -> None:
        """Whether what the child reports cannot be true, so that it gets no new work."""
        row = self._rows[child]
        row.quarantined, before = quarantined, row.quarantined
        if quarantined != before:
            (self.quarantined.add if quarantined else self.quarantined.discard)(child)
            self._open(row, before)

    def measured(self, child: str, usage: Usage) -> None:
        """What a child uses: `lowest_load` looks at it, and nobody waits for it."""
        row = self._rows.get(child)
        if row is not None:
            self.table.load[row.number] = min(1.0, max(0.0, usage.cpu / 100, usage.memory_percent / 100))

    # -- reservations

    def reserve(
        self, attempt: str, child: str, resources: Resources, kinds: Kinds = (), priority: int | None = None
    ) -> None:
        """Promise `resources` of `child` to an attempt, once, however often it is said. kinds: see `kinds_of`.

        priority: above which others may displace it; None: nobody may; GOING: it leaves anyway.
        """
        before, reserved = self._reservations.get(attempt), _Reservation(child, resources, kinds, priority)
        if before == reserved:
            return
        self.touched += 1
        if before is not None:
            self.release(attempt)
        self._reservations[attempt] = reserved
        row = self._rows.get(child)
        if row is None:
            self._strayed.setdefault(child, set()).add(attempt)
        else:
            self._count(row, attempt, reserved, 1)
            self.changed += not self._sought.isdisjoint(kinds)

    def release(self, attempt: str) -> None:
        """The attempt has ended, or was never begun."""
        self.touched += 1
        held = self._reservations.pop(attempt, None)
        if held is None:
            return
        child = held.child
        row = self._rows.get(child)
        if row is not None:
            self._count(row, attempt, held, -1)
            self.changed += 1
        elif child in self._strayed:
            self._strayed[child].discard(attempt)
            if not self._strayed[child]:
                del self._strayed[child]

    def reservation(self, attempt: str) -> tuple[str, Resources, Kinds]:
        """Child, amounts and kinds of what is promised to an attempt; of none when nothing is."""
        held = self._reservations.get(attempt)
        return (held.child, held.resources, held.kinds) if held is not None else ("", NOTHING, ())

    @property
    def reservations(self) -> dict[str, tuple[str, Resources]]:
        """Attempt → (child, what is promised to it)."""
        return {attempt: (held.child, held.resources) for attempt, held in self._reservations.items()}

    def room_above(self, rows: Sequence[Row], priority: int) -> list[Resources]:
        """What would be free on each of these children for something above `priority`, had all others made room."""
        table, numbers = self.table, [row.number for row in rows]
        columns = {key: column[numbers] for key, column in table.free.items()}
        for each, yields in table.yielding.items():
            if each <= priority and table.yielders[each]:
                for key, column in yields.items():
                    columns[key] = columns[key] + column[numbers]
        plain = {field: columns.pop(field).tolist() for field in FIELDS}
        named = {key[1:]: column.tolist() for key, column in columns.items()}
        return [
            Resources(
                **{field: column[at] for field, column in plain.items()},
                counted=counted({name: column[at] for name, column in named.items()}),
            )
            for at in range(len(rows))
        ]

    # -- for the engine

    def request(self, specification: object) -> Request:
        """The specification, made ready to be asked of this fleet."""
        known = self._requests.get(specification)
        if known is None:
            if len(self._requests) >= _REQUESTS_KEPT:
                self._requests.clear()
            known = self._requests[specification] = Request(specification, self.preferences)  # type: ignore[arg-type]
            if len(self._sought) > _SOUGHT:
                self._sought.clear()
            self._sought.update(("service", name) for wish in known.by_type.get("latency", ()) for name in wish.names)
        return known

    def snapshot(self) -> Fleet:
        """The same fleet as it is now, to try things on: what happens to one does not show in the other."""
        taken = copy.copy(self)
        taken.table = copy.deepcopy(self.table)
        taken._rows = {id: replace(row, yielding=dict(row.yielding)) for id, row in self._rows.items()}
        taken._by_number = [None if row is None else taken._rows[row.id] for row in self._by_number]
        taken._by_name = dict(self._by_name)
        taken._reservations = dict(self._reservations)
        taken._strayed = {child: set(attempts) for child, attempts in self._strayed.items()}
        taken._requests = {}
        taken.drained = set(self.drained)
        taken.quarantined = set(self.quarantined)
        taken._sought = set()
        return taken

    def _count(self, row: Row, attempt: str, reserved: _Reservation, by: int) -> None:
        _, resources, kinds, priority = reserved
        self.table.reserve(row.number, resources, by)
        self.table.tallies.add(kinds, row.number, by)
        row.attempts += by
        row.reserved = row.reserved + resources if by > 0 else row.reserved - resources
        if priority is not None:
            self.table.yields(row.number, priority, resources, by)
            if by > 0:
                row.yielding[attempt] = priority
            else:
                row.yielding.pop(attempt, None)

    def _unname(self, row: Row) -> None:
        left = tuple(number for number in self._by_name[row.name] if number != row.number)
        if left:
            self._by_name[row.name] = left
        else:
            del self._by_name[row.name]

    def _open(self, row: Row, news: bool) -> None:
        self.touched += 1
        self.changed += news
        self.table.open[row.number] = row.open
        self.table.cordoned[row.number] = row.cordoned

    def _placed(self, capacity: Capacity) -> Capacity:
        if capacity.position is not None or self.position is None:
            return capacity
        return msgspec.structs.replace(capacity, position=self.position)


#: What is known of a child that has not said anything yet.
_UNKNOWN = Capacity()


def undated(capacity: Capacity) -> Capacity:
    """The same capacity as of no particular assignment, to compare what it says apart from when."""
    return msgspec.structs.replace(capacity, version=0)
