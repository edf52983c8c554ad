"""How long a parent waits for a child that is not heard before it gives up what runs there."""

from __future__ import annotations

import math
from collections.abc import Iterable

from mangrove.model.documents import Given
from mangrove.model.phases import Phase
from mangrove.reconcile.absence import Absence, time_to_have_stopped, time_to_replace
from mangrove.reconcile.view import View

#: Nothing is waited for in shorter pieces (seconds), so that rounding never makes a loop of it.
_TICK = 0.01


def time_to_move(given: Given, view: View) -> float:
    """Seconds until an attempt may be run elsewhere, if nothing more is heard: 0 for now, infinite when that is not a
    matter of time alone."""
    status = view.status(given)
    if status is not None and status.given_up:
        return 0.0
    absence = view.absence(given.child)
    return time_to_replace(view.policy(given.specification), absence) if absence is not None else math.inf


def time_to_end(given: Given, view: View) -> float:
    """Seconds until an attempt is known to run no more, if nothing more is heard; infinite when that takes a word."""
    status, policy, absence = view.status(given), view.policy(given.specification), view.absence(given.child)
    # Said of what is still wanted there it is no promise: a node that comes back just now would start it again.
    if status is not None and status.given_up and status.phase is Phase.STOPPING and policy.exclusive:
        return 0.0
    return time_to_have_stopped(policy, absence) if absence is not None else math.inf


def time_to_know(specification: str, view: View) -> float:
    """Seconds until all that must not run beside an attempt of this specification is known, or has stopped."""
    policy = view.policy(specification)
    return max(0.0, policy.stopped_after - view.unknown) if policy.exclusive else 0.0


def not_to_run_beside(specification: str, others: Iterable[Given], view: View) -> list[Given]:
    """Of these attempts those that must have ended before one of this specification runs: all of them if it is
    exclusive, and those that are in any case."""
    exclusive = view.policy(specification).exclusive
    return [given for given in others if exclusive or view.policy(given.specification).exclusive]


def why_it_stays(given: Given, absence: Absence, view: View) -> str:
    """For a person: why something is left on a child that is silent. Without figures that change all the time."""
    policy, name = view.policy(given.specification), view.name(given.child)
    if policy.lost_after == "never":
        return f"{name} is silent; it stays there, as its policy says"
    if absence.held:
        return f"{name} is silent, with many others at once; it is replaced if that lasts"
    return f"{name} is silent; it is replaced after {policy.replaced_after(absence.lease):g} s of that"


def after(wait: float, now: float) -> float | None:
    """When to decide again, for a `Decision`."""
    return now + max(wait, _TICK) if math.isfinite(wait) else None
