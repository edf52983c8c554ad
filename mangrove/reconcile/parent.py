"""A parent's loop over slots: `decide` says what should become of one slot, given all that is known of it.

Pure: no I/O, no clock, no memory but the `Placement` that it is given and returns.
"""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec

from mangrove.base.ids import NewId
from mangrove.model.attempt import Status
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Given, Placement, Refusal, Slot
from mangrove.model.phases import Phase
from mangrove.reconcile.failing import failed_on
from mangrove.reconcile.patience import (
    after,
    not_to_run_beside,
    time_to_end,
    time_to_know,
    time_to_move,
    why_it_stays,
)
from mangrove.reconcile.placements import settle_leaving, waiting, without_current, without_nomination
from mangrove.reconcile.preempting import ROOM_WITHIN, nominate, still_nominated
from mangrove.reconcile.returning import choose_on_return
from mangrove.reconcile.view import Decision, Told, View, runs

#: A slot whose attempt failed for good waits this long before it is given away again, doubling up to the cap: long
#: enough not to wear out a fleet with something broken, short enough that a repaired image is noticed in minutes.
RETRY_FIRST, RETRY_LAST = 2.0, 120.0
#: What has run for as long has no earlier failures any more: as long as children take (reconcile/child.py).
STEADY_AFTER = 60.0
#: A cluster keeps looking this long for another node of its own before it hands a slot back to the root.
HAND_BACK_AFTER = 10.0
#: A child that refused is asked again after this time even if nothing that it reports has changed: what it refused by
#: may have changed in the very moment of its refusal, and a question costs one message.
ASK_AGAIN = 60.0


def decide(
    slot: Slot | None, placement: Placement, view: View, now: float, new_id: NewId, *, may_refuse: bool = False
) -> Decision:
    """What should become of a slot. now: wall-clock seconds. may_refuse: whether a slot that fits nowhere may be handed
    back to this parent's own parent. When to take up a newer specification is not decided here: see `rollout`."""
    placement = _forget_refusals(settle_leaving(placement, view), view)
    placement = still_nominated(slot, placement, view, now)
    if slot is None or slot.desired == "stop":
        return _withdraw_all(placement, view, now)
    told: list[Told] = []
    if placement.final is not None:
        return Decision(placement)
    placement = choose_on_return(slot, placement, view, now, told)
    current = placement.current
    if current is not None:
        placement, keep = _judge_current(slot, without_nomination(placement), current, view, now, told)
        if keep is not None:
            return replace(keep, told=tuple(told)) if told else keep
        if placement.final is not None:
            return Decision(placement, told=tuple(told))
    return _give_away(slot, _begun_anew(slot, placement), view, now, new_id, may_refuse, told)


def hold(placement: Placement, view: View, now: float, reason: str) -> Decision:
    """What stands while an operator of this parent's machine holds a slot: its attempt is withdrawn, none is given, and
    it is not handed back; what waited begins anew when it is released. reason: that it is held, and by whom."""
    placement = without_current(without_nomination(settle_leaving(placement, view)), view, reason, now)
    return Decision(
        msgspec.structs.replace(placement, reason=reason, failures=0, not_before=0.0, waiting_since=0.0, refused={})
    )


def _forget_refusals(placement: Placement, view: View) -> Placement:
    """A child that can allocate something else now is asked again, also when it later comes back to what it had."""
    refused = {
        child: refusal for child, refusal in placement.refused.items() if refusal.revision == view.revision(child)
    }
    if len(refused) == len(placement.refused):
        return placement
    return msgspec.structs.replace(placement, refused=refused)


def _withdraw_all(placement: Placement, view: View, now: float) -> Decision:
    if placement.current is not None:
        placement = without_current(placement, view, "being removed", now)
    if not placement.leaving:
        return Decision(None)
    # Who is above wants to know when what is exclusive has stopped by itself.
    waits = [wait for given in placement.leaving if (wait := time_to_end(given, view)) > 0]
    return Decision(placement, wake=after(min(waits, default=math.inf), now))


def _begun_anew(slot: Slot, placement: Placement) -> Placement:
    """What failed and was refused counts only against the specification that it was about."""
    if not placement.history or placement.history[-1].specification == slot.specification:
        return placement
    if not (placement.failures or placement.refused or placement.not_before):
        return placement
    return msgspec.structs.replace(placement, failures=0, refused={}, not_before=0.0)


