"""Which instances can be reached, by what was decided and what was heard. Pure."""

from __future__ import annotations

from mangrove.model.attempt import Status
from mangrove.model.documents import Given, Placement
from mangrove.model.phases import Phase
from mangrove.network.plan import Endpoint, Readiness


def attempts_of(placement: Placement | None) -> list[tuple[Given, bool]]:
    """All attempts of a slot that may run, each with whether it is wanted."""
    if placement is None:
        return []
    wanted = [given for given in (placement.current, placement.successor) if given is not None]
    return [*((given, True) for given in wanted), *((given, False) for given in placement.leaving)]


#: Load is told in steps of this many percent of a core, and only when it has moved by most of one: every word of it
#: goes to all who are interested.
_STEP, _MOVED = 25.0, 20.0


def coarse(load: float, before: float) -> float:
    """A load in percent of a core, in steps; before: what was told last."""
    return before if abs(load - before) < _MOVED else round(load / _STEP) * _STEP


def endpoint_of(
    service: str, number: int, attempt: str, status: Status | None, *, wanted: bool, silent: bool, load: float = 0.0
) -> Endpoint | None:
    """How an attempt can be reached, or None when it cannot.

    status: the newest word about it. wanted: whether it is to go on; if not it counts as stopping, though its node may
    not know yet. silent: whether its child is not heard now.
    """
    if status is None or not (status.ipv4 or status.ipv6) or status.phase not in (Phase.RUNNING, Phase.STOPPING):
        return None
    state: Readiness = "ready"
    if not wanted or status.phase is Phase.STOPPING:
        state = "stopping"
    elif silent or status.silent:
        state = "doubtful"
    return Endpoint(attempt, service, number, status.node, status.ipv4, status.ipv6, state, load)
