"""On which children something failed for good, so that it is tried elsewhere first."""

from __future__ import annotations

from mangrove.model.documents import Past, Placement
from mangrove.model.phases import Phase

#: Seconds for which a child is avoided on which a service failed for good, while others have room: long enough for a
#: person to see to it, short enough that what was mended is used again within the hour.
AVOID_FOR = 1800.0
#: Versions of services of which it is remembered: as many as fail at once in a large tree, some hundred bytes each.
_MOST = 2000


class Failing:
    """What failed where, of all slots of one parent: what one instance came to, the others of its service need not try.

    It follows from the histories of their placements, so nothing is kept of it.
    """

    def __init__(self) -> None:
        self._ended: dict[str, dict[str, float]] = {}  # specification → child → wall-clock seconds

    def note(self, placement: Placement) -> None:
        """A slot has this history now."""
        for past in placement.history:
            if past.phase in (Phase.FAILED, Phase.LOST):
                known = self._ended.setdefault(past.specification, {})
                known[past.child] = max(past.ended, known.get(past.child, 0.0))
        while len(self._ended) > _MOST:
            del self._ended[next(iter(self._ended))]

    def children(self, specification: str, now: float) -> frozenset[str]:
        """Where this specification failed lately. now: wall-clock seconds."""
        known = self._ended.get(specification, {})
        return frozenset(child for child, ended in known.items() if _lately(ended, now))


def failed_on(placement: Placement, specification: str, now: float) -> frozenset[str]:
    """Where this slot's own attempts of a specification failed lately. now: wall-clock seconds."""
    return frozenset(past.child for past in placement.history if _failed(past, specification, now))


def _failed(past: Past, specification: str, now: float) -> bool:
    failed = past.phase in (Phase.FAILED, Phase.LOST)
    return failed and past.specification == specification and _lately(past.ended, now)


def _lately(ended: float, now: float) -> bool:
    return ended <= now < ended + AVOID_FOR  # later than now only when the wall clock was set back since
