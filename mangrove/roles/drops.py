"""Dropped messages in the log: the first at once, then at most one line a minute, whatever somebody sends."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

#: Seconds between two lines.
_PERIOD = 60.0


class Drops:
    """Watches a counter of dropped messages. whose: for the log."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._logged = 0
        self._when = float("-inf")

    def look(self, count: int, newest: str, now: float) -> None:
        """Log what came since the last line, if it is time. newest: why the newest message was dropped."""
        if count > self._logged and now - self._when >= _PERIOD:
            log.warning("%s: %d messages dropped; the newest: %s", self._whose, count - self._logged, newest)
            self._logged, self._when = count, now
