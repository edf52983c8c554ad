"""How many attempts of each kind are on each row: of a service, of an image, with a host port. Sparse."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

#: Kinds whose counts are kept as whole columns, once somebody asked for them: the services that are being placed now.
_COLUMNS = 32


class Tallies:
    """Counts by kind and row. capacity: rows there is room for."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[Hashable, dict[int, int]] = {}
        self._columns: dict[Hashable, Counts] = {}
        self._nothing = np.zeros(capacity, np.int64)

    def grow(self, capacity: int) -> None:
        """Make room for so many rows."""
        self._capacity = capacity
        self._columns.clear()
        self._nothing = np.zeros(capacity, np.int64)

    def add(self, kinds: Iterable[Hashable], row: int, by: int) -> None:
        """Count one attempt more (`by` 1) or less (-1) of each kind on a row."""
        for kind in kinds:
            counts = self._counts.setdefault(kind, {})
            left = counts.get(row, 0) + by
            if left:
                counts[row] = left
            else:
                counts.pop(row, None)
                if not counts:
                    del self._counts[kind]
            column = self._columns.get(kind)
            if column is not None:
                column[row] = left

    def of(self, kind: Hashable) -> Counts:
        """The counts of a kind on all rows; not to be written to."""
        column = self._columns.get(kind)
        if column is not None:
            return column
        counts = self._counts.get(kind)
        if counts is None:
            return self._nothing
        if len(self._columns) >= _COLUMNS:
            del self._columns[next(iter(self._columns))]
        column = self._columns[kind] = np.zeros(self._capacity, np.int64)
        column[np.fromiter(counts.keys(), np.intp, len(counts))] = np.fromiter(counts.values(), np.int64, len(counts))
        return column

    def clear(self, row: int) -> None:
        """Nothing is on this row any more."""
        for kind in [kind for kind, counts in self._counts.items() if row in counts]:
            self.add((kind,), row, -self._counts[kind][row])
