"""A parent's table of children: what they can allocate and what is reserved on them. Updated in place."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from mangrove.base.digest import digest_of
from mangrove.model.child import Capacity
from mangrove.model.resources import NOTHING, Resources


@dataclass(slots=True)
class Row:
    """One child, a `noun` (`cluster` or `node`).

    revision: digest of what it can allocate, apart from the version that this reflects.
    """

    id: str
    name: str
    noun: str
    capacity: Capacity = field(default_factory=Capacity)
    live: bool = False
    reserved: Resources = NOTHING
    attempts: int = 0
    revision: str = ""

    @property
    def free(self) -> Resources:
        return self.capacity.allocatable - self.reserved


@dataclass(slots=True)
class Fleet:
    """All children of a parent. noun: what they are, for sentences ("3 nodes too small").

    changed: raised whenever something may fit now that did not fit before. touched: raised by every change.
    """

    noun: str
    rows: dict[str, Row] = field(default_factory=dict)
    changed: int = 0
    touched: int = 0
    _reservations: dict[str, tuple[str, Resources]] = field(default_factory=dict)

    def add(self, child: str, name: str) -> Row:
        """The child's row, made if it is new."""
        self.touched += 1
        row = self.rows.get(child)
        if row is None:
            row = self.rows[child] = Row(child, name, self.noun)
        row.name = name
        return row

    def remove(self, child: str) -> None:
        """Forget a child; its reservations go when its attempts are released."""
        self.touched += 1
        self.rows.pop(child, None)

    def update(self, child: str, capacity: Capacity) -> None:
        """What a child can allocate has changed."""
        row = self.rows[child]
        self.touched += 1
        revision = digest_of(undated(capacity))
        row.capacity = capacity
        if revision != row.revision:
            row.revision = revision
            self.changed += 1

    def set_live(self, child: str, live: bool) -> None:
        """Whether new work may be given to this child."""
        row = self.rows[child]
        self.touched += 1
        if live and not row.live:
            self.changed += 1
        row.live = live

    def reserve(self, attempt: str, child: str, resources: Resources) -> None:
        """Promise `resources` of `child` to an attempt, once, however often it is said."""
        if self._reservations.get(attempt) == (child, resources):
            return
        self.touched += 1
        self.release(attempt)
        self._reservations[attempt] = (child, resources)
        row = self.rows.get(child)
        if row is not None:
            row.reserved += resources
            row.attempts += 1

    def release(self, attempt: str) -> None:
        """The attempt has ended, or was never begun."""
        self.touched += 1
        child, resources = self._reservations.pop(attempt, ("", NOTHING))
        row = self.rows.get(child)
        if row is not None:
            row.reserved -= resources
            row.attempts -= 1
            self.changed += 1

    @property
    def reservations(self) -> dict[str, tuple[str, Resources]]:
        """Attempt → (child, what is promised to it)."""
        return dict(self._reservations)


def undated(capacity: Capacity) -> Capacity:
    """The same capacity as of no particular assignment, to compare what it says apart from when."""
    return msgspec.structs.replace(capacity, version=0)
