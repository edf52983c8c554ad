"""What is really so, whatever anybody in the tree believes: read from the stores themselves."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mangrove.model.documents import PLACEMENTS, Given, Placement
from mangrove.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class _Read:
    revision: int
    current: dict[str, Placement]  # by attempt
    known: frozenset[str]


class Decided:
    """The placements in stores, decoded once for each revision."""

    def __init__(self) -> None:
        self._read: dict[MemoryStore, _Read] = {}

    def wanted(self, store: MemoryStore, attempt: str) -> Placement | None:
        """The placement whose current attempt this is, or None when it is not wanted."""
        return self._of(store).current.get(attempt)

    def withdrawn(self, store: MemoryStore, attempt: str) -> bool:
        """Whether this store knew the attempt when it was last read or met, and wants it no more."""
        read = self._of(store)
        return attempt in read.known and attempt not in read.current

    def meet(self, store: MemoryStore) -> None:
        """Remember what this store knows now."""
        self._of(store)

    def _of(self, store: MemoryStore) -> _Read:
        read, revision = self._read.get(store), store.revision()
        if read is None or read.revision != revision:
            placements = [msgspec.convert(stored.document, Placement) for stored in store.load(PLACEMENTS)]
            current = {placed.current.attempt: placed for placed in placements if placed.current is not None}
            known = frozenset(given.attempt for placed in placements for given in attempts_of(placed))
            known |= read.known if read is not None else known
            read = self._read[store] = _Read(revision, current, known)
        return read


def attempts_of(placement: Placement) -> tuple[Given, ...]:
    """All attempts of a slot that may still run."""
    wanted = (given for given in (placement.successor, placement.current) if given is not None)
    return (*placement.leaving, *wanted)
