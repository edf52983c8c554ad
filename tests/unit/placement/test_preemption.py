"""Who makes room for what is more important: as few, as unimportant and as small as can be, and never others."""

from __future__ import annotations

from itertools import combinations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.choice import Displacement
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Port, Specification
from mangrove.placement.fleet import GOING, Fleet
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of
from tests.unit.placement.fleets import Children, clusters, feasible, fleet_of, machine, nodes

WEB = Specification("a.b.web.b", resources=Resources(cpu=1000))
IMPORTANT = Specification("a.b.important.b", resources=Resources(cpu=1000), priority=100)

priorities = st.sampled_from([None, GOING, 0, 0, 5, 7, 10])


def put(fleet: Fleet, child: str, *held: tuple[Specification, int | None]) -> None:
    """These are on a child, each with the priority above which it makes room."""
    for number, (specification, priority) in enumerate(held):
        kinds = kinds_of(specification) if priority != GOING else ()
        fleet.reserve(f"{child}-{number}", child, specification.resources, kinds, priority)


def without(there: list[Specification], gone: set[int]) -> list[Specification]:
    return [one for number, one in enumerate(there) if number not in gone]


def best_set(
    fleet: Fleet, wanted: Specification, child: str, held: list[tuple[Specification, int | None]]
) -> tuple[tuple[int, ...], float] | None:
    """Of all sets of victims that make enough room on a child, the cost of the first: by trying each."""
    row = fleet.rows[child]
    going = {number for number, (_, priority) in enumerate(held) if priority == GOING}
    eligible = [n for n, (_, priority) in enumerate(held) if priority is not None and GOING < priority < 7]
    whole = {key: amount for key, amount in row.capacity.allocatable.amounts() if amount > 0}
    best = None
    for count in range(len(eligible) + 1):
        for chosen in combinations(eligible, count):
            if not feasible(fleet, wanted, row, without([one for one, _ in held], {*going, *chosen})):
                continue
            worst = tuple(sorted((held[n][1] or 0 for n in chosen), reverse=True))
            size = sum(
                amount / whole[key] for n in chosen for key, amount in held[n][0].resources.amounts() if key in whole
            )
            best = min(best or (worst, size), (worst, size))
    return best


