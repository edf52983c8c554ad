"""Where an attempt is in its life."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Phases in the order in which an attempt passes through them within one start."""

    PENDING = "pending"  # wanted, but given to nobody: the reason says what is missing
    REFUSED = "refused"  # the child cannot run it; final
    ASSIGNED = "assigned"  # given to a child that has not begun
    PULLING = "pulling"  # the image or sandbox is being made ready
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"  # ended without success; it is started again in place after a delay
    STOPPING = "stopping"
    HELD = "held"  # an operator of the cluster has stopped it there, until they release it
    COMPLETED = "completed"  # a one_shot that ended with success; final
    FAILED = "failed"  # the child has given up on it; final
    LOST = "lost"  # what ran it is gone and will not say how it ended; final


#: Phases after which an attempt holds no resources and never runs again.
ENDED = frozenset({Phase.REFUSED, Phase.COMPLETED, Phase.FAILED, Phase.LOST})
