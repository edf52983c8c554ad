"""Prompt notice of ended processes: one thread that sleeps until one of many ends."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Watcher:
    """Watches process descriptors (pidfds), also of processes that are not our children."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread: threading.Thread | None = None

    def add(self, descriptor: int) -> None:
        """Watch one more, until it ended or is closed."""
        # Once only: an ended process stays readable, and would keep the thread busy until someone closes it.
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` in a thread of its own whenever one or more have ended. To be called once."""
        self._thread = threading.Thread(target=self._follow, args=(on_change,), name="process-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of everything; no call follows. Closed already is success."""
        if self._epoll.closed:
            return
        os.eventfd_write(self._wake, 1)
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def _follow(self, on_change: Callable[[], None]) -> None:
        while True:
            ended = self._epoll.poll()
            if any(descriptor == self._wake for descriptor, _ in ended):
                return
            try:
                on_change()
            except Exception:
                _log.exception("telling of an ended process failed")
