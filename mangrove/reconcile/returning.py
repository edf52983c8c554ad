"""What happens when a child comes back with an attempt that was replaced meanwhile: which of the two stays."""

from __future__ import annotations

import msgspec

from mangrove.model.documents import Given, Placement, Slot
from mangrove.reconcile.patience import not_to_run_beside, time_to_end
from mangrove.reconcile.placements import without_current
from mangrove.reconcile.view import Told, View, runs


def choose_on_return(slot: Slot, placement: Placement, view: View, now: float, told: list[Told]) -> Placement:
    """Keep the original or the replacement, if a child is back with an original that runs; neither is restarted.

    A replacement that does not run yet, or is not heard, makes way for the original whatever the policy says. What is
    exclusive was replaced because its original had stopped, so what is said of that is old, and to let it run again
    would take that the replacement has ended.
    """
    for original in reversed(placement.leaving):
        if original.specification != slot.specification or not runs(view.status(original)):
            continue
        if original.displaced or not view.may_stay(original):
            continue
        name, current = view.name(original.child), placement.current
        others = [given for given in (current, *placement.leaving) if given is not None and given is not original]
        if any(time_to_end(given, view) > 0 for given in not_to_run_beside(original.specification, others, view)):
            continue
        if current is not None and not _original_stays(slot, original, current, view):
            told.append(Told("returned", f"stays on {view.name(current.child)}: {name} is back, and stops its own"))
            return placement
        if current is None:
            told.append(Told("returned", f"stays on {name}, which is back"))
        else:
            told.append(Told("returned", f"stays on {name}, which is back, and goes from {view.name(current.child)}"))
            placement = without_current(placement, view, f"{name} is back", now)
        return msgspec.structs.replace(
            placement,
            current=msgspec.structs.replace(original, epoch=placement.epoch + 1),
            epoch=placement.epoch + 1,
            leaving=tuple(given for given in placement.leaving if given.attempt != original.attempt),
            history=tuple(past for past in placement.history if past.attempt != original.attempt),
            reason="",
            waiting_since=0.0,
            not_before=0.0,
        )
    return placement


def _original_stays(slot: Slot, original: Given, current: Given, view: View) -> bool:
    before, after = view.status(original), view.status(current)
    if before is None or after is None or not runs(after) or view.absence(current.child) is not None:
        return True
    on_return = view.policy(slot.specification).on_return
    if on_return == "keep_longest_running":
        return before.since <= after.since
    if on_return == "keep_best":
        old, new = view.scores(slot, (original, current))
        return old >= new
    return on_return == "keep_original"
