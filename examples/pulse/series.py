"""Statistics of a series of figures that never ends, in bounded memory."""

from __future__ import annotations

import math
from collections import deque

#: Points kept of a series: 5 minutes at one a second.
WINDOW = 300
#: Weight of the newest figure in the moving mean and variance: they follow the last half minute (1/0.03 figures).
ALPHA = 0.03
#: So many figures come first before any is called unusual: the moving variance means little before.
WARM_UP = 30
#: A figure so many deviations from the moving mean is unusual. Load is spiky; at 3 a busy machine cries every minute.
UNUSUAL = 5.0


class Series:
    """One metric of one machine.

    Of all figures since the start: count, mean and deviation by Welford's method (B. P. Welford, Technometrics 4(3),
    1962). Of the recent ones: a moving mean and variance with exponential weights (T. Finch, "Incremental calculation
    of weighted mean and variance", 2009, section 9), against which each new figure is compared.
    """

    def __init__(self) -> None:
        self.points: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.count = 0
        self.mean = 0.0
        self.moving_mean = 0.0
        self.unusual = 0
        self.z = 0.0
        self._squares = 0.0
        self._moving_variance = 0.0

    def add(self, time: float, value: float) -> bool:
        """Take a figure (`time` in seconds) in; whether it is unusual."""
        self.z = self._distance(value)
        self.points.append((time, value))
        self.count += 1

        from_mean = value - self.mean
        self.mean += from_mean / self.count
        self._squares += from_mean * (value - self.mean)

        if self.count == 1:
            self.moving_mean = value
        from_moving = value - self.moving_mean
        step = ALPHA * from_moving
        self.moving_mean += step
        self._moving_variance = (1 - ALPHA) * (self._moving_variance + from_moving * step)

        unusual = abs(self.z) >= UNUSUAL
        self.unusual += unusual
        return unusual

    @property
    def deviation(self) -> float:
        """Standard deviation of all figures since the start (0 below two figures)."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else 0.0

    def _distance(self, value: float) -> float:
        """How many moving deviations `value` is from the moving mean; 0 while there are too few to tell."""
        if self.count < WARM_UP:
            return 0.0
        # What hardly ever moves has hardly any variance; a hundredth of its mean is no surprise yet.
        deviation = max(math.sqrt(self._moving_variance), abs(self.moving_mean) / 100, 1e-3)
        return (value - self.moving_mean) / deviation
