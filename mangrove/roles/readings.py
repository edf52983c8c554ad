"""Where the metrics of every program come from: its own memory, read from another thread by look-ups and copies."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from mangrove.base.clock import Clock
from mangrove.link.child import ChildLink
from mangrove.link.tally import Tally
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.roles.loop import Loop
from mangrove.roles.metrics import MOST_SERIES, Sample

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
