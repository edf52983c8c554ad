"""Where a parent's metrics come from: its own memory, read from another thread by single look-ups and copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mangrove.link.parent import ParentLink
from mangrove.model.phases import Phase
from mangrove.reconcile.projection import slot_status
from mangrove.roles.metrics import MOST_SERIES, Sample
from mangrove.roles.parent import Parent
from mangrove.roles.readings import instance, messages
from mangrove.store.measured import MeasuredStore


def store(watched: MeasuredStore) -> Iterator[Sample]:
    """A parent's store."""
    for name, counts in (("operations", watched.counts), ("seconds", watched.seconds), ("errors", watched.errors)):
        for operation, count in counts.copy().items():
            yield Sample(f"store_{name}_total", count, (operation,))
    yield Sample("store_revision_total", watched.revision())


def parent(watched: Parent) -> Iterator[Sample]:
    """A parent's children, slots and decisions."""
    yield from messages("children", watched.link.tally)
    yield from _children(watched, watched.link)
    yield from _slots(watched)
    for phase, count in dict(watched.phases).items():
        yield Sample("attempt_phases_total", count, (str(phase),))
    placed, no_fit, seconds = watched.decisions
    yield Sample("placements_total", placed, ("placed",))
    yield Sample("placements_total", no_fit, ("no_fit",))
    yield Sample("placement_seconds_total", seconds)
    yield Sample("store_writable", not watched.unavailable)


def _children(watched: Parent, link: ParentLink) -> Iterator[Sample]:
    now = watched.clock.now()
    states = Counter({"joined": 0, "live": 0, "silent": 0})
    sessions = Counter({"greeted": 0, "live": 0})
    for shown, (id, child) in enumerate(list(watched.children.items())):
        states[child.state] += 1
        peer = link.peers.get(id)
        if peer is not None and peer.state != "away":
            sessions[peer.state] += 1
        if shown >= MOST_SERIES:
            continue
        labels = (id, child.name)
        yield Sample("child_up", child.state == "live", labels)
        if peer is not None:
            yield Sample("child_heard_age_seconds", max(0.0, now - peer.heard), labels)
        offset = watched.clock_offsets.get(id)
        if offset is not None and watched.fleet.noun == "node":
            yield Sample("child_clock_offset_seconds", offset, labels)
    for state, count in states.items():
        yield Sample("children", count, (state,))
    for state, count in sessions.items():
        yield Sample("link_sessions", count, (state,))


def _slots(watched: Parent) -> Iterator[Sample]:
    phases: Counter[Phase] = Counter(dict.fromkeys(Phase, 0))
    failing = unplaced = restarts = shown = 0
    for id, slot in list(watched.slots.items()):
        if slot.desired == "stop":
            continue
        placement = watched.placements.get(id)
        attempt = placement.current.attempt if placement is not None and placement.current is not None else ""
        status = slot_status(id, placement, watched.observed.get(attempt))
        phases[status.phase] += 1
        restarts += status.restarts
        failing += placement is not None and placement.failures > 0
        unplaced += placement is not None and placement.waiting_since > 0
        measured = watched.usage.get(attempt)
        if measured and shown < MOST_SERIES:
            shown += 1
            yield from instance(f"{slot.service}.{slot.number}", slot.service, measured[-1])
    for phase, count in phases.items():
        yield Sample("slots", count, (str(phase),))
    yield Sample("slots_failing", failing)
    yield Sample("slots_unplaced", unplaced)
    yield Sample("instance_restarts", restarts)
    yield Sample("series_left_out", max(0, sum(phases.values()) - MOST_SERIES))
