"""Ids: 24 characters of [0-9a-f], random, usable in topics, paths and as Oakestra's `{"$oid": …}`."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Callable

#: Gives a new id at each call. Components take one, so that the simulator's ids follow from its seed.
NewId = Callable[[], str]

_ID = re.compile(r"[0-9a-f]{24}")


def new_id() -> str:
    """96 random bits in hexadecimal."""
    return secrets.token_hex(12)


def seeded_ids(seed: int) -> NewId:
    """Ids that follow from `seed`, for simulation and tests."""
    source = random.Random(seed)
    return lambda: f"{source.getrandbits(96):024x}"


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return _ID.fullmatch(text) is not None
