"""Which store a parent uses, by its options, and who of those that share it runs the controllers.

A program that finds the lease taken stands by: it watches the lease's counter, and takes over when that has not moved
for a whole lease. The holder raises the counter four times a lease. Whoever slept meanwhile cannot write any more,
since each batch of a controller is checked against the term.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mangrove.base.clock import Clock
from mangrove.base.errors import InvalidInput
from mangrove.base.files import write_atomically
from mangrove.base.ids import is_id, new_id
from mangrove.model.specification import CLOCK_ERROR
from mangrove.store.interface import Lease, Store, StoreUnavailable
from mangrove.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

#: In the environment: the store's address, which may hold a password.
VARIABLE = "MANGROVE_STORE"

#: Seconds at most after which a stand-by takes over. A program that is killed is away for less when it is started anew.
LONGEST_LEASE = 10.0

#: Looks and renewals in one lease: three of them may be late or lost.
_A_LEASE = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, under whose name this installation takes leases, and whether others may have it open, too."""

    store: Store
    holder: str
    shared: bool


def store_argument(parser: argparse.ArgumentParser) -> None:
    """The option that says which store."""
    parser.add_argument(
        "--store",
        default=os.environ.get(VARIABLE, ""),
        metavar="URL",
        help="mongodb://HOST/DATABASE to keep its state there instead of in the data folder "
        f"(better in {VARIABLE}: other users of the machine can read options, and so a password in them)",
    )


def open_store(url: str, data: Path, name: str) -> Opened:
    """The store at `url`, or `name` in the folder `data` when there is no URL. Raises MangroveError, OSError."""
    if not url:
        own = SqliteStore(data / name)
        return Opened(own, own.id, shared=False)
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        raise InvalidInput("--store", "must begin with mongodb:// or mongodb+srv://, or be left out")
    from mangrove.store.mongo import MongoStore  # only who uses it pays for the driver

    shared = MongoStore(url)
    log.info("the store is %s", shared.name)
    # With the machine's name, so that a copy of the folder on another one is somebody else.
    return Opened(shared, f"{_installation(data)}@{socket.gethostname()}", shared=True)


def take_lease(opened: Opened, name: str, seconds: float, clock: Clock, sleep: Callable[[float], object]) -> None:
    """Return once this installation holds the lease `name`; until then, stand by.

    seconds: of the lease. sleep: waits so many seconds.
    """
    watched: Lease | None = None
    since = clock.now()
    said, trouble = False, ""
    while True:
        try:
            silent = watched is not None and clock.now() - since >= seconds
            seen = watched.counter if watched is not None and silent else None
            if opened.store.acquire(name, opened.holder, counter_seen=seen) is not None:
                if said:
                    log.warning("the store's lease is free: this program takes over")
                return
            held = opened.store.lease(name)
        except StoreUnavailable as error:
            # While nobody can renew, a counter that stands still says nothing.
            if watched is not None or error.message != trouble:
                log.warning("waiting for the store, which cannot be used: %s", error)
            watched, held, trouble = None, None, error.message
        if held != watched:
            watched, since = held, clock.now()
        if not said and held is not None:
            log.warning(
                "standing by: the store is in use by %s; this program takes over when that is silent for %g s",
                held.holder,
                seconds,
            )
            said = True
        sleep(seconds / _A_LEASE)


class Renewal:
    """Renews a lease of a shared store in a thread of its own; `on_lost` is called when it has been taken over.

    seconds: of the lease. since: when it was known to be held (`Clock.now`).
    """

    def __init__(
        self, store: Store, lease: Lease, seconds: float, clock: Clock, since: float, on_lost: Callable[[], None]
    ) -> None:
        self._store = store
        self._lease = lease
        self._clock = clock
        self._period = seconds / _A_LEASE
        self._sure = seconds * (1 - CLOCK_ERROR)
        self._on_lost = on_lost
        #: Until then nobody else can have taken it over: who stands by watches it stand still for a whole lease.
        self.held_until = since + self._sure
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store lease", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the lease stays, until another has watched it for long enough."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(self._period)

    def _run(self) -> None:
        while not self._stopping.wait(self._period) and self.renew():
            pass

    def renew(self) -> bool:
        """Renew it once, in the thread of its own or a test's; whether it is not over."""
        asked = self._clock.now()
        try:
            renewed = self._store.renew(self._lease)
        except StoreUnavailable:
            return True  # the controller says so; whether it is over shows later
        if renewed is None:
            log.error("another program has taken the store's lease over: this one ends")
            self._on_lost()
            return False
        self.held_until = asked + self._sure
        return True


def _installation(data: Path) -> str:
    """An id that stays with the data folder."""
    path = data / "installation"
    known = path.read_text().strip() if path.exists() else ""
    if not is_id(known):
        known = new_id()
        write_atomically(path, known.encode())
    return known
