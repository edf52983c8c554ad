"""What instances occupy on disk: costly to learn, so it is learnt seldom."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mangrove.base.clock import Clock

#: Files that are looked at in one folder, at most: 20,000 take about 0.1 s on a small device. What has more occupies
#: at least what is told.
_MOST_FILES = 20_000


class DiskSizes:
    """Remembers sizes for `period` seconds. measure: gives bytes by attempt, for all at once."""

    def __init__(self, measure: Callable[[], Mapping[str, int]], clock: Clock, period: float) -> None:
        self._measure = measure
        self._clock = clock
        self._period = period
        self._known: Mapping[str, int] = {}
        self._next = 0.0

    def now(self) -> Mapping[str, int]:
        """Bytes by attempt; what was made since the last measurement is not in it."""
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + self._period
            self._known = self._measure()
        return self._known


def size_of(folder: Path) -> int:
    """Bytes that `folder` occupies on its disk, links not followed."""
    size = files = 0
    for path, _, names in os.walk(folder):
        for name in names:
            # Files come and go meanwhile.
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(path, name)).st_blocks * 512
            files += 1
            if files >= _MOST_FILES:
                return size
    return size
