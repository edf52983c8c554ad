"""What a parent keeps of one child: its session, what it shall run, and what it has said of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mangrove.link.envelope import Lanes
from mangrove.link.messages import PLAN, STATUS, Hello, Mark, Reply
from mangrove.link.sync import Replica, Source
from mangrove.model.attempt import Attempt, Status
from mangrove.model.child import Capacity, NodeView

State = Literal["away", "greeted", "live"]


@dataclass(slots=True)
class Peer:
    """What the parent keeps of one child. heard: when it last spoke, or when this parent began to expect it. counted:
    since when its silence counts: not before this parent could have heard it. gone: when the broker said that the
    connection of this session broke, if nothing was heard since."""

    key: bytes
    assignment: Source
    plan: Source
    status: Replica[Status]
    nodes: Replica[NodeView]
    capacity: Replica[Capacity]
    heard: float
    counted: float
    gone: float | None = None
    state: State = "away"
    silent: bool = False
    session: str = ""
    via: int = 0
    lease: float = 10.0
    period: float = 2.0  # between beats, as its welcome told
    sequence: int = 0
    lanes: Lanes = field(default_factory=Lanes)
    hello: Hello | None = None
    applied: Mark | None = None  # as the child last said, in this session
    assigned: Mark | None = None  # what the newest assign in this session leads to
    awaited: float = 0.0  # since when the child has not followed: it was sent something, or has last come nearer
    reflected: int = -1  # the assignment's version that the mirrored statuses are known to reflect, in this session
    removed: dict[str, int] = field(default_factory=dict)  # attempt → the version that no longer has it
    first_version: int = 0  # versions below are of an earlier life of the parent
    calls: dict[str, tuple[float, Callable[[Reply], None]]] = field(default_factory=dict)
    asks: bool = False  # whether it has reported all again, since nothing has told it yet what shall run
    withheld: bool = False  # whether no assign may be sent: it would stop what is still being asked about
    plan_held: str | None = None  # digest, as the child last said in this session; None: it mirrors no plan
    plan_sent: str = ""  # digest that the newest step of the plan in this session leads to; empty: nothing was sent
    plan_awaited: float = 0.0  # as `awaited`
    vouched_from: int = 0  # a child that has not applied this version may run what our own parent took from us long ago

    def begin(self, session: str, via: int, hello: Hello) -> None:
        """A new session of the child: what it holds is to be heard anew."""
        self.session, self.via, self.hello = session, via, hello
        self.sequence, self.lanes = 0, Lanes()
        self.state, self.applied, self.assigned, self.reflected = "greeted", None, None, -1
        self.plan_held, self.plan_sent = None, ""
        if hello.holds.version > self.assignment.version or not self.first_version:
            # What the child holds is of an earlier life of this parent: versions go on above it.
            self.first_version = max(hello.holds.version, self.assignment.version) + 1
            self.assignment.raise_version(self.first_version)
            self.removed = dict.fromkeys(self.removed, self.first_version)

    def assign(self, put: Mapping[str, Attempt], remove: frozenset[str]) -> bool:
        """Change what it shall run; whether that is another assignment now."""
        changed = self.assignment.change(put, remove)
        if changed:
            for id in put:
                self.removed.pop(id, None)
            for id in remove:
                self.removed[id] = self.assignment.version
        return changed

    def apply(self, mark: Mark, sent: Mapping[str, str]) -> tuple[bool, bool]:
        """It has applied this assignment, and `sent` are the digests of what it told when it said so: whether it holds
        something else than it did, and whether the mirrored statuses reflect a newer assignment now."""
        plan, moved = sent.get(PLAN), False
        if plan is not None and plan != self.plan_held:
            self.plan_held, self.plan_awaited, moved = plan, self.heard, True
        if self.state != "live" or (self.applied is not None and mark.version < self.applied.version):
            return moved, False
        if self.applied != mark:
            self.applied, self.awaited, moved = mark, self.heard, True
        if sent.get(STATUS) != self.status.digest or mark.version <= self.reflected:
            return moved, False
        self.reflected = mark.version
        self.removed = {id: version for id, version in self.removed.items() if version > mark.version}
        return moved, True

    def has_ended(self, attempt: str) -> bool:
        """As `ParentLink.has_ended`."""
        if self.state != "live" or attempt in self.assignment:
            return False
        status = self.status.entries.get(attempt)
        if status is not None:
            return status.ended
        return self.reflected >= self.removed.get(attempt, self.first_version)

    def may_stay(self, attempt: str) -> bool:
        """As `ParentLink.may_stay`."""
        if self.state != "live" or self.assigned is not None or self.applied is None:
            return False
        status = self.status.entries.get(attempt)
        withdrawn = self.removed.get(attempt, self.first_version)
        return status is not None and not status.ended and self.applied.version < withdrawn
