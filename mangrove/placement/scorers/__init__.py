"""Soft preferences among the children that pass: a higher score is better.

Scorers are found by name: those here, and those that installed packages offer as entry points of the group
`mangrove.scorers` (see docs/placement.md).
"""

from __future__ import annotations

import math
from functools import cache
from importlib.metadata import entry_points

from mangrove.base.errors import InvalidInput
from mangrove.model.specification import Preference
from mangrove.placement.scorers.amounts import Balanced, BestFit, LowestLoad, Rom
from mangrove.placement.scorers.company import Affinity, AntiAffinity, ImagePresent, PreferredLabels, Spread
from mangrove.placement.scorers.interface import Scorer
from mangrove.placement.scorers.near import Ldp, Nearest

#: The scorers that come with Mangrove, by the name that a service or a parent's options say.
BUILT_IN: dict[str, Scorer] = {
    "best_fit": BestFit(),
    "balanced": Balanced(),
    "lowest_load": LowestLoad(),
    "spread": Spread(),
    "image": ImagePresent(),
    "affinity": Affinity(),
    "anti_affinity": AntiAffinity(),
    "labels": PreferredLabels(),
    "nearest": Nearest(),
    "rom": Rom(),
    "ldp": Ldp(),
}
GROUP = "mangrove.scorers"


@cache
def scorer_named(name: str) -> Scorer | None:
    """The scorer of that name, or None when nobody offers one."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    for entry in entry_points(group=GROUP, name=name):
        made: Scorer = entry.load()()
        return made
    return None


def preferences_in(text: str) -> tuple[Preference, ...]:
    """`spread:zone=2,best_fit` as preferences: scorers with a key and a weight. Raises InvalidInput."""
    found = []
    for part in (part.strip() for part in text.split(",")):
        said, _, weight = part.partition("=")
        name, _, key = said.partition(":")
        if scorer_named(name) is None:
            raise InvalidInput("--placement", f"{name[:80]!r} is no known scorer; there are {', '.join(known_names())}")
        try:
            heavy = float(weight or 1)
        except ValueError:
            heavy = math.nan
        if not math.isfinite(heavy):
            raise InvalidInput("--placement", f"{weight[:80]!r} is no weight; write a number, as in {name}=2")
        found.append(Preference(name, heavy, key))
    return tuple(found)


@cache
def known_names() -> list[str]:
    """The names of all scorers that there are here."""
    return sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})
