"""What a program tells the service manager that started it (sd_notify(3)), in a dozen lines instead of a library.

Without a manager (no NOTIFY_SOCKET in the environment) nothing is told to nobody.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from queue import Empty, SimpleQueue

#: Signs of life in one period of the watchdog. sd_watchdog_enabled(3) advises two; a third bears one that is late.
_SIGNS = 3


def notify(state: str) -> None:
    """Tell the manager `state`, such as `READY=1`. What it does not hear is not our failure."""
    if address := os.environ.get("NOTIFY_SOCKET", ""):
        # "@" stands for the NUL that begins the name of a socket without a file.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def watchdog_period() -> float | None:
    """Seconds between signs of life, None when nobody waits for them."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 / _SIGNS if microseconds.isdecimal() and int(microseconds) and meant else None


def wait_for_signal(post: Callable[[Callable[[], None]], object], asked: SimpleQueue[None] | None = None) -> None:
    """Say that all is ready, wait for SIGTERM or SIGINT (or for something in `asked`), and say that the end begins.

    post: lets the program's loop call something, so that signs of life come from where the work is done: a loop that is
    stuck gives none, and the manager starts the program anew.
    """
    # No Event: this thread may hold its lock in the very moment in which the signal comes, and would wait for itself.
    ending: SimpleQueue[None] = SimpleQueue() if asked is None else asked
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ending.put(None))
    notify("READY=1")
    period = watchdog_period()
    while True:
        try:
            ending.get(timeout=period)
            break
        except Empty:
            post(lambda: notify("WATCHDOG=1"))
    notify("STOPPING=1")
