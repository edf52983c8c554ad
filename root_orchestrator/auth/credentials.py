"""Names and passwords put to the proof: slowed down for whoever guesses, and never more at once than the cores bear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from werkzeug.exceptions import TooManyRequests

from mangrove.base.clock import Clock
from mangrove.base.errors import InvalidInput, Unauthorized, Unavailable
from mangrove.identity.throttle import Throttle
from mangrove.model.documents import User
from root_orchestrator.auth.passwords import LONGEST, SHORTEST, Passwords
from root_orchestrator.auth.users import Users

#: Failed tries in a minute: for one name from one address (a person who mistypes makes a few), and for one address in
#: all (which many people behind one router share).
FAILURES_PER_NAME = 10
FAILURES_PER_ADDRESS = 100
WINDOW = 60.0

#: Passwords hashed at once. Each costs 0.2 s of a core: logins must not take all cores from everything else.
HASHED_AT_ONCE = 2

#: Seconds that a login waits for its turn.
PATIENCE = 10.0


class Credentials:
    """Checks passwords, and makes the hashes that are kept of new ones. May be used from any thread."""

    def __init__(self, users: Users, passwords: Passwords, clock: Clock) -> None:
        self._users = users
        self._passwords = passwords
        self._per_name = Throttle(clock, allowed=FAILURES_PER_NAME, window=WINDOW)
        self._per_address = Throttle(clock, allowed=FAILURES_PER_ADDRESS, window=WINDOW)
        self._turn = BoundedSemaphore(HASHED_AT_ONCE)

    def user(self, name: str, password: str, address: str) -> User:
        """The user of that name and password. address: who asks, for the count of failures.

        Raises Unauthorized, TooManyRequests (werkzeug's), Unavailable.
        """
        tries = ((self._per_address, address), (self._per_name, f"{address} {name}"))
        for throttle, key in tries:
            if seconds := math.ceil(throttle.wait(key)):
                raise TooManyRequests(f"too many failed logins; try again in {seconds} s", retry_after=seconds)
        user = self._users.named(name)
        with self._in_turn():
            right = self._passwords.matches(user.password if user else None, password)
        if user is None or not right:
            raise Unauthorized("wrong username or password")
        for throttle, key in tries:
            throttle.forgive(key)
        return user

    def hashed(self, password: str, field: str) -> str:
        """The hash of a new password. Raises InvalidInput (which does not repeat the password), Unavailable."""
        if not SHORTEST <= len(password) <= LONGEST or not password.isprintable():
            raise InvalidInput(field, f"must have {SHORTEST} to {LONGEST} printable characters; choose another")
        with self._in_turn():
            return self._passwords.hash(password)

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise Unavailable("too many logins at once; try again")
        try:
            yield
        finally:
            self._turn.release()
