"""A fleet that lived through changes answers like one that was made anew from what is there now."""

from __future__ import annotations

from unittest.mock import patch

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.placement import table
from mangrove.placement.engine import judge, place
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of
from tests.unit.placement.fleets import capacities, preferences, specifications

children = st.sampled_from("abcdef")


class Living(RuleBasedStateMachine):
    """All that can happen to a fleet, in any order; rows grow from one."""

    attempts = Bundle("attempts")

    @initialize(noun=st.sampled_from(["node", "cluster"]), asked=st.lists(specifications, min_size=1, max_size=3))
    def begin(self, noun: str, asked: list[Specification]) -> None:
        with patch.object(table, "_FIRST_ROOM", 1):
            self.fleet = Fleet(noun)
        self.asked = asked
        self.held: dict[str, tuple[str, Specification]] = {}
        self.number = 0

    @rule(child=children, capacity=capacities)
    def join(self, child: str, capacity: Capacity) -> None:
        self.fleet.add(child, f"{self.fleet.noun[0]}{'abcdef'.index(child)}")
        self.fleet.update(child, capacity)
        self.fleet.set_live(child, True)

    @rule(child=children)
    def leave(self, child: str) -> None:
        self.fleet.remove(child)

    @rule(child=children, capacity=capacities)
    def report(self, child: str, capacity: Capacity) -> None:
        if child in self.fleet.rows:
            self.fleet.update(child, capacity)

    @rule(child=children, live=st.booleans(), cordoned=st.booleans(), load=st.integers(0, 100))
    def change(self, child: str, live: bool, cordoned: bool, load: int) -> None:
        if child in self.fleet.rows:
            self.fleet.set_live(child, live)
            self.fleet.set_cordoned(child, cordoned)
            self.fleet.measured(child, Usage(cpu=float(load)))

    @rule(target=attempts, child=children, specification=specifications)
    def reserve(self, child: str, specification: Specification) -> str:
        self.number += 1
        self.hold(f"a{self.number}", child, specification)
        return f"a{self.number}"

    @rule(attempt=attempts, child=children, specification=specifications)
    def move(self, attempt: str, child: str, specification: Specification) -> None:
        self.hold(attempt, child, specification)

    @rule(attempt=consumes(attempts))
    def release(self, attempt: str) -> None:
        self.fleet.release(attempt)
        self.held.pop(attempt, None)

    @rule(specification=specifications, wanted=preferences)
    def ask_for_something_else(self, specification: Specification, wanted: tuple[()]) -> None:
        self.asked[-1] = msgspec.structs.replace(specification, preferences=wanted)

    def hold(self, attempt: str, child: str, specification: Specification) -> None:
        self.fleet.reserve(attempt, child, specification.resources, kinds_of(specification))
        self.held[attempt] = (child, specification)

    @invariant()
    def it_answers_like_a_new_one(self) -> None:
        if not hasattr(self, "fleet"):
            return
        fresh = Fleet(self.fleet.noun)
        for row in sorted(self.fleet.rows.values(), key=lambda row: row.number):
            fresh.add(row.id, row.name)
            fresh.update(row.id, row.capacity)
            fresh.set_live(row.id, row.live)
            fresh.set_cordoned(row.id, row.cordoned)
            fresh.table.load[fresh.rows[row.id].number] = self.fleet.table.load[row.number]
        for attempt, (child, specification) in self.held.items():
            fresh.reserve(attempt, child, specification.resources, kinds_of(specification))
        for specification in self.asked:
            assert place(self.fleet, specification) == place(fresh, specification)
            assert judge(self.fleet, specification, shown=9) == judge(fresh, specification, shown=9)
        for id, row in self.fleet.rows.items():
            assert (row.reserved, row.attempts) == (fresh.rows[id].reserved, fresh.rows[id].attempts)

    @invariant()
    def a_snapshot_stands_still(self) -> None:
        if not hasattr(self, "fleet") or not self.fleet.rows:
            return
        specification = self.asked[0]
        taken = self.fleet.snapshot()
        before = place(self.fleet, specification)
        assert place(taken, specification) == before
        if isinstance(before, Chosen):
            taken.reserve("try", before.child, Resources(cpu=10**6))
            taken.remove(before.child)
            assert place(self.fleet, specification) == before


Living.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)
TestLiving = Living.TestCase
