"""How the API writes: one batch, conditional on what was read; what met somebody else's write is tried again."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from mangrove.base.errors import Unavailable
from mangrove.store.interface import RevisionConflict

#: Tries of one write. The threads of one process take turns, so only other copies of the API can be in the way, and
#: each time one of them has succeeded.
TRIES = 20

_T = TypeVar("_T")

#: Locks among which things are shared out: several times the threads of the HTTP server, so that two seldom meet.
_LOCKS = 64


class Turns:
    """Lets the threads of this process take turns at one thing, and seldom at two."""

    def __init__(self) -> None:
        self._locks = [Lock() for _ in range(_LOCKS)]

    def at(self, about: str) -> Lock:
        """What to hold while one works on the thing with this name."""
        return self._locks[hash(about) % _LOCKS]


class Writer:
    """Lets the threads of this process take turns at one kind of thing."""

    def __init__(self) -> None:
        self._turns = Turns()

    def _retried(self, write: Callable[[], _T], about: str = "") -> _T:
        """What `write` answers, once it met nobody else's write; it reads anew each time. Raises Unavailable.

        about: id of the one thing that it changes: writes about others need not wait for it.
        """
        with self._turns.at(about):
            for _ in range(TRIES):
                try:
                    return write()
                except RevisionConflict:
                    continue
        raise Unavailable("others keep changing the same thing; nothing was changed, try again")