def _judge_current(
    slot: Slot, placement: Placement, current: Given, view: View, now: float, told: list[Told]
) -> tuple[Placement, Decision | None]:
    """Keep the current attempt (a Decision), or go on without it (None)."""
    status, name = view.status(current), view.name(current.child)
    phase = status.phase if status is not None else Phase.ASSIGNED
    if status is not None and phase == Phase.COMPLETED:
        done = without_current(placement, view, "", now)
        told.append(Told("completed", f"has completed on {name}"))
        return msgspec.structs.replace(done, final=status, renewing=False), None
    if current.specification != slot.specification:
        return _renew(slot, placement, current, view, now, told)
    if status is not None and phase == Phase.REFUSED:
        refused = {**placement.refused, current.child: Refusal(view.revision(current.child), status.reason)}
        told.append(Told("refused", f"was refused by {name}: {status.reason}"))
        placement = without_current(placement, view, f"refused by {name}: {status.reason}", now)
        return msgspec.structs.replace(placement, refused=refused), None
    if status is not None and phase in (Phase.FAILED, Phase.LOST):
        return _failed(placement, view, f"failed on {name}", status.reason, now, told), None
    absence = view.absence(current.child)
    if absence is not None and absence.for_good:
        return without_current(placement, view, f"{name} was removed", now), None
    if status is not None and phase is Phase.HELD:  # by a person's wish, and nothing runs that could be lost
        if absence is None or not absence.silent:
            return _undisturbed(placement, now)
        reason = f"{status.reason}, and {name} is not heard"
        placement = msgspec.structs.replace(placement, reason=reason, waiting_since=0.0)
        return placement, Decision(placement)
    wait = time_to_move(current, view)
    if wait <= 0:
        return _give_up(slot, placement, current, view, now)
    if absence is not None:
        if absence.silent:
            reason = why_it_stays(current, absence, view)
            placement = msgspec.structs.replace(placement, reason=reason, waiting_since=0.0)
        return placement, Decision(placement, wake=after(wait, now))
    if phase in (Phase.ASSIGNED, Phase.PULLING, Phase.STARTING) and not (status is not None and status.silent):
        return _judge_progress(slot, placement, current, view, now)
    if status is not None and status.misplaced == "failing" and phase is not Phase.RUNNING:
        moved = _fails_everywhere_in(slot, placement, current, status, view, now, told)
        if moved is not None:
            return moved, None
    steady = math.inf
    if phase is Phase.RUNNING and (placement.refused or placement.renewing):
        placement = msgspec.structs.replace(placement, refused={}, renewing=False)
    if phase is Phase.RUNNING and placement.failures:
        steady = STEADY_AFTER - view.quiet(current)
        if steady <= 0:
            placement = msgspec.structs.replace(placement, failures=0)
    return _undisturbed(placement, now, steady if steady > 0 else math.inf)


def _failed(
    placement: Placement, view: View, what: str, why: str, now: float, told: list[Told], phase: Phase | None = None
) -> Placement:
    """Withdraw what failed where it is, and pause. phase: what it came to, if its child said something else last."""
    failures = placement.failures + 1
    delay = min(RETRY_FIRST * 2 ** min(failures - 1, 16), RETRY_LAST)
    told.append(Told("failed", f"{what}, and is given away again in {delay:g} s: {why}"))
    placement = without_current(placement, view, f"{what}: {why}", now, phase=phase)
    return msgspec.structs.replace(placement, failures=failures, not_before=now + delay, waiting_since=0.0)


def _fails_everywhere_in(
    slot: Slot, placement: Placement, current: Given, status: Status, view: View, now: float, told: list[Told]
) -> Placement | None:
    """What keeps failing on the nodes of its cluster goes to one where it did not fail lately. None: there is none that
    has room, and its cluster goes on trying."""
    failed = failed_on(placement, slot.specification, now)
    where = view.place(slot, placement.refused, failed | {current.child})
    if isinstance(where, NoFit) or view.absence(where.child) is not None:
        return None
    what = f"keeps failing on nodes of {view.name(current.child)}"
    return _failed(placement, view, what, status.reason, now, told, Phase.FAILED)


