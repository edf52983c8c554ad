"""The thread around a program's core: events in through a bounded queue, work when something came or is due."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from mangrove.base.clock import Clock

log = logging.getLogger(__name__)

#: Events that may wait. A cluster of a thousand nodes has some hundreds under way; what comes on top is dropped and
#: counted, and the link's digests bring it again.
_CAPACITY = 20_000
#: Events taken before work is done, so that a burst costs one round of decisions and one write.
_BURST = 500
#: A core that keeps failing is tried again this often; it never takes the thread down.
_AFTER_FAILURE = 1.0


class Core(Protocol):
    """What a loop drives."""

    def work(self) -> None:
        """Do all that is due."""

    def next_wake(self) -> float:
        """When `work` wants to be called at the latest (`Clock.now` seconds)."""


class Loop:
    """Runs `core` in one thread. `post` may be called from any thread and never blocks."""

    def __init__(self, core: Core, clock: Clock, name: str) -> None:
        self._core = core
        self._clock = clock
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue(_CAPACITY)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.dropped = 0
        self.failures = 0
        self.rounds = 0
        self.busy = 0.0  # seconds spent in rounds
        self.ended = self._woke = clock.now()  # when the newest round ended, and when it was woken for it

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def post(self, event: Callable[[], None]) -> bool:
        """Let the loop call `event` in its own thread, then work; False when too much waits already."""
        try:
            self._inbox.put_nowait(event)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def stop(self, timeout: float = 10.0) -> None:
        """End after what is being done now."""
        self._stopping.set()
        self.post(lambda: None)
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Events that were posted and not taken yet."""
        return self._inbox.qsize()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take()
                self._core.work()
                self._count()
            except Exception:
                self.failures += 1
                log.exception("the loop stumbled; it goes on in %g s", _AFTER_FAILURE)
                self._stopping.wait(_AFTER_FAILURE)

    def _count(self) -> None:
        self.rounds += 1
        self.ended = self._clock.now()
        self.busy += self.ended - self._woke

    def _take(self) -> None:
        """Wait for an event or the next deadline, then run all events that are there."""
        timeout = max(0.0, min(self._core.next_wake() - self._clock.now(), 3600.0))
        try:
            first = self._inbox.get(timeout=timeout)
        except queue.Empty:
            self._woke = self._clock.now()
            return
        self._woke = self._clock.now()
        with contextlib.suppress(queue.Empty):
            first()
            for _ in range(_BURST):
                self._inbox.get_nowait()()
