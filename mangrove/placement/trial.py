"""What would become of services that are not there yet, all together. Nothing is written, nothing stays reserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement, judge, place_many
from mangrove.placement.fleet import Fleet
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of, priority_of


@dataclass(frozen=True, slots=True)
class Trial:
    """What would become of so many instances of one service.

    choice: what there is to say of the first of them. placed: how many each child would get, by its id; displacing: how
    many of these only if less important ones make room. missing: what there is to say of the first one that fits
    nowhere, None when all fit.
    """

    choice: Judgement
    placed: dict[str, int]
    displacing: dict[str, int]
    missing: Judgement | None


def try_out(fleet: Fleet, wanted: Iterable[tuple[Specification, int]]) -> list[Trial]:
    """Place so many instances of each specification in this order; each takes its room from those behind it.

    The room stays taken: give it a snapshot.
    """
    trials = []
    for number, (specification, count) in enumerate(wanted):
        choice = judge(fleet, specification)
        children = place_many(fleet, specification, count) if choice.passed else []
        kinds, priority = kinds_of(specification), priority_of(specification)
        for instance, child in enumerate(children):
            fleet.reserve(f"{number}.{instance}", child, specification.resources, kinds, priority)
        displacing: Counter[str] = Counter()
        while len(children) < count:
            room = displace(fleet, specification)
            if room is None:
                break
            for victim in room.victims:
                fleet.release(victim)
            fleet.reserve(f"{number}.{len(children)}", room.child, specification.resources, kinds, priority)
            displacing[room.child] += 1
            children.append(room.child)
        missing = judge(fleet, specification) if len(children) < count else None
        trials.append(Trial(choice, dict(Counter(children)), dict(displacing), missing))
    return trials
