"""When something is to be looked at again: one moment for each, the soonest that was asked for."""

from __future__ import annotations

import heapq

#: What is asked for so little sooner (seconds) is no news: the same moment, worked out anew from two clocks, is never
#: quite the same.
_SAME = 0.01


class Wakes:
    """By id. Times are seconds of one clock, the caller's, which must not jump."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # also with moments that have been brought forward since

    def __len__(self) -> int:
        return len(self._heap)

    def ask(self, id: str, at: float) -> None:
        """Wake it at `at`, or earlier when it asked for that before: it is asked again then how long it still is."""
        if at < self._at.get(id, float("inf")) - _SAME:
            self._at[id] = at
            heapq.heappush(self._heap, (at, id))

    def due(self, now: float) -> list[str]:
        """Whose time has come; they are forgotten."""
        ids = []
        while self._heap and self._heap[0][0] <= now:
            at, id = heapq.heappop(self._heap)
            if self._at.get(id) == at:
                del self._at[id]
                ids.append(id)
        return ids

    def next(self) -> float:
        """The soonest moment of all; infinite when there is none."""
        return self._heap[0][0] if self._heap else float("inf")
