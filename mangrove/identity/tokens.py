"""Join tokens: what lets a child join. A person copies one from parent to child; the store keeps only its hash."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from mangrove.base.clock import Clock
from mangrove.base.errors import Conflict, InvalidInput, NotFound, Unauthorized
from mangrove.base.ids import new_id
from mangrove.model.documents import TOKENS, Token
from mangrove.store.interface import ABSENT, Delete, Operation, Put, RevisionConflict, Store, Stored

#: Bytes of a token's secret: 128 random bits, which nobody can guess.
_SECRET_SIZE = 16

#: Longest life in seconds (a year): a forgotten token should not open the door for ever.
MAX_TTL = 365 * 24 * 3600.0

#: Most joins by one token: more than one parent can have children.
MAX_USES = 100_000

#: Seconds (a day) for which an expired token is kept, so that whoever uses it reads "expired" rather than "unknown".
KEPT_EXPIRED = 24 * 3600.0

#: Times a write is tried again when somebody else wrote the same document meanwhile. At each round at least one writer
#: succeeds, so this bounds how many can write one token at once.
RETRIES = 64

_TEXT = re.compile(r"mgv-(?P<id>[0-9a-f]{24})-(?P<secret>[0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token, the only time that its secret is known. expires: wall-clock seconds."""

    id: str
    secret: str = field(repr=False)
    expires: float

    @property
    def text(self) -> str:
        """What a person copies: `mgv-<id>-<secret>`."""
        return f"mgv-{self.id}-{self.secret}"


@dataclass(frozen=True, slots=True)
class Held:
    """A token that was shown and is valid. revision: of its document, which taking a use expects."""

    token: Token
    revision: int

    def take_use(self) -> Put:
        """The write that takes one use, for the batch that writes the new identity. Raises Unauthorized."""
        if self.token.uses < 1:
            raise Unauthorized("this join token is used up: make a new one at the parent")
        left = msgspec.structs.replace(self.token, uses=self.token.uses - 1)
        return Put(TOKENS, left.id, msgspec.to_builtins(left), expect=self.revision)


def issue(store: Store, clock: Clock, *, ttl: float, uses: int) -> IssuedToken:
    """Make a token for `uses` joins within `ttl` seconds. Raises InvalidInput."""
    if not 0 < ttl <= MAX_TTL:
        raise InvalidInput("ttl", f"must be above 0 and at most {MAX_TTL:.0f} seconds (a year), not {ttl}")
    if not 1 <= uses <= MAX_USES:
        raise InvalidInput("uses", f"must be 1 to {MAX_USES}, not {uses}")
    issued = IssuedToken(new_id(), secrets.token_hex(_SECRET_SIZE), clock.wall() + ttl)
    token = Token(id=issued.id, hash=_hash(issued.secret), expires=issued.expires, uses=uses)
    store.apply([Put(TOKENS, token.id, msgspec.to_builtins(token), expect=ABSENT)])
    return issued


def verify(store: Store, clock: Clock, text: str) -> Held:
    """The token of which `text` was copied. Whether a use is left says `Held.take_use`.

    Raises Unauthorized when it is unknown, revoked or expired; which of them is told only to who knows its secret.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise Unauthorized("this is not a join token: it reads mgv-<24 digits>-<32 digits>; copy all of it")
    stored = store.get(TOKENS, match["id"])
    token = None if stored is None else token_of(stored)
    if stored is None or token is None or not hmac.compare_digest(token.hash, _hash(match["secret"])):
        raise Unauthorized("unknown join token: make one at the parent that you want to join")
    if token.revoked:
        raise Unauthorized("this join token was revoked: make a new one at the parent")
    if clock.wall() >= token.expires:
        raise Unauthorized("this join token has expired: make a new one at the parent")
    return Held(token, stored.revision)


def revoke(store: Store, id: str) -> None:
    """Let the token join nobody any more; who joined by it stays. Raises NotFound, Conflict."""
    for _ in range(RETRIES):
        stored = store.get(TOKENS, id)
        if stored is None:
            raise NotFound(f"there is no join token {id}: it may have expired")
        revoked = msgspec.structs.replace(token_of(stored), revoked=True)
        try:
            store.apply([Put(TOKENS, id, msgspec.to_builtins(revoked), expect=stored.revision)])
        except RevisionConflict:
            continue
        return
    raise Conflict(f"join token {id} is being used very often just now: try again")


def expired(tokens: Iterable[Stored], now: float) -> list[Operation]:
    """Housekeeping: the removal of what expired over a day ago. tokens: of `TOKENS`; now: wall-clock seconds."""
    return [
        Delete(stored.collection, stored.id, expect=stored.revision)
        for stored in tokens
        if token_of(stored).expires + KEPT_EXPIRED <= now
    ]


def token_of(stored: Stored) -> Token:
    """A stored document of `TOKENS` as a Token."""
    return stored.read(Token)


def _hash(secret: str) -> str:
    """Hash to keep. A fast one is enough: slow hashes guard guessable passwords, and 128 random bits are none."""
    return blake2b(secret.encode(), digest_size=32, person=b"mangrove-token").hexdigest()
