"""A brake on guessing and on broken scripts: how many failures a key may collect within a window, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from mangrove.base.clock import Clock


class Throttle:
    """Counts failures per key (an address, say) in windows of `window` seconds that begin at a key's first one.

    allowed: failures in a window. keys: remembered at most, the one unused for longest is forgotten first.
    """

    def __init__(self, clock: Clock, *, allowed: int, window: float, keys: int = 10_000) -> None:
        self._clock = clock
        self._allowed = allowed
        self._window = window
        self._keys = keys
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # key → start of its window, failures
        self._lock = Lock()

    def wait(self, key: str) -> float:
        """Take one of the key's tries: 0 when there was one left, else the seconds until there is.

        A try counts as failed until `forgive` is called, so that many at once cannot slip through.
        """
        now = self._clock.now()
        with self._lock:
            start, count = self._counts.get(key, (now, 0))
            if now - start >= self._window:
                start, count = now, 0
            if count >= self._allowed:
                return self._window - (now - start)
            self._counts[key] = (start, count + 1)
            self._counts.move_to_end(key)
            while len(self._counts) > self._keys:
                self._counts.popitem(last=False)
            return 0.0

    def forgive(self, key: str) -> None:
        """The try just taken did not fail: give it back."""
        with self._lock:
            start, count = self._counts.get(key, (0.0, 0))
            if count > 1:
                self._counts[key] = (start, count - 1)
            else:
                self._counts.pop(key, None)
