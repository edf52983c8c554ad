"""Oakestra's status words: one pure table from our phases to its words. Nothing else in Mangrove knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mangrove.model.attempt import Status
from mangrove.model.phases import Phase
from mangrove.model.specification import Constraint

#: What Oakestra says where there is nothing to say.
NO_DETAIL = "No extra information"

REQUESTED = "REQUESTED"
NODE_SCHEDULED = "NODE_SCHEDULED"
FAILED = "FAILED"
NOTHING_FITS = "NoActiveClusterWithCapacity"
NO_SUCH_TARGET = "TargetClusterNotFound"
TARGET_AWAY = "TargetClusterNotActive"
TARGET_FULL = "TargetClusterNoCapacity"

#: Phase → its word, and what to say when the phase comes without a reason.
_TABLE: dict[Phase, tuple[str, str]] = {
    Phase.PENDING: (REQUESTED, "waiting to be placed"),
    Phase.ASSIGNED: ("CLUSTER_SCHEDULED", "given to a cluster, which has not answered yet"),
    Phase.PULLING: ("CREATING", "the image is being made ready"),
    Phase.STARTING: ("CREATED", "starting"),
    Phase.RUNNING: ("RUNNING", NO_DETAIL),
    Phase.BACKING_OFF: (FAILED, "ended; it will be started again"),
    Phase.FAILED: (FAILED, "failed"),
    Phase.LOST: ("DEAD", "what ran it is gone"),
    Phase.COMPLETED: ("COMPLETED", "ended with success"),
    Phase.STOPPING: ("UNDEPLOYED", "stopping"),
    Phase.HELD: ("UNDEPLOYED", "held by an operator of its cluster"),
    Phase.REFUSED: ("NO_WORKER_CAPACITY", "refused"),
}

#: Words of instances by how much they tell of their service: trouble first, then what is on its way, then what is well.
_TELLING = (
    FAILED,
    "DEAD",
    NO_SUCH_TARGET,
    TARGET_AWAY,
    TARGET_FULL,
    NOTHING_FITS,
    "NO_WORKER_CAPACITY",
    "UNDEPLOYED",
    REQUESTED,
    "CLUSTER_SCHEDULED",
    NODE_SCHEDULED,
    "CREATING",
    "CREATED",
    "RUNNING",
    "COMPLETED",
)


def instance_word(status: Status, *, failures: int, unplaced: str) -> str:
    """The word for one instance.

    A pending instance is REQUESTED until there is a reason; then FAILED when its last attempts failed (`failures` in a
    row), else `unplaced` (see `unplaced_word`). An assigned one is NODE_SCHEDULED once its node is known.
    """
    if status.phase == Phase.PENDING and status.reason:
        return FAILED if failures else unplaced
    if status.phase == Phase.ASSIGNED and status.node:
        return NODE_SCHEDULED
    return _TABLE[status.phase][0]


def instance_detail(status: Status, *, silent_for: float | None) -> str:
    """Why an instance is as it is. silent_for: seconds since its cluster was heard, None while that is heard."""
    detail = status.reason or _TABLE[status.phase][1]
    if silent_for is None:
        return detail
    silence = f"not heard for {silent_for:.0f} s"
    if " is silent" in detail:
        return f"{detail} ({silence})"  # the controller has said what it makes of it
    return silence if detail == NO_DETAIL else f"{silence}; before that: {detail}"


def service_status(instances: Sequence[tuple[str, str]]) -> tuple[str | None, str]:
    """The word and detail of a service out of those of its instances.

    It is the most telling word of its instances: trouble before work in progress before RUNNING before COMPLETED, so a
    service is RUNNING only when all of it runs or has completed. Without instances it has no word (clients show "-").
    """
    if not instances:
        return None, "no instance is wanted; deploy one"
    word, detail = min(instances, key=lambda instance: _TELLING.index(instance[0]))
    alike = sum(1 for other, _ in instances if other == word)
    if detail == NO_DETAIL or len(instances) == 1:
        return word, detail
    return word, f"{alike} of {len(instances)} instances: {detail}"


def unplaced_word(constraints: Iterable[Constraint], clusters: Mapping[str, bool]) -> str:
    """The word for an instance that fits nowhere. clusters: name → whether it is active."""
    named = [name for wish in constraints if wish.type == "direct" and wish.cluster for name in wish.cluster.split(";")]
    if not named:
        return NOTHING_FITS
    known = [name for name in named if name in clusters]
    if not known:
        return NO_SUCH_TARGET
    return TARGET_FULL if any(clusters[name] for name in known) else TARGET_AWAY
