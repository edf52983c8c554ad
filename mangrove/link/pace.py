"""How often children are heard: what a parent tells them about time, and what they hold may need."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The newest word that a child knows to have been heard at the top is as old as a beat of its own and one of its
#: cluster's, with their jitter of 15 % (child.py), and one of them may come late.
_BEATS_TO_LAST = 3 * 1.15


@dataclass(frozen=True, slots=True)
class Settings:
    """What the parent tells its children about time. lease, beat, usage: seconds.

    beats_per_second: budget for all children together; a large fleet beats more slowly, with a longer lease.
    clock_error: by how much two clocks may differ in rate (0.1 % is ten times what a poor quartz does).
    """

    lease: float = 10.0
    beat: float = 2.0
    usage: float = 5.0
    beats_per_second: float = 500.0
    clock_error: float = 0.001

    def for_fleet(self, children: int) -> tuple[float, float]:
        """(lease, beat period) for so many children: at least four beats fit into a lease."""
        beat = max(min(self.beat, self.lease / 4), children / self.beats_per_second)
        return max(self.lease, 4 * beat), beat

    @property
    def soonest_stop(self) -> float:
        """The least `stop_on_child_after` for which nobody has to beat faster than these say for a small fleet; rounded
        up to a tenth of a second."""
        return math.ceil(_BEATS_TO_LAST * self.for_fleet(0)[1] * 10 - 1e-6) / 10


def beat_for(stop_after: float) -> float:
    """Seconds between two beats, of a node and of its cluster, by which what stops itself so long (seconds) after the
    newest word that was heard at the top is not stopped between two of them."""
    return stop_after / _BEATS_TO_LAST
