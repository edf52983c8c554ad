"""Time. Decisions use `Clock.now`, people see `Clock.wall`; nothing else in Mangrove asks the machine for the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time."""

    def now(self) -> float:
        """Seconds since some fixed moment of this boot, never going back, suspend included."""

    def wall(self) -> float:
        """Seconds since the epoch, for people and for documents; may jump."""


class SystemClock:
    """The machine's clock. Leases need CLOCK_BOOTTIME: monotonic time stands still while a device is suspended."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        return time.time()


class VirtualClock:
    """A clock that moves only when told to: the simulator's, and the tests'."""

    def __init__(self, start: float = 0.0, epoch: float = 1_800_000_000.0) -> None:
        self._now = start
        self._epoch = epoch

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._epoch + self._now

    def advance_to(self, moment: float) -> None:
        """Move to `moment` (seconds); moving back is an error."""
        if moment < self._now:
            raise ValueError(f"time cannot go back from {self._now} to {moment}")
        self._now = moment
