"""The columns behind a fleet: one row a child, updated in place, growing by doubling; rows of removed children are used
again."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mangrove.model.child import Capacity
from mangrove.model.position import on_earth
from mangrove.model.resources import FIELDS, Resources
from mangrove.placement.tallies import Tallies
from mangrove.placement.words import Words

_Kind = TypeVar("_Kind", bound=np.generic)
Amounts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

#: The largest amount that is believed (in MiB an exbibyte): sums over millions of attempts still fit into 64 bits.
MOST = 2**40
#: Free nodes of a cluster that are looked at; clusters tell no more.
ROOMS = 8
#: Labels, and counted things, of one child that are believed, and different ones of all children together: a column
#: each. Far more than people have names for, and a bound to what a child can make its parent keep.
_NAMES_OF_ONE, _NAMES = 64, 512
_FIRST_ROOM = 16


class Table:
    """All columns. `size` rows are in use or were; those that are not are never `open`."""

    def __init__(self) -> None:
        self.size = 0
        self.room = _FIRST_ROOM
        self.open = np.zeros(self.room, np.bool_)  # may be given new work
        self.cordoned = np.zeros(self.room, np.bool_)
        self.attempts = np.zeros(self.room, np.int64)
        self.nodes = np.zeros(self.room, np.int64)
        self.free: dict[str, Amounts] = {}  # what is left, by the keys of Resources.amounts
        self.whole: dict[str, Amounts] = {}
        self.share: dict[str, Numbers] = {}  # 1 / whole, or 0
        self.words: dict[str, Words] = {}
        self.place = np.full((3, self.room), math.nan)  # latitude and longitude in radians, radius in km
        self.round_trip = np.full(self.room, math.nan)  # ms
        self.load = np.zeros(self.room)  # measured, 0 to 1
        self.rooms = np.zeros((ROOMS, self.room), np.int8)  # 1 where a cluster tells a free node; see `room_free`
        self.room_free: dict[str, Amounts] = {}  # (ROOMS, rows)
        #: What would be free besides if what makes room for others had ended, by its priority; with how many there are.
        self.yielding: dict[int, dict[str, Amounts]] = {}
        self.yielders: Counter[int] = Counter()
        self.tallies = Tallies(self.room)
        self.roomy = False  # whether any child tells of single nodes
        self.changes = 0  # how often attributes of rows (not amounts) changed
        self._unused: list[int] = []
        for field in FIELDS:
            self._amount(field)

    # -- rows

    def take(self) -> int:
        """A new row, empty."""
        if self._unused:
            return self._unused.pop()
        if self.size == self.room:
            self._grow()
        self.size += 1
        return self.size - 1

    def give_back(self, row: int) -> None:
        """Nobody uses this row any more."""
        self.open[row] = self.cordoned[row] = False
        self.attempts[row] = 0
        self.describe(row, Capacity())
        self.load[row] = 0.0
        for column in self.free.values():
            column[row] = 0
        self.tallies.clear(row)
        self._unused.append(row)

    def describe(self, row: int, capacity: Capacity) -> None:
        """What the child of this row says of itself; what is reserved on it stays."""
        said = dict(_believed(capacity.allocatable))
        for key in said.keys() - self.whole.keys():
            if len(self.whole) < _NAMES:
                self._amount(key)
        for key, column in self.whole.items():
            amount, before = said.get(key, 0), column[row]
            if amount != before:
                self.free[key][row] += amount - before
                column[row] = amount
                self.share[key][row] = 1 / amount if amount else 0.0
        self.nodes[row] = max(0, min(capacity.nodes, MOST))
        self._rooms(row, capacity.largest)
        where = capacity.position
        if where is not None and on_earth(where):
            self.place[:, row] = math.radians(where.latitude), math.radians(where.longitude), where.radius / 1000
        else:
            self.place[:, row] = math.nan
        self.round_trip[row] = capacity.round_trip if capacity.round_trip > 0 else math.nan
        self._attributes(row, capacity)

    def renamed(self) -> None:
        """A child is called otherwise: what was found out by names holds no more."""
        self.changes += 1

    def attribute(self, column: str) -> Words:
        """A column of words, empty when no child ever said any."""
        return self.words.get(column) or self.words.setdefault(column, Words(self.room))

    # -- reservations

    def reserve(self, row: int, resources: Resources, by: int) -> None:
        """Take away what is promised (`by` 1), or give it back (-1)."""
        for key, amount in _asked(resources):
            free = self.free.get(key)
            if free is None:
                free = self._amount(key)
            free[row] -= by * amount
        self.attempts[row] += by

    def yields(self, row: int, priority: int, resources: Resources, by: int) -> None:
        """What was reserved for one attempt (`by` 1, or no longer: -1) could be made free for what is above
        `priority`."""
        self.yielders[priority] += by
        if not self.yielders[priority]:
            del self.yielders[priority]
        columns = self.yielding.setdefault(priority, {})
        for key, amount in _believed(resources):
            if key not in columns:
                columns[key] = np.zeros(self.room, np.int64)
            columns[key][row] += by * amount

    # -- inside

    def _attributes(self, row: int, capacity: Capacity) -> None:
        self._word("architecture", row, capacity.architectures)
        self._word("system", row, capacity.operating_systems)
        self._word("runtime", row, capacity.runtimes)
        self._word("addon", row, capacity.addons)
        self._word("taint", row, capacity.taints)
        self._word("vague", row, capacity.vague_labels)
        labels: dict[str, tuple[str | None, ...]] = {key: (value,) for key, value in capacity.labels.items()}
        labels.update(capacity.label_values)
        for key in list(labels)[:_NAMES_OF_ONE]:
            if len(self.words) < _NAMES:
                self.attribute(f"label {key}")
        for column in self.words:
            if column.startswith("label "):
                self._word(column, row, labels.get(column[6:], ()))

    def _word(self, column: str, row: int, value: tuple[str | None, ...]) -> None:
        words = self.attribute(column)
        if words.get(row) != value:
            words.set(row, value)
            self.changes += 1

    def _rooms(self, row: int, rooms: tuple[Resources, ...]) -> None:
        if not rooms and not self.rooms[0, row]:
            return
        self.roomy = True
        self.rooms[:, row] = 0
        for column in self.room_free.values():
            column[:, row] = 0
        for number, room in enumerate(rooms[:ROOMS]):
            self.rooms[number, row] = 1
            for key, amount in _believed(room):
                if key not in self.whole:
                    continue
                if key not in self.room_free:
                    self.room_free[key] = np.zeros((ROOMS, self.room), np.int64)
                self.room_free[key][number, row] = amount

    def _amount(self, key: str) -> Amounts:
        self.whole[key] = np.zeros(self.room, np.int64)
        self.share[key] = np.zeros(self.room)
        self.free[key] = np.zeros(self.room, np.int64)
        return self.free[key]

    def _grow(self) -> None:
        more = self.room
        self.room *= 2
        self.open, self.cordoned = _longer(self.open, more), _longer(self.cordoned, more)
        self.attempts, self.nodes = _longer(self.attempts, more), _longer(self.nodes, more)
        for amounts in (self.free, self.whole, *self.yielding.values()):
            for key, column in amounts.items():
                amounts[key] = _longer(column, more)
        self.share = {key: _longer(column, more) for key, column in self.share.items()}
        self.place = np.concatenate([self.place, np.full((3, more), math.nan)], axis=1)
        self.round_trip = np.concatenate([self.round_trip, np.full(more, math.nan)])
        self.load = _longer(self.load, more)
        self.rooms = np.concatenate([self.rooms, np.zeros((ROOMS, more), np.int8)], axis=1)
        for key, column in self.room_free.items():
            self.room_free[key] = np.concatenate([column, np.zeros((ROOMS, more), np.int64)], axis=1)
        for words in self.words.values():
            words.grow(self.room)
        self.tallies.grow(self.room)


def _believed(resources: Resources) -> tuple[tuple[str, int], ...]:
    """Amounts by key, none negative or beyond `MOST`, and not more names than anybody needs."""
    amounts = list(resources.amounts())[: len(FIELDS) + _NAMES_OF_ONE]
    return tuple((key, min(amount, MOST)) for key, amount in amounts if amount > 0)


#: The same, of what services ask for just now.
_asked = lru_cache(1000)(_believed)


def _longer(column: npt.NDArray[_Kind], more: int) -> npt.NDArray[_Kind]:
    return np.concatenate([column, np.zeros(more, column.dtype)])
