"""System services: which nodes should have an instance, given what is known of them and what is wanted already.

Pure. An instance belongs to its node: it is never moved, waits while its node is not heard or has no room, and ends
with it. A number that was given once is never given again, also when its node comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from mangrove.model.documents import Slot

#: Ids of a cluster and of one of its nodes.
Pin = tuple[str, ...]


class Verdict(Enum):
    """What a node means to a system service."""

    WANTED = auto()  # it should have an instance
    KEPT = auto()  # it keeps what it has, and gets none
    UNWANTED = auto()  # it should have none


@dataclass(frozen=True, slots=True)
class Changes:
    """pins: nodes that get an instance; slots: ids of those that are wanted no more."""

    pins: tuple[Pin, ...] = ()
    slots: tuple[str, ...] = ()


def verdict(*, matches: bool, stays: bool, live: bool, cordoned: bool, drained: bool, alone: bool) -> Verdict:
    """What a node means. stays: whether what runs there may stay, also where it does not match. cordoned, drained: it
    or its cluster. alone: whether nothing but system services is there.

    A cordoned node gets none and keeps what it has. From one that is drained they go last, when all else has gone: what
    is moving away may still need what they do, such as to collect logs. Of one that is not heard nothing is concluded.
    """
    if live and (not (matches or stays) or (drained and alone)):
        return Verdict.UNWANTED
    return Verdict.KEPT if cordoned or drained or not live or not matches else Verdict.WANTED


def changes(
    slots: Iterable[Slot], verdicts: Mapping[Pin, Verdict], clusters: Collection[str], refused: Collection[str]
) -> Changes:
    """What is to be wanted anew, and what no more.

    slots: of one service, those that are wanted. verdicts: of all nodes that their clusters tell of. clusters: all
    there are. refused: slots of which their cluster has said that it cannot have them, since their node was removed.
    Only that counts: a cluster may not have told of its nodes yet, or have lost what it knew of them.
    """
    there: set[Pin] = set()
    stopped: list[str] = []
    for slot in sorted(slots, key=lambda slot: slot.number):
        pin = slot.pin
        gone = not pin or pin[0] not in clusters or (pin not in verdicts and slot.id in refused)
        if gone or pin in there or verdicts.get(pin) is Verdict.UNWANTED:
            stopped.append(slot.id)
        else:
            there.add(pin)
    wanted = [pin for pin, what in verdicts.items() if what is Verdict.WANTED and pin not in there]
    return Changes(tuple(sorted(wanted)), tuple(stopped))
