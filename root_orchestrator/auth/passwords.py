"""Passwords: hashed slowly, compared in constant time, and no faster for a user who does not exist."""

from __future__ import annotations

import secrets
from functools import cached_property

from werkzeug.security import check_password_hash, generate_password_hash

#: OWASP's 2023 figure for PBKDF2-HMAC-SHA256: 0.2 s of one core. Not scrypt, whose 32 MB a guess a small root lacks.
METHOD = "pbkdf2:sha256:600000"

#: Fewest characters of a new password: NIST SP 800-63B asks for 8.
SHORTEST = 8

#: Longest password that is hashed, in characters; more only costs time.
LONGEST = 1024


class Passwords:
    """Makes and checks password hashes by one method (of werkzeug's `generate_password_hash`)."""

    def __init__(self, method: str = METHOD) -> None:
        self._method = method

    @cached_property
    def _nobodys(self) -> str:
        return self.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        """A salted hash, to be stored."""
        return generate_password_hash(password, method=self._method)

    def matches(self, hashed: str | None, password: str) -> bool:
        """Whether `password` is the one hashed; with None (no such user) False, after the same work."""
        if len(password) > LONGEST:
            return False
        return check_password_hash(hashed or self._nobodys, password) and hashed is not None


def generated_password() -> str:
    """A password nobody chose: 96 random bits in 16 characters."""
    return secrets.token_urlsafe(12)
