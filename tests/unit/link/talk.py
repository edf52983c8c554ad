"""A parent's and a child's end of the link, talking to each other without anything between."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from mangrove.base.ids import seeded_ids
from mangrove.link import child_events, parent_events
from mangrove.link.child import ChildIdentity, ChildLink
from mangrove.link.messages import ASSIGNMENT, STATUS, Hello
from mangrove.link.pace import Settings
from mangrove.link.parent import ParentLink
from mangrove.link.sync import Replica, Source
from mangrove.model.attempt import Attempt
from mangrove.model.child import Capacity
from mangrove.model.resources import Resources

KEY = b"k" * 32
SETTINGS = Settings(lease=10.0, beat=2.0)


class Talk:
    """Both ends and the time. lost: says of a kind and a direction whether the next message is lost."""

    def __init__(self) -> None:
        self.now = 100.0
        self.capacity = Capacity(Resources(cpu=1000))
        self.statuses = Source(STATUS)
        self.lost: Callable[[str, str], bool] = lambda direction, kind: False
        self.heard: list[parent_events.Event] = []
        self.learnt: list[child_events.Event] = []
        self.reason = ""
        self.sent: list[tuple[str, str, bytes]] = []  # (direction, kind, payload) of all that was said
        self.opened: list[int] = []  # brokers that the child has tried, by number
        self.new_session = seeded_ids(1)
        self.parent = self.new_parent(term=1)
        self.child = self.new_child()

    def new_child(self, incarnation: int = 1, brokers: int = 1, **changes: Any) -> ChildLink:
        """A child that has just started."""
        options: dict[str, Any] = {
            "new_session": self.new_session,
            "rng": random.Random(1),
            "assignment": Replica(ASSIGNMENT, Attempt, specification_of=lambda attempt: attempt.specification),
            "channels": (self.statuses,),
            "capacity": lambda: self.capacity,
            "store": "store",
        }
        identity = ChildIdentity("p", "c", KEY, "child", "1", incarnation, "boot")
        return ChildLink(identity, brokers, **{**options, **changes})

    def new_parent(self, term: int, store: str = "store", **changes: Any) -> ParentLink:
        """A parent that has just started in this term."""

        def admit(child: str, hello: Hello) -> str:
            return self.reason

        options: dict[str, Any] = {
            "key_of": lambda child: KEY if child == "c" else None,
            "admit": admit,
            "specification": lambda digest: b'{"name":"web"}',
            "tenure": f"tenure-{term}",
            "revision": lambda: 7,
        }
        parent = ParentLink("p", store, term, SETTINGS, **{**options, **changes})
        parent.connected(0, self.now)
        return parent

    def settle(self) -> None:
        """Talk until the child is settled. Raises AssertionError when that does not happen."""
        for _ in range(100):
            self.step(0.1)
            if self.child.state == "settled":
                return
        raise AssertionError(f"the child stays {self.child.state}")

    def step(self, seconds: float) -> None:
        """Let time pass, and let each end say what it has to say until both are silent."""
        self.now += seconds
        self.child.tick(self.now)
        self.parent.tick(self.now)
        while self._carry_up() + self._carry_down():
            self.parent.flush(self.now)
        self.parent.flush(self.now)
        self._carry_down()

    def steps(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.step(0.1)

    def said(self, direction: str) -> list[str]:
        """Kinds of what was said in one direction, whether it arrived or not."""
        return [kind for there, kind, _ in self.sent if there == direction]

    def state(self) -> str:
        """The child's."""
        return self.child.state

    def waiting(self) -> list[object]:
        """What either end wants done or has learnt, and nobody has taken."""
        return [*self.parent.effects, *self.parent.events, *self.child.effects, *self.child.events]

    def _carry_up(self) -> int:
        effects, self.child.effects = self.child.effects, []
        for effect in effects:
            if isinstance(effect, child_events.Open):
                self.opened.append(effect.broker)
                self.child.connected(self.now)
            elif isinstance(effect, child_events.Send):
                self.sent.append(("up", effect.kind, effect.payload))
                if not self.lost("up", effect.kind):
                    self.parent.receive("c", effect.kind, effect.payload, 0, self.now)
        self.heard += self.parent.events
        self.parent.events.clear()
        return len(effects)

    def _carry_down(self) -> int:
        effects, self.parent.effects = self.parent.effects, []
        for effect in effects:
            self.sent.append(("down", effect.kind, effect.payload))
            if not self.lost("down", effect.kind):
                self.child.receive(effect.kind, effect.payload, self.now)
        self.learnt += self.child.events
        self.child.events.clear()
        return len(effects)
