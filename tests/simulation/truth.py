"""What is really so, whatever anybody in the tree believes: read from the stores themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mangrove.model.documents import PLACEMENTS, SLOTS, Given, Placement
from mangrove.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class _Read:
    revision: int
    placements: dict[str, Placement]  # by slot
    current: dict[str, Placement]  # by attempt
    desired: dict[str, str]  # by slot
    known: set[str]


class Decided:
    """What is wanted and decided in stores, decoded once for each change."""

    def __init__(self) -> None:
        self._read: dict[MemoryStore, _Read] = {}

    def wanted(self, store: MemoryStore, attempt: str) -> Placement | None:
        """The placement whose current attempt this is, or None when it is not wanted."""
        return self._of(store).current.get(attempt)

    def withdrawn(self, store: MemoryStore, attempt: str) -> bool:
        """Whether this store knew the attempt when it was last read or met, and wants it no more."""
        read = self._of(store)
        return attempt in read.known and attempt not in read.current

    def placements(self, store: MemoryStore) -> Mapping[str, Placement]:
        """All placements, by slot."""
        return self._of(store).placements

    def slots(self, store: MemoryStore) -> Mapping[str, str]:
        """What is desired of each slot: `run` or `stop`."""
        return self._of(store).desired

    def meet(self, store: MemoryStore) -> None:
        """Remember what this store knows now."""
        self._of(store)

    def _of(self, store: MemoryStore) -> _Read:
        read, revision = self._read.get(store), store.revision()
        if read is not None and read.revision == revision:
            return read
        placements = {stored.id: stored.read(Placement) for stored in store.load(PLACEMENTS)}
        current = {given.attempt: placed for placed in placements.values() for given in wanted_of(placed)}
        desired = {stored.id: str(stored.document["desired"]) for stored in store.load(SLOTS)}
        known = read.known if read is not None else set()
        known.update(given.attempt for placed in placements.values() for given in attempts_of(placed))
        read = self._read[store] = _Read(revision, placements, current, desired, known)
        return read


def attempts_of(placement: Placement) -> tuple[Given, ...]:
    """All attempts of a slot that may still run."""
    return (*placement.leaving, *wanted_of(placement))


def rivals_of(placement: Placement) -> tuple[Given, ...]:
    """Attempts of a slot that have room, or have had room made for them."""
    return tuple(given for given in (placement.current, placement.nominated) if given is not None)


def wanted_of(placement: Placement) -> tuple[Given, ...]:
    """The attempts of a slot that shall run: two only while the child of one is drained."""
    return tuple(given for given in (placement.current, placement.successor) if given is not None)