def _undisturbed(placement: Placement, now: float, wait: float = math.inf) -> tuple[Placement, Decision]:
    if placement.reason or placement.waiting_since:
        placement = msgspec.structs.replace(placement, reason="", waiting_since=0.0)
    return placement, Decision(placement, wake=after(wait, now))


def _renew(
    slot: Slot, placement: Placement, current: Given, view: View, now: float, told: list[Told]
) -> tuple[Placement, Decision | None]:
    """Go on without the current attempt, which is of another specification; what runs stays if that fits nowhere."""
    status, absence = view.status(current), view.absence(current.child)
    where: Chosen | NoFit | None = None
    if status is not None and status.phase is Phase.HELD and not (absence is not None and absence.for_good):
        stays = waiting(placement, f"the newer version waits until it is released: {status.reason}", now)
        return stays, Decision(stays)
    if absence is not None or (status is not None and (status.silent or status.given_up)):
        wait = time_to_move(current, view) if absence is None or not absence.for_good else 0.0
        if wait > 0:
            whom = view.name(current.child) if absence is not None else f"a node of {view.name(current.child)}"
            reason = f"the newer version waits for {whom}, which is not heard"
            stays = waiting(placement, reason, now)
            return stays, Decision(stays, wake=after(wait, now))
        where = view.place(slot, {}, frozenset({current.child}))  # as when it is moved: it may well be running there
    elif runs(status):
        where = view.place(slot, {}, frozenset(), instead_of=current)
    if isinstance(where, NoFit):
        stays = waiting(placement, f"the newer version fits nowhere: {where.reason}", now)
        return stays, Decision(stays)
    told.append(Told("replaced", "is replaced by a newer version"))
    placement = without_current(placement, view, "replaced by a newer version", now)
    return msgspec.structs.replace(placement, renewing=True, waiting_since=0.0), None


def _give_up(
    slot: Slot, placement: Placement, current: Given, view: View, now: float
) -> tuple[Placement, Decision | None]:
    """The same for an attempt on a child that was not heard for long enough, or on such a node below."""
    absence, status, name = view.absence(current.child), view.status(current), view.name(current.child)
    below = f"{name}: {status.reason if status is not None else ''}"
    placement = _ask_again(placement, now)
    where = view.place(
        slot, placement.refused, frozenset({current.child}), failed_on(placement, slot.specification, now)
    )
    if isinstance(where, Chosen) and view.absence(where.child) is not None:
        where = NoFit(f"{view.name(where.child)} is not heard either")
    if isinstance(where, NoFit) and view.displace(slot, placement.refused, frozenset({current.child})) is None:
        # Stay put: it may well be running there, and there is nowhere better.
        now_so = f"{name} {absence.state}" if absence is not None else below
        stays = waiting(placement, f"{now_so}, and nothing else fits: {where.reason}", now)
        return stays, Decision(stays, wake=_time_to_ask(stays))
    unheard = f"{name} {absence.words}" if absence is not None else below
    return msgspec.structs.replace(without_current(placement, view, unheard, now), waiting_since=0.0), None


def _judge_progress(
    slot: Slot, placement: Placement, current: Given, view: View, now: float
) -> tuple[Placement, Decision | None]:
    """The same for an attempt that its child has taken, and that does not run yet."""
    quiet = view.quiet(current)
    if quiet < view.no_news:
        return _undisturbed(placement, now, view.no_news - quiet)
    status = view.status(current)
    phase = status.phase if status is not None else Phase.ASSIGNED
    stuck = f"no news from {view.name(current.child)} for {quiet:.0f} s, where it is {phase}"
    where = view.place(
        slot, placement.refused, frozenset({current.child}), failed_on(placement, slot.specification, now)
    )
    if isinstance(where, NoFit):
        stays = waiting(placement, f"{stuck}, and nothing else fits: {where.reason}", now)
        return stays, Decision(stays, wake=_time_to_ask(stays))
    placement = without_current(placement, view, stuck, now, phase=Phase.FAILED)
    return msgspec.structs.replace(placement, failures=placement.failures + 1, waiting_since=0.0), None


def _elsewhere(slot: Slot, placement: Placement, current: Given, view: View, now: float) -> Chosen | NoFit:
    failed = failed_on(placement, slot.specification, now)
    return view.place(slot, placement.refused, frozenset({current.child}), failed)


