"""Access and refresh tokens: JWTs signed with RS256, with the claims that Oakestra's clients read."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from mangrove.base.clock import Clock
from mangrove.base.errors import Unauthorized

Kind = Literal["access", "refresh"]

#: Seconds that a token is valid, as with Oakestra: ten minutes, and thirty days.
LIFETIME: dict[Kind, float] = {"access": 600, "refresh": 30 * 24 * 3600}

_ALGORITHM = "RS256"
#: Tokens of which it is remembered that we signed them: those in use at one time. An error is not remembered.
_SIGNED_KEPT = 1000
_WRONG_KIND = {"access": "Only non-refresh tokens are allowed", "refresh": "Only refresh tokens are allowed"}

# Times are checked here against our own clock; PyJWT would ask the machine's.
_OPTIONS: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "sub", "type"]}


class Claims(msgspec.Struct, frozen=True):
    """What a token says. user_id tells a user from a later one of the same name; exp: wall-clock seconds.

    generation: the user's when it was issued.
    """

    sub: str
    type: Kind
    exp: float
    organization: str
    user_id: str
    generation: int = 1


class TokenSigner:
    """Issues and reads tokens with one RSA key."""

    def __init__(self, key: rsa.RSAPrivateKey, clock: Clock) -> None:
        self._key = key
        self._public = key.public_key()
        self._clock = clock
        self._signed = lru_cache(_SIGNED_KEPT)(self._claims)

    def issue(
        self, kind: Kind, *, user: str, user_id: str, generation: int, organization: str, roles: Sequence[str]
    ) -> str:
        """A token for the user called `user`; `organization` is an id, `roles` are what the user may do there."""
        now = int(self._clock.wall())
        claims = {
            "fresh": False,
            "iat": now,
            "nbf": now,
            "exp": now + int(LIFETIME[kind]),
            "jti": secrets.token_hex(16),
            "csrf": secrets.token_hex(16),
            "type": kind,
            "sub": user,
            "user": user,
            "user_id": user_id,
            "generation": generation,
            "roles": list(roles),
            "organization": organization,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, token: str, kind: Kind) -> Claims:
        """The claims of a valid token of this kind. Raises Unauthorized, saying what is wrong with it."""
        try:
            claims = self._signed(token)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
            raise Unauthorized("Invalid token; sign in at /api/auth/login") from None
        if self._clock.wall() >= claims.exp:
            raise Unauthorized("Token has expired")
        if claims.type != kind:
            raise Unauthorized(_WRONG_KIND[kind])
        return claims

    def _claims(self, token: str) -> Claims:
        """What a token says that we have signed, whether or not its time is over; else it raises."""
        decoded = jwt.decode(token, self._public, algorithms=[_ALGORITHM], options=_OPTIONS)
        return msgspec.convert(decoded, Claims)
