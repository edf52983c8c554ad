"""What instances print, as lines: the same words for all runtimes, and for what is kept of instances that are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

#: Longest line in bytes that is shown whole: the size of the pieces in which Docker keeps lines.
LONGEST = 16 * 1024
#: The `stream` of lines that the instance did not print itself.
OURS = "mangrove"


class Line(NamedTuple):
    """A line without its end. time: wall-clock seconds by which it was there. stream: `stdout`, `stderr` or OURS.

    position: from where to go on behind it, in the words of its runtime.
    """

    time: float
    stream: str
    text: bytes
    position: str


@dataclass(frozen=True, slots=True)
class Wish:
    """Which lines. position: behind that of an earlier line. since: wall-clock seconds. tail: at most the last so many
    of those that are there. follow: wait for more, until the instance has ended for good."""

    position: str = ""
    since: float | None = None
    tail: int | None = None
    follow: bool = False


class Reading:
    """Whether somebody still reads; may be used from any thread. over: whether the instance will print no more."""

    def __init__(self, over: Callable[[], bool] = lambda: True) -> None:
        self.over = over
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._on_stop: list[Callable[[], object]] = []

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def wait(self, seconds: float) -> bool:
        """False at once when nobody reads any more."""
        return not self._stopped.wait(seconds)

    def on_stop(self, wake: Callable[[], object]) -> None:
        """Call `wake` when nobody reads any more, or now if that is so already."""
        with self._lock:
            if not self._stopped.is_set():
                self._on_stop.append(wake)
                return
        wake()

    def stop(self) -> None:
        """Nobody reads any more."""
        with self._lock:
            self._stopped.set()
            waking, self._on_stop = self._on_stop, []
        for wake in waking:
            wake()


def cut(text: bytes, dropped: int = 0) -> bytes:
    """A line of at most LONGEST bytes that says so if there was more. dropped: bytes that were left out already."""
    dropped += max(0, len(text) - LONGEST)
    return text[:LONGEST] + f" … {dropped:,} more bytes of this line are left out".encode() if dropped else text


def gap(dropped: int | None, time: float, position: str) -> Line:
    """In place of bytes that are not there any more; None: nobody knows how many."""
    much = "some lines" if dropped is None else f"{dropped:,} bytes"
    return Line(time, OURS, f"… {much} were rotated away before they were read".encode(), position)
