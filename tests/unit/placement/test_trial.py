"""Trying services on: together, as they would be placed one by one, and without a trace."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.resources import Resources
from mangrove.model.specification import Port, Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of
from mangrove.placement.trial import try_out
from tests.unit.placement.fleets import Children, fleet_of, machine, nodes, preferences

#: Children that could take most, so that it is room and ports that decide.
machines = st.lists(
    st.builds(machine, cpu=st.integers(0, 9), memory=st.integers(0, 9), nodes=st.integers(1, 2)), max_size=4
)
services = st.builds(
    Specification,
    name=st.sampled_from(["web", "sensor"]),
    resources=st.builds(Resources, cpu=st.integers(0, 4), memory=st.integers(0, 4)),
    ports=st.sampled_from([(), (), (Port(80, 80),)]),
    preferences=preferences,
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["node", "cluster"]), machines, st.lists(st.tuples(services, st.integers(1, 4)), max_size=3))
def test_a_trial_is_what_placing_would_do(
    noun: str, machines: list[Capacity], asked: list[tuple[Specification, int]]
) -> None:
    children: Children = [(capacity, True, False, []) for capacity in machines]
    fleet = fleet_of(noun, children)
    before = fleet.reservations
    trials = try_out(fleet.snapshot(), asked)
    assert fleet.reservations == before
    assert len(trials) == len(asked)
    for number, ((specification, count), trial) in enumerate(zip(asked, trials, strict=True)):
        placed: Counter[str] = Counter()
        for instance in range(count):
            where = place(fleet, specification)
            if not isinstance(where, Chosen):
                assert trial.missing is not None
                assert trial.missing.passed == 0
                break
            fleet.reserve(f"{number}.{instance}", where.child, specification.resources, kinds_of(specification))
            placed[where.child] += 1
        else:
            assert trial.missing is None
        assert trial.placed == placed


def fleet() -> Fleet:
    return nodes(machine(memory=1000), machine(memory=3000))


def test_services_of_one_sla_compete_for_the_same_room() -> None:
    web = Specification("a.b.web.b", resources=Resources(memory=900))
    db = Specification("a.b.db.b", resources=Resources(memory=2500))
    first, second = try_out(fleet(), [(web, 2), (db, 1)])
    assert (first.placed, first.missing) == ({"id-0": 1, "id-1": 1}, None)
    assert second.placed == {}
    assert second.missing == second.choice
    assert (
        second.choice.reason == "needs 2500 MiB memory: 2 nodes too small or too full (best has 2100 MiB memory free)"
    )
    [alone] = try_out(fleet(), [(db, 1)])
    assert alone.placed == {"id-1": 1}


def test_what_is_missing_is_told_as_it_is_after_those_that_fit() -> None:
    [trial] = try_out(fleet(), [(Specification("a.b.web.b", resources=Resources(memory=900)), 9)])
    assert trial.placed == {"id-0": 1, "id-1": 3}
    assert trial.choice.passed == 2
    assert trial.missing is not None
    assert trial.missing.reason.endswith("(best has 300 MiB memory free)")
