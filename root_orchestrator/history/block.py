"""A block of usage: figures of many subjects over some time, in memory as one array, in a store as few documents.

Figures are whole numbers in fixed units, so that they pack well: most of a series' neighbours differ by little, and
what a machine does not have is nothing but zeros.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from mangrove.model.attempt import Usage

#: What is kept of a Usage, and the unit in which it is kept. Of those that only rise the newest is kept, of the others
#: the mean.
UNITS: Final = {
    "cpu": 0.1,
    "memory": 2**16,
    "memory_percent": 0.1,
    "disk": 2**20,
    "gpu": 0.1,
    "vram": 2**20,
    "rx": 1024,
    "tx": 1024,
}
RISING: Final = ("rx", "tx")
_FIGURES: Final = tuple(UNITS)
_WHOLE: Final = {name for name, form in get_type_hints(Usage).items() if form is int}
_read: Callable[[Usage], tuple[float, ...]] = attrgetter(*_FIGURES)
_WHICH_RISE: Final = tuple(figure in RISING for figure in _FIGURES)
_RISES = np.array(_WHICH_RISE)
_SCALE = np.array(list(UNITS.values()))

#: In the place of a figure that is not known.
_NONE: Final = -1

#: Subjects in one document: some 10 to 50 kB, so that one series is read without decoding all others.
SUBJECTS: Final = 512
#: Of zlib: a third of the time of the usual 6 for some percent more bytes.
_LEVEL: Final = 3
#: Documents of one block at most, hence 65,536 subjects; twice the instances of a root of design size and more.
MOST_DOCUMENTS: Final = 128

Numbers = NDArray[np.int64]


def mean_usage(usages: Sequence[Usage]) -> tuple[float, ...]:
    """The mean of some figures, oldest first, the newest of those that rise; in the order of `UNITS`. At least one."""
    if len(usages) == 1:
        return _read(usages[0])
    columns = zip(_WHICH_RISE, *map(_read, usages), strict=False)
    return tuple(column[-1] if rises else sum(column) / len(usages) for rises, *column in columns)


def numbers_of(usages: Sequence[tuple[float, ...]]) -> Numbers:
    """Shape (usages, figures), in the units that are kept."""
    table = np.array(usages, dtype=float).reshape(-1, len(_FIGURES))
    numbers: Numbers = np.maximum(0, np.rint(table / _SCALE)).astype(np.int64)
    return numbers


def figures_of(numbers: Numbers) -> dict[str, float]:
    """Numbers of one moment, shape (figures,), by name and in the units of a Usage."""
    values = (numbers * _SCALE).tolist()
    return {figure: round(value, 1) for figure, value in zip(_FIGURES, values, strict=True)}


def usage_of(numbers: Numbers, measured: float) -> Usage:
    """Numbers of one moment, shape (figures,), as a Usage. measured: wall-clock seconds."""
    amounts = {figure: int(value) if figure in _WHOLE else value for figure, value in figures_of(numbers).items()}
    return Usage(**amounts, measured=measured)  # type: ignore[arg-type]


def mean_of(numbers: Numbers) -> Numbers:
    """Several moments as one: shape (…, moments, figures) to (…, figures); unknown only when all are."""
    known = numbers[..., :1] != _NONE
    count = known.sum(axis=-2)
    mean = np.rint(np.where(known, numbers, 0).sum(axis=-2) / np.maximum(1, count))
    found = np.where(_RISES, np.where(known, numbers, _NONE).max(axis=-2), mean)
    return np.where(count > 0, found, _NONE).astype(np.int64)


class Block:
    """start: wall-clock seconds. step: seconds between points. points: how many it has room for."""

    def __init__(self, start: float, step: float, points: int) -> None:
        self.start = start
        self.step = step
        self.points = points
        self._rows: dict[str, int] = {}
        self._table = self._empty(16)

    def put(self, point: int, subjects: Iterable[str], numbers: Numbers) -> None:
        """Let these be the figures of the subjects at a point; what is beyond the room for subjects is left out.

        numbers: shape (subjects, figures).
        """
        rows = [self._row(subject) for subject in subjects]
        kept = [place for place, row in enumerate(rows) if row is not None]
        self._table[[row for row in rows if row is not None], point] = numbers[kept]

    def series(self, subject: str) -> Numbers | None:
        """Shape (points, figures) of one subject, -1 where nothing is known; None when it is not here."""
        row = self._rows.get(subject)
        return None if row is None else self._table[row]

    def __len__(self) -> int:
        return len(self._rows)

    def means(self) -> tuple[list[str], Numbers]:
        """All subjects with the means of their points, shape (subjects, figures)."""
        return list(self._rows), mean_of(self._table[: len(self._rows)])

    def documents(self) -> dict[str, dict[str, Any]]:
        """The block as documents by their id."""
        shards = 1
        while shards * SUBJECTS < len(self._rows):
            shards *= 2
        members: list[list[str]] = [[] for _ in range(shards)]
        for subject in sorted(self._rows):
            members[shard_of(subject, shards)].append(subject)
        return {
            document_id(self.start, shards, shard): {
                "step": self.step,
                "points": self.points,
                "packed": self._pack(ids),
            }
            for shard, ids in enumerate(members)
        }

    def take(self, document: dict[str, Any]) -> None:
        """Add what a document of this block holds. Raises ValueError for one of another form."""
        if (document["step"], document["points"]) != (self.step, self.points):
            raise ValueError("a block of another form")
        ids, table = unpacked(document)
        for subject, numbers in zip(ids, table, strict=True):
            row = self._row(subject)
            if row is not None:
                self._table[row] = numbers

    def _pack(self, ids: list[str]) -> str:
        table = self._table[[self._rows[id] for id in ids]].reshape(len(ids), self.points, len(_FIGURES))
        raw = msgspec.json.encode(ids) + b"\n" + _planes(np.moveaxis(table, 2, 0))
        return base64.b64encode(zlib.compress(raw, _LEVEL)).decode()

    def _row(self, subject: str) -> int | None:
        row = self._rows.get(subject)
        if row is None and len(self._rows) < SUBJECTS * MOST_DOCUMENTS:
            row = self._rows[subject] = len(self._rows)
            if row >= len(self._table):
                self._table = np.concatenate([self._table, self._empty(len(self._table))])
        return row

    def _empty(self, rows: int) -> Numbers:
        return np.stack([unknown(self.points)] * rows)


def unknown(points: int) -> Numbers:
    """Shape (points, figures), of nothing that is known."""
    return np.full((points, len(_FIGURES)), _NONE, dtype=np.int64)


def unpacked(document: dict[str, Any]) -> tuple[list[str], Numbers]:
    """The subjects of a document, and their figures: shape (subjects, points, figures)."""
    head, _, body = zlib.decompress(base64.b64decode(document["packed"])).partition(b"\n")
    ids = msgspec.json.decode(head, type=list[str])
    return ids, np.moveaxis(_from_planes(body, (len(_FIGURES), len(ids), int(document["points"]))), 0, 2)


def _planes(series: Numbers) -> bytes:
    """Numbers of any shape as bytes that pack well: along the last axis as differences, these as small positive numbers
    (zigzag), and all lowest bytes before all second ones and so on, of which most are zero."""
    deltas = np.diff(series, axis=-1, prepend=0)
    positive = np.ascontiguousarray((deltas << 1) ^ (deltas >> 63), dtype="<i8")
    return positive.view(np.uint8).reshape(-1, 8).T.tobytes()


def _from_planes(raw: bytes, shape: tuple[int, ...]) -> Numbers:
    """The numbers of `_planes`. Raises ValueError when these are not as many."""
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(8, -1)
    positive = np.ascontiguousarray(planes.T).view("<i8").reshape(shape)
    numbers: Numbers = np.cumsum((positive >> 1) ^ -(positive & 1), axis=-1)
    return numbers


def is_known(numbers: Numbers) -> bool:
    """Whether there are figures of a moment."""
    return bool(numbers[0] != _NONE)


def start_of(id: str) -> int:
    """When the block of a document began (wall-clock seconds)."""
    return int(id.partition(".")[0])


def shard_of(subject: str, shards: int) -> int:
    """In which of so many documents a subject is."""
    return zlib.crc32(subject.encode()) % shards


def document_id(start: float, shards: int, shard: int) -> str:
    """Ids sort by time."""
    return f"{int(start):012d}.{shards:03d}.{shard:03d}"


def ids_of(start: float, subject: str) -> list[str]:
    """Where a subject may be in the block that began at `start`; into how many it was divided is not known."""
    counts = [1 << power for power in range(MOST_DOCUMENTS.bit_length())]
    return [document_id(start, shards, shard_of(subject, shards)) for shards in counts]
