"""The recorder and reader of usage. Sampling is a chore of housekeeping; reading may happen in any thread.

Points of a minute are kept for a day, points of a quarter of an hour for a month. A quarter of an hour is gathered in
memory and then written at once, so a root that is killed loses no more than that.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from mangrove.base.clock import Clock
from mangrove.model.attempt import Usage
from mangrove.model.documents import HISTORY_COARSE, HISTORY_FINE
from mangrove.roles.housekeeping import Chore, View
from mangrove.roles.metrics import Sample
from mangrove.store.interface import Delete, Operation, Put, Store
from root_orchestrator.history.block import (
    MOST_DOCUMENTS,
    Block,
    Numbers,
    document_id,
    figures_of,
    ids_of,
    is_known,
    mean_of,
    mean_usage,
    numbers_of,
    start_of,
    unknown,
    unpacked,
    usage_of,
)

#: Seconds between points: what one looks at after an incident, and what one plans by.
FINE, COARSE = 60.0, 900.0
#: Seconds for which they are kept.
FINE_KEPT, COARSE_KEPT = 24 * 3600.0, 30 * 24 * 3600.0
#: Points of one block. A fine block is one coarse point, and what is lost at most; a coarse block (6 h) is written
#: again with each of its points, which costs half of it each time, and leaves 120 blocks of a month.
FINE_POINTS, COARSE_POINTS = 15, 24
#: Samples for which a figure counts that did not come again: figures that did not move are told every 60 s.
_HELD = 1
#: Seconds of the longest block, which must be old as a whole.
_SPAN = COARSE * COARSE_POINTS

#: What is measured now, by id of what it is about: an instance (its slot), a cluster or a node; oldest first.
Measured = Callable[[], Iterable[tuple[str, Sequence[Usage]]]]


@dataclass(slots=True)
class _Seen:
    """measured: of the newest figure that was sampled. held: samples since then."""

    measured: float
    held: int = 0


class History:
    """measured: gives all that is known now; called from the housekeeping's thread."""

    def __init__(self, store: Store, clock: Clock, measured: Measured = tuple) -> None:
        self._store = store
        self._clock = clock
        self._measured = measured
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._written: dict[str, set[str]] = {HISTORY_FINE: set(), HISTORY_COARSE: set()}
        now = clock.wall()
        self._fine = self._load(HISTORY_FINE, _fine(now))
        self._coarse = self._load(HISTORY_COARSE, _coarse(now))
        self.documents = 0
        self.bytes = 0
        self.seconds = 0.0

    # -- recording

    def chore(self) -> Chore:
        """For housekeeping, once a minute."""
        return Chore("usage history", FINE, (), self.sample, self.flush)

    def sample(self, view: View, now: float) -> list[Operation]:
        """Take in what was measured since the last sample; what to write, which most of the time is nothing."""
        began = perf_counter()
        operations: list[Operation] = []
        with self._lock:
            if _fine(now).start != self._fine.start:
                operations = self._turn(now)
            point = int((now - self._fine.start) // FINE)
            seen: dict[str, _Seen] = {}
            means: dict[str, tuple[float, ...]] = {}
            for subject, usages in self._measured():
                news = self._news(subject, usages, seen)
                if news:
                    means[subject] = mean_usage(news)
            self._seen = seen
            self._fine.put(point, means, numbers_of(list(means.values())))
        self.seconds += perf_counter() - began
        return operations

    def flush(self) -> list[Operation]:
        """What to write so that nothing is lost, when the program ends."""
        with self._lock:
            return self._writes(HISTORY_FINE, self._fine)

    def _news(self, subject: str, usages: Sequence[Usage], seen: dict[str, _Seen]) -> Sequence[Usage]:
        """What came since the last sample, or what stands for it; nothing when nothing is known."""
        if not usages:
            return ()
        before = self._seen.get(subject)
        if before is None:
            seen[subject] = _Seen(usages[-1].measured)
            return usages[-1:]
        # All by the clock of whoever measured, which may be wrong but goes on.
        news = [usage for usage in usages if usage.measured > before.measured]
        if news:
            seen[subject] = _Seen(news[-1].measured)
            return news
        seen[subject] = _Seen(before.measured, before.held + 1)
        return usages[-1:] if before.held < _HELD else ()

    def _turn(self, now: float) -> list[Operation]:
        """The fine block is full: it becomes one coarse point, and both are written."""
        full, self._fine = self._fine, _fine(now)
        operations = self._writes(HISTORY_FINE, full)
        if _coarse(full.start).start != self._coarse.start:
            self._coarse = _coarse(full.start)
            self._written[HISTORY_COARSE] = set()
        point = int((full.start - self._coarse.start) // COARSE)
        self._coarse.put(point, *full.means())
        operations += self._writes(HISTORY_COARSE, self._coarse)
        operations += self._expired(now)
        self._written[HISTORY_FINE] = set()
        return operations

    def _writes(self, collection: str, block: Block) -> list[Operation]:
        documents = block.documents() if len(block) else {}
        before, self._written[collection] = self._written[collection], set(documents)
        self.documents += len(documents)
        self.bytes += sum(len(document["packed"]) for document in documents.values())
        # With more subjects a block is divided into more documents: those of the old division go.
        gone = [Delete(collection, id) for id in sorted(before - documents.keys())]
        return [*gone, *(Put(collection, id, document) for id, document in documents.items())]

    def _expired(self, now: float) -> list[Operation]:
        """More documents at a time than are written: after a long stop the old ones go within hours."""
        operations: list[Operation] = []
        for collection, kept in ((HISTORY_FINE, FINE_KEPT), (HISTORY_COARSE, COARSE_KEPT)):
            oldest = self._store.page(collection, limit=8 + 2 * len(self._written[collection]))
            operations += [Delete(collection, each.id) for each in oldest if start_of(each.id) < now - kept - _SPAN]
        return operations

    def _load(self, collection: str, block: Block) -> Block:
        """The block as the last program left it."""
        after = document_id(block.start, 0, 0)
        for stored in self._store.page(collection, after=after, limit=MOST_DOCUMENTS):
            if start_of(stored.id) == block.start:
                block.take(stored.document)
                self._written[collection].add(stored.id)
        return block

    # -- reading

    def usage(self, subject: str, since: float, step: float) -> tuple[float, list[dict[str, float]]]:
        """Points of a subject since then, oldest first, and the seconds between them: the least multiple of what is
        kept that is not below `step`. `time` is the beginning of what a point stands for.
        """
        now = self._clock.wall()
        is_fine = step < COARSE and since >= now - FINE_KEPT
        collection, empty, kept = (
            (HISTORY_FINE, _fine, FINE_KEPT) if is_fine else (HISTORY_COARSE, _coarse, COARSE_KEPT)
        )
        newest = empty(now)
        # Not from a time to come: far enough away, a number of seconds cannot be counted in blocks any more.
        first = empty(min(max(since, now - kept), now)).start
        starts = np.arange(first, newest.start + 1, newest.step * newest.points).tolist()
        series = {int(start): unknown(newest.points) for start in starts}
        for id, stored in self._store.get_many(
            collection, [id for start in series for id in ids_of(start, subject)]
        ).items():
            ids, table = unpacked(stored.document)
            if subject in ids:
                series[start_of(id)] = table[ids.index(subject)]
        with self._lock:
            own = self._fine if is_fine else self._coarse
            unwritten = own.series(subject)
            if unwritten is not None and int(own.start) in series:
                series[int(own.start)] = unwritten.copy()
        numbers = np.concatenate(list(series.values())) if series else unknown(0)
        return _grouped(numbers, first, newest.step, since, step)

    def recent(self, subject: str) -> list[Usage]:
        """What is in memory of a subject, oldest first: quarters of an hour, then minutes, some tens at most."""
        with self._lock:
            series = [(block, block.series(subject)) for block in (self._coarse, self._fine)]
            points = [
                (block.start + (point + 1) * block.step, numbers.copy())
                for block, found in series
                if found is not None
                for point, numbers in enumerate(found)
                if is_known(numbers)
            ]
        return [usage_of(numbers, measured) for measured, numbers in points]

    # -- for the metrics

    def readings(self) -> list[Sample]:
        """What it costs."""
        return [
            Sample("history_documents_total", self.documents),
            Sample("history_bytes_total", self.bytes),
            Sample("history_seconds_total", self.seconds),
        ]


def _fine(now: float) -> Block:
    span = FINE * FINE_POINTS
    return Block(now // span * span, FINE, FINE_POINTS)


def _coarse(now: float) -> Block:
    span = COARSE * COARSE_POINTS
    return Block(now // span * span, COARSE, COARSE_POINTS)


def _grouped(
    numbers: Numbers, first: float, kept: float, since: float, step: float
) -> tuple[float, list[dict[str, float]]]:
    """Points of `kept` seconds from `first` on, as points of at least `step` seconds that end after `since`."""
    size = max(1, math.ceil(step / kept))
    width = size * kept
    begin = int(first // width * width)  # groups begin at the same moments, whatever is asked for
    lead = round((first - begin) / kept)
    tail = -(lead + len(numbers)) % size
    padded = np.concatenate([unknown(lead), numbers, unknown(tail)])
    means = mean_of(padded.reshape(-1, size, padded.shape[1]))
    times = [begin + index * width for index in range(len(means))]
    return width, [
        {"time": float(time), **figures_of(mean)}
        for time, mean in zip(times, means, strict=True)
        if time + width > since and is_known(mean)
    ]
