"""The answer to "where should it run?": what placement tells a parent's loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chosen:
    """The child to run it on."""

    child: str


@dataclass(frozen=True, slots=True)
class NoFit:
    """Nothing fits, and why, for a person: "needs 4 CPU cores: 3 nodes too small or too full (…)"."""

    reason: str
