"""Where a parent's metrics come from: its own memory, read from another thread by single look-ups and copies."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mangrove.base.clock import Clock
from mangrove.link.child import ChildLink
from mangrove.link.parent import ParentLink
from mangrove.link.tally import Tally
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.phases import Phase
from mangrove.reconcile.projection import slot_status
from mangrove.roles.loop import Loop
from mangrove.roles.metrics import MOST_SERIES, Sample
from mangrove.roles.parent import Parent

_MIB = 2**20


def disk(folder: Path) -> Iterator[Sample]:
    """The disk of a data folder."""
    usage = shutil.disk_usage(folder)
    yield Sample("disk_free_bytes", usage.free)
    yield Sample("disk_size_bytes", usage.total)


def loop(watched: Loop, clock: Clock) -> Iterator[Sample]:
    """A program's loop."""
    yield Sample("loop_rounds_total", watched.rounds)
    yield Sample("loop_busy_seconds_total", watched.busy)
    yield Sample("loop_idle_seconds", max(0.0, clock.now() - watched.ended))
    yield Sample("loop_queue_events", watched.waiting)
    yield Sample("loop_dropped_events_total", watched.dropped)
    yield Sample("loop_failures_total", watched.failures)


def messages(side: str, tally: Tally) -> Iterator[Sample]:
    """One end of a link. side: `parent` or `children`."""
    for direction, counts in (("sent", tally.sent), ("heard", tally.heard)):
        for kind, count in counts.copy().items():
            yield Sample("link_messages_total", count, (side, direction, kind))
    for reason, count in tally.dropped.copy().items():
        yield Sample("link_dropped_messages_total", count, (side, reason))


def upwards(link: ChildLink, clock: Clock) -> Iterator[Sample]:
    """A child's link to its parent."""
    yield from messages("parent", link.tally)
    yield Sample("parent_connected", link.state == "settled")
    yield Sample("parent_lease_seconds", max(0.0, link.lease_until - clock.now()))


def parent(watched: Parent, noun: str) -> Iterator[Sample]:
    """A parent's children, slots and decisions. noun: of its children, as its fleet has it."""
    yield from messages("children", watched.link.tally)
    yield from _children(watched, watched.link, noun)
    yield from _slots(watched)
    for phase, count in dict(watched.phases).items():
        yield Sample("attempt_phases_total", count, (str(phase),))
    placed, no_fit, seconds = watched.decisions
    yield Sample("placements_total", placed, ("placed",))
    yield Sample("placements_total", no_fit, ("no_fit",))
    yield Sample("placement_seconds_total", seconds)
    yield Sample("store_writable", not watched.unavailable)


def _children(watched: Parent, link: ParentLink, noun: str) -> Iterator[Sample]:
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
        if offset is not None and noun == "node":
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


def instance(slot: str, service: str, usage: Usage) -> Iterator[Sample]:
    """What an instance uses."""
    yield Sample("instance_cpu_ratio", usage.cpu / 100, (slot, service))
    yield Sample("instance_memory_bytes", usage.memory, (slot, service))


def nodes(views: Iterable[tuple[str, NodeView]]) -> Iterator[Sample]:
    """Nodes as a cluster describes them, each with the name of the cluster."""
    for cluster, view in islice(views, MOST_SERIES):
        yield Sample("node_up", view.state == "live", (view.id, view.name, cluster))
        yield from node(view.id, view.name, view.usage, view.capacity)


def node(id: str, name: str, usage: Usage, capacity: Capacity) -> Iterator[Sample]:
    """What a node has and uses."""
    labels, total = (id, name), capacity.allocatable
    yield Sample("node_cpu_ratio", usage.cpu / 100, labels)
    yield Sample("node_memory_bytes", usage.memory, labels)
    yield Sample("node_memory_size_bytes", total.memory * _MIB, labels)
    yield Sample("node_disk_bytes", usage.disk, labels)
    yield Sample("node_disk_free_bytes", total.disk * _MIB, labels)
    if total.gpus:
        yield Sample("node_gpu_ratio", usage.gpu / 100, labels)