#: What is asked for and held: small amounts of three kinds, so that sets of many sizes make enough room.
small = st.builds(Resources, cpu=st.integers(0, 3), memory=st.integers(0, 3), gpus=st.sampled_from([0, 0, 1]))
held_there = st.builds(
    Specification,
    name=st.sampled_from(["web", "db"]),
    resources=small,
    ports=st.sampled_from([(), (), (), (Port(80, 80),)]),
)
asked = st.builds(
    Specification,
    name=st.sampled_from(["web", "db"]),
    resources=st.builds(Resources, cpu=st.integers(1, 5), memory=st.integers(0, 5), gpus=st.sampled_from([0, 0, 1])),
    ports=st.sampled_from([(), (), (Port(80, 80),)]),
    constraints=st.sampled_from([(), (), (Constraint("per_node", threshold=1),)]),
    priority=st.just(7),
)
full_nodes = st.lists(
    st.tuples(
        st.builds(Resources, cpu=st.integers(4, 6), memory=st.integers(4, 6), gpus=st.integers(0, 1)),
        st.lists(st.tuples(held_there, priorities), min_size=2, max_size=6),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(full_nodes, asked)
def test_the_set_is_the_best_of_all_sets_of_the_best_child(
    there_is: list[tuple[Resources, list[tuple[Specification, int | None]]]], wanted: Specification
) -> None:
    alone: Children = [
        (Capacity(whole, architectures=("amd64",), runtimes=("docker",)), True, False, []) for whole, _ in there_is
    ]
    held = [here for _, here in there_is]
    fleet = fleet_of("node", alone)
    for number, here in enumerate(held):
        put(fleet, f"id-{number}", *here)
    before = (fleet.reservations, {key: column.tolist() for key, column in fleet.table.free.items()})
    found = displace(fleet, wanted)
    assert before == (fleet.reservations, {key: column.tolist() for key, column in fleet.table.free.items()})
    costs = {f"id-{n}": best_set(fleet, wanted, f"id-{n}", here) for n, here in enumerate(held)}
    possible = [cost for cost in costs.values() if cost is not None]
    if found is None:
        lower = any(priority in (0, 5) for here in held for _, priority in here)
        assert not lower or not possible
        return
    there = {f"id-{n}-{m}": one for n, here in enumerate(held) for m, one in enumerate(here)}
    victims = [there[attempt] for attempt in found.victims]
    assert all(priority is not None and GOING < priority < 7 for _, priority in victims), "only what is less important"
    cost = costs[found.child]
    assert cost is not None, "it fits there without them"
    assert tuple(priority for _, priority in victims) == cost[0] == min(possible)[0]
    row = fleet.rows[found.child]
    gone = {int(attempt.rsplit("-", 1)[1]) for attempt in found.victims}
    here = held[int(found.child.removeprefix("id-"))]
    going = {n for n, (_, priority) in enumerate(here) if priority == GOING}
    assert feasible(fleet, wanted, row, without([one for one, _ in here], gone | going))


def test_one_of_the_least_important_is_better_than_a_more_important_one() -> None:
    fleet = nodes(machine(cpu=2000), machine(cpu=2000))
    put(fleet, "id-0", (WEB, 5), (WEB, 0))
    put(fleet, "id-1", (WEB, 5), (WEB, 5))
    assert displace(fleet, IMPORTANT) == Displacement("id-0", ("id-0-1",))


def test_one_large_one_is_better_than_two_small_ones_and_the_smaller_of_two_better_than_the_larger() -> None:
    fleet = nodes(machine(cpu=4000))
    half = msgspec.structs.replace(WEB, resources=Resources(cpu=500))
    large = msgspec.structs.replace(WEB, resources=Resources(cpu=1800))
    put(fleet, "id-0", (half, 0), (half, 0), (WEB, 0), (large, 0))
    assert displace(fleet, IMPORTANT) == Displacement("id-0", ("id-0-2",))


def test_two_of_the_least_important_go_rather_than_one_that_is_more_important() -> None:
    fleet = nodes(machine(cpu=2000))
    half = msgspec.structs.replace(WEB, resources=Resources(cpu=500))
    put(fleet, "id-0", (half, 0), (half, 0), (WEB, 1))
    found = displace(fleet, IMPORTANT)
    assert found is not None
    assert set(found.victims) == {"id-0-0", "id-0-1"}


def test_what_is_as_important_or_is_never_displaced_stays() -> None:
    fleet = nodes(machine(cpu=2000), machine(cpu=2000))
    put(fleet, "id-0", (WEB, 100), (WEB, None))
    put(fleet, "id-1", (WEB, 0), (WEB, 0))
    assert displace(fleet, IMPORTANT, ["id-1"]) is None
    fleet.set_cordoned("id-1", True)
    assert displace(fleet, IMPORTANT) is None, "nothing new comes to a cordoned node"


def test_who_must_not_displace_does_not() -> None:
    fleet = nodes(machine(cpu=1000))
    put(fleet, "id-0", (WEB, 0))
    assert displace(fleet, msgspec.structs.replace(IMPORTANT, preemption_policy="never")) is None
    assert displace(fleet, IMPORTANT) == Displacement("id-0", ("id-0-0",))


def test_what_leaves_anyway_is_waited_for_rather_than_that_another_is_displaced() -> None:
    fleet = nodes(machine(cpu=2000), machine(cpu=1000))
    put(fleet, "id-0", (WEB, GOING), (WEB, 0))
    put(fleet, "id-1", (WEB, 0))
    assert displace(fleet, IMPORTANT) == Displacement("id-0")


def test_a_host_port_and_the_most_on_one_node_are_made_free() -> None:
    fleet = nodes(machine())
    proxy = msgspec.structs.replace(WEB, ports=(Port(80, 80),))
    put(fleet, "id-0", (proxy, 0), (WEB, 0))
    assert displace(fleet, msgspec.structs.replace(IMPORTANT, ports=(Port(80, 8080),))) == Displacement(
        "id-0", ("id-0-0",)
    )
    equal = msgspec.structs.replace(WEB, priority=0, ports=(Port(80, 8080),))
    put(fleet, "id-0", (proxy, 0), (WEB, -5))
    assert displace(fleet, equal) is None, "the one with the port is as important"
    put(fleet, "id-0", (proxy, 0), (WEB, 0))
    alone = msgspec.structs.replace(WEB, priority=1, constraints=(Constraint("per_node", threshold=2),))
    found = displace(fleet, alone)
    assert found is not None
    assert len(found.victims) == 1


def test_whom_it_wants_to_be_near_is_not_displaced() -> None:
    fleet = nodes(machine(cpu=1000))
    put(fleet, "id-0", (WEB, 0))
    near = msgspec.structs.replace(IMPORTANT, constraints=(Constraint("latency", names=(WEB.name,), threshold=9),))
    assert displace(fleet, near) is None


def test_many_candidates_are_enough_without_trying_every_set() -> None:
    fleet = nodes(machine(cpu=40_000))
    tenth = msgspec.structs.replace(WEB, resources=Resources(cpu=100))
    put(fleet, "id-0", *[(tenth, number % 3) for number in range(400)])
    found = displace(fleet, msgspec.structs.replace(IMPORTANT, resources=Resources(cpu=2000)))
    assert found is not None
    assert len(found.victims) == 20
    assert all(int(victim.rsplit("-", 1)[1]) % 3 == 0 for victim in found.victims)


def test_a_removed_child_and_its_reservations_leave_nothing_behind() -> None:
    fleet = nodes(machine(), machine())
    put(fleet, "id-0", (WEB, 0), (WEB, GOING))
    fleet.remove("id-0")
    assert not fleet.table.yielders
    fleet.add("id-0", "n0")
    assert fleet.table.yielders == {0: 1, GOING: 1}
    for attempt in list(fleet.reservations):
        fleet.release(attempt)
    assert not fleet.table.yielders
    assert all(not column.any() for columns in fleet.table.yielding.values() for column in columns.values())


def test_a_cluster_makes_room_when_it_says_so_and_the_books_have_enough_that_is_less_important() -> None:
    small, large_room = (0, (Resources(cpu=2000),)), (5, (Resources(cpu=4000),))
    full = machine(cpu=4000, largest=(Resources(),), nodes=2)
    fleet = clusters(
        msgspec.structs.replace(full, yielding=(small, large_room)), msgspec.structs.replace(full, yielding=(small,))
    )
    put(fleet, "id-0", *[(WEB, 5)] * 4)
    put(fleet, "id-1", *[(WEB, 0)] * 4)
    large = msgspec.structs.replace(IMPORTANT, resources=Resources(cpu=3000))
    assert displace(fleet, IMPORTANT) == Displacement("id-1", by_child=True), "where the least important make room"
    assert displace(fleet, large) == Displacement("id-0", by_child=True), "only above 5 there is so large a node"
    assert displace(fleet, msgspec.structs.replace(large, priority=5)) is None
    assert displace(fleet, msgspec.structs.replace(IMPORTANT, resources=Resources(cpu=4001))) is None
