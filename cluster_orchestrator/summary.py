"""What a cluster tells the root about its nodes: sums, the largest free nodes, and a row for each node. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import Child
from mangrove.model.position import Position, covering, on_earth
from mangrove.model.resources import NOTHING, Resources
from mangrove.placement.fleet import GOING, Fleet, Row

#: Free nodes described one by one. The root needs them only to see whether a single node fits, and nodes that are
#: smaller than another in everything are left out; a wrong guess costs one refusal.
_LARGEST = 8
#: Labels told with their values, and values of one label: a few hundred bytes of what people sort nodes by. Of a label
#: with more, such as a serial number, the root hears only that it is there.
_KEYS, _VALUES = 32, 32
#: Priorities told of one by one: people rarely have more than background, usual, important, and the system's own.
_PRIORITIES = 4


def cluster_capacity(fleet: Fleet, version: int, position: Position | None) -> Capacity:
    """The cluster as one child of the root: of its nodes that may be given new work now."""
    rows = list(fleet.rows.values())
    usable = [row for row in rows if row.open]
    # The root subtracts all that it has given to this cluster, so what is bound on other nodes must be in the sum, and
    # these nodes among those on which it counts host ports.
    busy = [row for row in rows if row.attempts and not row.open]
    bound = sum((_bound(fleet, row) for row in busy), NOTHING)
    values, vague = _labels([row.capacity for row in usable])
    return Capacity(
        allocatable=sum((row.capacity.allocatable for row in usable), bound),
        largest=largest([row.free for row in usable]),
        yielding=_yielding(fleet, usable),
        nodes=len(usable) + len(busy),
        architectures=_union(row.capacity.architectures for row in usable),
        operating_systems=_union(row.capacity.operating_systems for row in usable),
        runtimes=_union(row.capacity.runtimes for row in usable),
        gpu_drivers=_union(row.capacity.gpu_drivers for row in usable),
        position=covering([where for row in usable if (where := row.capacity.position or position) and on_earth(where)])
        or position,
        version=version,
        label_values=values,
        vague_labels=vague,
        taints=_in_all([row.capacity.taints for row in usable]),
        addons=_union(row.capacity.addons for row in usable),
    )


def _bound(fleet: Fleet, row: Row) -> Resources:
    """What is reserved on a node: not more than it has, unless what stays there is more. While something leaves, its
    room may be promised to what comes next, too."""
    if not row.heard:
        return row.reserved
    going = (fleet.reservation(attempt)[1] for attempt, priority in row.yielding.items() if priority == GOING)
    return row.reserved.at_most(row.capacity.allocatable.at_least(row.reserved - sum(going, NOTHING)))


def _yielding(fleet: Fleet, usable: list[Row]) -> tuple[tuple[int, tuple[Resources, ...]], ...]:
    """The largest rooms if what is up to some priority had made room; of too many priorities the highest ones count as
    the lowest of them, so that too much is told rather than too little."""
    priorities = sorted({priority for row in usable for priority in row.yielding.values() if priority > GOING})
    last = priorities[-1:]
    return tuple(
        (priority, largest(fleet.room_above(usable, up_to)))
        for priority, up_to in zip(priorities, [*priorities[: _PRIORITIES - 1], *last], strict=False)
    )


def _labels(nodes: list[Capacity]) -> tuple[dict[str, tuple[str | None, ...]], tuple[str, ...]]:
    """The values of each label, None for nodes without it; and the labels that have too many to be told."""
    keys = sorted({key for node in nodes for key in node.labels})
    values: dict[str, tuple[str | None, ...]] = {}
    for key in keys[:_KEYS]:
        found = {node.labels.get(key) for node in nodes}
        if len(found) <= _VALUES:
            values[key] = tuple(sorted(found, key=lambda value: (value is None, value or "")))
    return values, tuple(key for key in keys if key not in values)[:_KEYS]


def _in_all(groups: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted(set.intersection(*map(set, groups)))) if groups else ()


def largest(rooms: list[Resources]) -> tuple[Resources, ...]:
    """Those that fit into no other one, the largest first, at most `_LARGEST`."""
    ordered = sorted(
        set(rooms), key=lambda room: (room.memory, room.cpu, room.disk, room.gpus, room.vram), reverse=True
    )
    front: list[Resources] = []
    for room in ordered:
        if not any(_within(room, other) for other in front):
            front = [other for other in front if not _within(other, room)] + [room]
    return tuple(front[:_LARGEST])


def node_view(row: Row, child: Child, usage: Usage) -> NodeView:
    """One node as the root shows it. Usage is rounded, so that noise is no news."""
    return NodeView(
        row.id,
        row.name,
        child.state,
        row.capacity,
        row.reserved,
        Usage(
            cpu=round(usage.cpu),
            memory=_mebibytes(usage.memory),
            memory_percent=round(usage.memory_percent),
            disk=_mebibytes(usage.disk) // 1024 * 1024,
            load=round(usage.load, 1),
            gpu=round(usage.gpu),
            vram=_mebibytes(usage.vram),
            gpu_temperature=round(usage.gpu_temperature),
        ),
        row.attempts,
        child.software,
        row.cordoned,
        row.drained,
    )


def total_usage(usages: list[Usage], memory_mebibytes: int) -> Usage:
    """All nodes as one: mean of CPU and GPU load, sums of the rest. memory_mebibytes: of all nodes together."""
    count = max(1, len(usages))
    memory = sum(usage.memory for usage in usages)
    return Usage(
        cpu=sum(usage.cpu for usage in usages) / count,
        memory=memory,
        memory_percent=100 * memory / (memory_mebibytes * 2**20) if memory_mebibytes else 0.0,
        disk=sum(usage.disk for usage in usages),
        rx=sum(usage.rx for usage in usages),
        tx=sum(usage.tx for usage in usages),
        load=sum(usage.load for usage in usages),
        gpu=sum(usage.gpu for usage in usages) / count,
        vram=sum(usage.vram for usage in usages),
        gpu_temperature=max((usage.gpu_temperature for usage in usages), default=0.0),
        measured=max((usage.measured for usage in usages), default=0.0),
    )


def _within(room: Resources, other: Resources) -> bool:
    return (
        room.cpu <= other.cpu
        and room.memory <= other.memory
        and room.disk <= other.disk
        and room.gpus <= other.gpus
        and room.vram <= other.vram
        and all(one.count <= other.count(one.name) for one in room.counted)
    )


def _mebibytes(amount: int) -> int:
    return amount // 2**20 * 2**20


def _union(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group}))
