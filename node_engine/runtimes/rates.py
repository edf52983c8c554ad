"""From counters that only rise to figures that people read."""

from __future__ import annotations

from collections.abc import Iterable


class CpuRates:
    """CPU use between two readings of each instance's counter."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def percent(self, key: str, used: float, now: float) -> float:
        """Percent of one core since the reading before; 0 at the first. used: CPU seconds; now: seconds."""
        before_used, before = self._last.get(key, (used, now))
        self._last[key] = (used, now)
        # A restart begins a new counter, below the old one: that reading counts as a first one.
        return round(100 * max(0.0, used - before_used) / (now - before), 2) if now > before else 0.0

    def keep_only(self, keys: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(keys)
        self._last = {key: reading for key, reading in self._last.items() if key in kept}