def _give_away(
    slot: Slot,
    placement: Placement,
    view: View,
    now: float,
    new_id: NewId,
    may_refuse: bool,
    told: list[Told],
) -> Decision:
    if now < placement.not_before <= now + RETRY_LAST:  # further ahead only when the wall clock was set back since
        return Decision(placement, wake=placement.not_before, told=tuple(told))
    before = not_to_run_beside(slot.specification, placement.leaving, view)
    if before:
        wait, last = max(((time_to_end(given, view), given) for given in before), key=lambda pair: pair[0])
        if wait > 0:
            stays = waiting(placement, f"waits until it has stopped on {view.name(last.child)}", now)
            return Decision(stays, wake=after(wait, now), told=tuple(told))
    wait = time_to_know(slot.specification, view)
    if wait > 0:
        stays = waiting(placement, "waits until what the lost store may have started elsewhere has stopped", now)
        return Decision(stays, wake=after(wait, now), told=tuple(told))
    placement = _ask_again(placement, now)
    given_up = frozenset(given.child for given in placement.leaving if time_to_move(given, view) <= 0)
    nominated, epoch = placement.nominated, placement.epoch + 1
    if nominated is not None and view.scores(slot, [nominated])[0] > -math.inf:
        return _given(slot, placement, nominated, view, now, told)
    where = view.place(slot, placement.refused, given_up, failed_on(placement, slot.specification, now))
    if isinstance(where, Chosen):
        return _given(slot, placement, view.give(slot, where.child, new_id(), epoch), view, now, told)
    if nominated is not None:
        return Decision(placement, wake=nominated.since + ROOM_WITHIN, told=tuple(told))
    room = view.displace(slot, placement.refused, given_up)
    if room is None:
        return _wait_or_hand_back(placement, where.reason, view, now, may_refuse, told)
    given = view.give(slot, room.child, new_id(), epoch)
    if room.by_child:
        return _given(slot, placement, given, view, now, told)
    return replace(nominate(placement, given, room, view, now), told=tuple(told))


def _given(slot: Slot, placement: Placement, given: Given, view: View, now: float, told: list[Told]) -> Decision:
    told.append(_placed(slot, placement, given.child, view))
    epoch = placement.epoch + 1
    placed = msgspec.structs.replace(
        placement,
        current=msgspec.structs.replace(given, epoch=epoch, since=now),
        nominated=None,
        epoch=epoch,
        reason="",
        waiting_since=0.0,
        not_before=0.0,
    )
    return Decision(placed, wake=now + view.no_news, told=tuple(told))


def _placed(slot: Slot, placement: Placement, child: str, view: View) -> Told:
    """One sentence on where a slot goes, from where, and why."""
    last, name = placement.history[-1] if placement.history else None, view.name(child)
    if last is None or last.phase is Phase.REFUSED or last.specification != slot.specification:
        return Told("placed", f"is given to {name}")
    if last.child == child:
        return Told("placed", f"is given to {name} again: {last.reason}")
    return Told("moved", f"moved from {view.name(last.child)} to {name}: {last.reason}")


def _wait_or_hand_back(
    placement: Placement, reason: str, view: View, now: float, may_refuse: bool, told: list[Told]
) -> Decision:
    stays = waiting(placement, reason, now)
    if not may_refuse:
        return Decision(stays, wake=_time_to_ask(stays), told=tuple(told))
    patience = HAND_BACK_AFTER if placement.epoch else 0.0
    if now - stays.waiting_since < patience:
        return Decision(stays, wake=stays.waiting_since + patience, told=tuple(told))
    if any(view.absence(given.child) is None for given in stays.leaving):
        return Decision(stays, told=tuple(told))  # it is being stopped; who is not heard may never say that it has
    final = Status(placement.slot, Phase.REFUSED, stays.reason, since=now)
    return Decision(
        msgspec.structs.replace(stays, final=final),
        told=(*told, Told("handed-back", f"is handed back: {stays.reason}")),
    )


def _time_to_ask(stays: Placement) -> float | None:
    return stays.waiting_since + ASK_AGAIN if stays.refused else None


def _ask_again(placement: Placement, now: float) -> Placement:
    if placement.refused and placement.waiting_since and now - placement.waiting_since >= ASK_AGAIN:
        return msgspec.structs.replace(placement, refused={}, waiting_since=now)
    return placement
