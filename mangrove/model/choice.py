"""The answer to "where should it run?": what placement tells a parent's loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chosen:
    """The child to run it on."""

    child: str


@dataclass(frozen=True, slots=True)
class Displacement:
    """The child to run it on once these attempts there have ended: less important ones, the most important first.

    by_child: whether the child, a cluster, sees to that itself; then it is not known here which ones.
    """

    child: str
    victims: tuple[str, ...] = ()
    by_child: bool = False


@dataclass(frozen=True, slots=True)
class NoFit:
    """Nothing fits, and why, for a person: "needs 4 CPU cores: 3 nodes too small or too full (…)"."""

    reason: str
