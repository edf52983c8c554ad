"""A new password for who forgot theirs: by a mailed link, or, where no mail is sent, by an Admin who is told of it."""

from __future__ import annotations

import hmac
import logging
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from werkzeug.exceptions import TooManyRequests

from mangrove.base.clock import Clock
from mangrove.base.errors import InvalidInput
from mangrove.base.ids import is_id, new_id
from mangrove.identity.throttle import Throttle
from mangrove.model.documents import RESETS, USERS, Reset, User
from mangrove.roles.journal import written
from mangrove.store.interface import Delete, Put, Store, Stored
from root_orchestrator.auth.users import Users, renewed
from root_orchestrator.writer import Writer

_log = logging.getLogger(__name__)

#: Seconds that a link is good for, as with Oakestra.
LIFETIME = 3 * 3600.0

#: Requests that one address may make in a minute, and how often one user is written to: whoever asks in another's name
#: should not fill their mailbox.
ASKED_PER_ADDRESS = 10
WINDOW = 60.0
PAUSE = 300.0


@dataclass(frozen=True, slots=True)
class Post:
    """How links are mailed. link: the page of the dashboard that takes the token, which is put behind it.

    send: called with address, subject and text; may take long and raise.
    """

    link: str
    send: Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class _Bearer:
    """A user, and the reset that is theirs, as they were read."""

    user: Stored
    reset: Stored


class Resets(Writer):
    """Gives out tokens for new passwords, of which only a hash is kept, and takes each once."""

    def __init__(
        self, store: Store, clock: Clock, users: Users, later: Callable[[Callable[[], None]], None], post: Post | None
    ) -> None:
        """later: does what it is given after the request is answered. post: None where no mail is sent."""
        super().__init__()
        self._store = store
        self._clock = clock
        self._users = users
        self._later = later
        self._post = post
        self._askers = Throttle(clock, allowed=ASKED_PER_ADDRESS, window=WINDOW)
        self._asked = Throttle(clock, allowed=1, window=PAUSE)

    @property
    def mails(self) -> bool:
        """Whether links are mailed."""
        return self._post is not None

    def ask(self, name: str, address: str) -> None:
        """Let the user of that name, if there is one, have a new password. address: who asks.

        It takes as long whether there is such a user or not. Raises TooManyRequests (werkzeug's).
        """
        if seconds := math.ceil(self._askers.wait(address)):
            raise TooManyRequests(f"too many requests; try again in {seconds} s", retry_after=seconds)
        self._later(lambda: self._answer(name))

    def use(self, token: str, hashed: Callable[[], str]) -> None:
        """Take a token for a new password. hashed: makes the hash of it, once the token is found good.

        Ends all tokens of the user. Raises InvalidInput.
        """
        if self._bearer(token) is None:
            raise _no_good()
        password = hashed()

        def write() -> str:
            bearer = self._bearer(token)
            if bearer is None:
                raise _no_good()
            user, reset = msgspec.convert(bearer.user.document, User), bearer.reset
            changed = msgspec.to_builtins(renewed(user, password))
            self._store.apply(
                [Put(USERS, user.id, changed, bearer.user.revision), Delete(RESETS, user.id, reset.revision)]
            )
            return user.name

        _log.info("%s chose a new password by a mailed link", self._retried(write))

    def _answer(self, name: str) -> None:
        user = self._users.named(name)
        if user is None or self._asked.wait(user.id):
            return
        if self._post is None or not user.email:
            text = f"{user.name} asks for a new password; an Admin gives one by PUT /api/user/{user.name}"
            self._store.apply([written(self._clock.wall(), "password-wanted", user.id, text, new_id)])
            _log.warning("%s", text)
            return
        secret = secrets.token_urlsafe(32)
        reset = Reset(user.id, _hash(secret), self._clock.wall() + LIFETIME, user.generation, user.email)
        self._store.apply([Put(RESETS, user.id, msgspec.to_builtins(reset))])
        self._post.send(user.email, "A new password for Mangrove", _mail(user, f"{self._post.link}{user.id}.{secret}"))
        _log.info("a link for a new password was mailed to %s", user.name)

    def _bearer(self, token: str) -> _Bearer | None:
        """Whose token that is, if it is good for a new password of theirs."""
        id, _, secret = token.partition(".")
        reset, user = (self._store.get(RESETS, id), self._store.get(USERS, id)) if is_id(id) else (None, None)
        if reset is None or user is None:
            return None
        given, present = msgspec.convert(reset.document, Reset), msgspec.convert(user.document, User)
        right = hmac.compare_digest(given.hash, _hash(secret)) and self._clock.wall() < given.expires
        # Nor after a password or address that was chosen since.
        still = (given.generation, given.email) == (present.generation, present.email)
        return _Bearer(user, reset) if right and still else None


def _hash(secret: str) -> str:
    # 256 random bits need no slow hash.
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _no_good() -> InvalidInput:
    return InvalidInput("token", "is not valid, or not any more; ask for a new one by POST /api/user")


def _mail(user: User, link: str) -> str:
    return f"""\
Somebody, you as we hope, asked for a new password for "{user.name}".

Choose it here, within three hours:

{link}

If it was not you, do nothing: your password stays as it is.
"""
