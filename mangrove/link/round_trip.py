"""How long a beat and its acknowledgement take: coarse and steady enough to be told to the parent."""

from __future__ import annotations

from collections import deque

#: Newest ones of which the quickest counts: what a busy moment adds is not the way's length.
_RECENT = 8
#: Milliseconds that are told: three steps for each power of ten are as fine as a threshold in an SLA is meant.
_STEPS = tuple(digit * 10**power for power in range(5) for digit in (1.0, 2.0, 5.0))
#: What is told stays while the quickest one is within these parts of it, so that it does not go to and fro.
_LEAST, _MOST = 0.3, 1.25


class RoundTrip:
    """milliseconds: the step at or above the quickest of the newest round trips; 0 when none was measured."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def note(self, seconds: float) -> None:
        """One beat was acknowledged after so long."""
        self._recent.append(1000 * seconds)
        quickest = min(self._recent)
        if not _LEAST * self.milliseconds <= quickest <= _MOST * self.milliseconds:
            self.milliseconds = next((step for step in _STEPS if quickest <= step), _STEPS[-1])
