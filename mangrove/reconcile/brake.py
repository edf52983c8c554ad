"""The brake against mass loss: when very many children fall silent at once, it is rather the parent that hears badly.

Then nothing is replaced for one lease, in which most may come back; after that one child after the other.
"""

from __future__ import annotations

import math

#: It takes more children than this to fall silent within one lease, and more than this part of those that were there.
FEW, PART = 2, 1 / 3
#: After the pause this part of the children is let go within a lease, and at least one: in the ten leases that all of
#: them take, who comes back late finds its work still waiting for it.
LET_GO = 0.1


class Brake:
    """Of one parent. Times are seconds of one clock, the caller's."""

    def __init__(self) -> None:
        self._fallen: dict[str, float] = {}  # child → when it fell silent or its connection broke, within a lease
        self._free: dict[str, float] = {}  # child → when it may be replaced, of those that are held
        self._next = 0.0  # the same for whoever falls next; what lies behind says that the brake is off

    def fell(self, child: str, there: int, lease: float, now: float) -> int:
        """A child fell silent, or its connection broke. there: how many are still heard.

        Answers how many fell within one lease, if that are now so many that all of them are held; else 0.
        """
        self._fallen = {one: when for one, when in self._fallen.items() if now - when <= lease}
        self._fallen[child] = now
        count = len(self._fallen)
        held, tripped = [child], 0
        if now >= self._next:
            if count <= FEW or count <= (there + count) * PART:
                return 0
            held, tripped = list(self._fallen), count
            self._free, self._next = {}, now + lease
        step = lease / max(1, math.ceil((there + count) * LET_GO))
        latest = now + lease + lease / LET_GO  # whoever falls again and again must not keep the others for ever
        for one in held:
            if one not in self._free:
                self._free[one] = self._next
                self._next = min(self._next + step, latest)
        return tripped

    def heard(self, child: str) -> None:
        """A child is there again."""
        self._fallen.pop(child, None)
        self._free.pop(child, None)

    def holds(self, child: str, now: float) -> float:
        """Seconds for which nothing of a child is replaced; 0 when it is not held."""
        return max(0.0, self._free.get(child, 0.0) - now)
