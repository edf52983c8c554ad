"""Digests: of one thing (blake2b-128 over canonical JSON) and of a set of things (their sum modulo 2^128).

The sum makes the digest of a set cost O(1) per change, whatever the set's size: add the new entry's hash, subtract
the old one's. It guards against loss and disorder, not against forgery; the envelope's keyed hash does that.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

_MODULUS = 1 << 128
_canonical = msgspec.json.Encoder(order="deterministic")

#: The digest of the empty set.
EMPTY = "0" * 32


def hash_of(value: Any) -> int:
    """128-bit hash of any JSON-able value or msgspec struct."""
    return int.from_bytes(blake2b(_canonical.encode(value), digest_size=16).digest(), "big")


def hex_of(number: int) -> str:
    """A digest as 32 hexadecimal digits."""
    return f"{number % _MODULUS:032x}"


def digest_of(value: Any) -> str:
    """`hash_of` as 32 hexadecimal digits: the name of an immutable thing, such as a specification."""
    return hex_of(hash_of(value))
