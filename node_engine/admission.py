"""Whether this node takes on an attempt that its parent assigned: has it the runtime, the ports, the GPUs?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.reconcile.child import Record

#: Chooses devices: (what is asked for, ids that are taken) → ids, fewer than asked for when no more are there.
PickGpus = Callable[[Resources, frozenset[str]], tuple[str, ...]]

#: Phases in which an attempt holds its ports, devices and addresses.
HOLDING = frozenset({Phase.PULLING, Phase.STARTING, Phase.RUNNING, Phase.BACKING_OFF, Phase.STOPPING})


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is taken on, with these devices."""

    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waits:
    """It must wait for something that is being stopped."""

    reason: str


@dataclass(frozen=True, slots=True)
class Denied:
    """It cannot run here."""

    reason: str


def consider(
    record: Record,
    others: Iterable[tuple[Record, bool]],
    runtimes: Collection[str],
    pick_gpus: PickGpus,
    allocatable: Resources | None = None,
) -> Admitted | Waits | Denied:
    """Decide about `record`. others: what else this node knows, each with whether it is going to leave.

    allocatable: what the node can give in all. The parent counts with it, so it is asked here only whether what is
    leaving must be gone first: a parent whose store went back may not know what else still runs.
    """
    wanted = record.specification
    if wanted.runtime not in runtimes:
        there = ", ".join(sorted(runtimes)) or "none"
        return Denied(f"this node has no runtime '{wanted.runtime}': it has {there}")
    holding = [(other, leaving) for other, leaving in others if other.phase in HOLDING]
    asked = {(port.host, port.protocol) for port in wanted.ports}
    waits = ""
    for other, leaving in holding:
        taken = asked & {(port.host, port.protocol) for port in other.specification.ports}
        if taken:
            port, protocol = min(taken)
            held = f"host port {port}/{protocol} is taken by {_name(other)}"
            if not leaving:
                return Denied(f"{held}: choose another host port, or stop that one")
            waits = f"{held}, which is being stopped"
    gpus: tuple[str, ...] = ()
    if count := wanted.resources.gpus:
        staying = frozenset(gpu for other, leaving in holding if not leaving for gpu in other.gpus)
        possible = pick_gpus(wanted.resources, staying)
        if len(possible) < count:
            return Denied(
                f"needs {count} GPU{'s' if count > 1 else ''}: {len(possible)} that fit are free on this node"
            )
        gpus = pick_gpus(wanted.resources, staying | {gpu for other, _ in holding for gpu in other.gpus})
        if len(gpus) < count:
            waits = waits or "waits for GPUs of an instance that is being stopped"
    if allocatable is not None and not waits:
        held_by_all = sum((other.specification.resources for other, _ in holding), wanted.resources)
        if any(leaving for _, leaving in holding) and not held_by_all.fits_in(allocatable):
            waits = "waits for the room of an instance that is being stopped"
    return Waits(waits) if waits else Admitted(gpus[:count])


def _name(record: Record) -> str:
    return f"{record.specification.name} instance {record.attempt.number}"
