"""Invariant 1: how what runs differs from what is wanted, some time after the faults have stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mangrove.model.documents import SLOTS, SPECIFICATIONS, Slot
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from tests.simulation.processes import NODE_SIZE
from tests.simulation.truth import attempts_of

if TYPE_CHECKING:
    from tests.simulation.tree import Tree


def differences(tree: Tree) -> list[str]:
    """One line each; empty when the tree has converged."""
    running, found = tree.watch.running_for()
    slots = [msgspec.convert(stored.document, Slot) for stored in tree.root.true_store.load(SLOTS)]
    stuck = {slot.service for slot in slots if slot.desired == "run" and not running.get(slot.id)}
    for slot in slots:
        if slot.desired == "run":
            problem = _of_wanted(tree, slot, running.get(slot.id, 0))
            if not problem and slot.service not in stuck:  # while one has no room, the others keep what they have
                problem = _of_version(tree, slot)
        elif slot.id in running:
            problem = "is stopped, and runs"
        else:
            problem = "" if _waits_for_the_dead(tree, slot.id) else "is stopped, but not gone"
        if problem:
            found.append(f"slot {slot.id} {problem}")
    return found


def _of_wanted(tree: Tree, slot: Slot, running: int) -> str:
    parent = tree.root.parent
    placement = parent.placements.get(slot.id)
    if placement is None:
        return "is wanted, and nothing was decided"
    if placement.final is not None and placement.final.phase is Phase.COMPLETED:
        return "has completed, and runs again" if running else ""
    if running > 1:
        return f"runs {running} times"
    if not running and _specification(tree, slot).policy.lost_after == "never" and _waits_for_the_dead(tree, slot.id):
        return ""
    if not running:
        if not placement.reason and placement.current is None:
            return "does not run, and nobody says why"
        wanted = _specification(tree, slot)
        where = _room_for(tree, wanted, slot.pin)
        needs = f"{wanted.resources}{' and its port' if wanted.ports else ''}"
        return f"does not run, and {where} has room for {needs}: {placement.reason or 'placed'}" if where else ""
    word = parent.observed.get(placement.current.attempt) if placement.current is not None else None
    if placement.current is None or word is None or word.status.phase is not Phase.RUNNING:
        return f"runs, and the root was told {word.status.phase if word is not None else 'nothing'}"
    return ""


def _of_version(tree: Tree, slot: Slot) -> str:
    placement = tree.root.parent.placements[slot.id]
    current = placement.current
    if current is None or current.specification == slot.specification or placement.reason:
        return ""
    return "runs an older version, and nobody says why"


def _specification(tree: Tree, slot: Slot) -> Specification:
    stored = tree.root.true_store.get(SPECIFICATIONS, slot.specification)
    return msgspec.convert(stored.document if stored is not None else {"name": ""}, Specification)


def _room_for(tree: Tree, wanted: Specification, pin: tuple[str, ...]) -> str:
    """The name of a node on which this fits beside what runs there and is as important, or nothing. pin: the only one
    that counts."""
    for node in tree.within_reach():
        if pin and node.identity.id != pin[-1]:
            continue
        there = [node.specifications[attempt] for attempt in node.runtime.running]
        if wanted.preemption_policy != "never":
            there = [one for one in there if one.one_shot or one.priority >= wanted.priority]
        used = sum((one.resources for one in there), wanted.resources)
        taken = {port for one in there for port in one.ports}
        if used.fits_in(NODE_SIZE) and taken.isdisjoint(wanted.ports):
            return node.name
    return ""


def _waits_for_the_dead(tree: Tree, slot: str) -> bool:
    """Whether an attempt of the slot may still run where nobody can look any more, and nobody was told to give up."""
    placement = tree.root.parent.placements.get(slot)
    for given in attempts_of(placement) if placement is not None else ():
        cluster = next(one for one in tree.clusters if one.identity.id == given.child)
        if cluster.buried:
            return True
        below = cluster.parent.placements.get(given.attempt)
        dead = {node.identity.id for node in tree.nodes if node.buried}
        if below is not None and any(lower.child in dead for lower in attempts_of(below)):
            return True
    return False
