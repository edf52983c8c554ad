"""A cluster as one child of the root: the root never rules out a cluster whose node would do."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_orchestrator.summary import cluster_capacity
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen, Displacement
from mangrove.model.position import Position
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Port, Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import GOING, Fleet
from mangrove.placement.preemption import displace
from mangrove.placement.request import kinds_of
from tests.unit.placement.fleets import PLACES, Children, fleet_of, machine, nodes, specifications
from tests.unit.placement.fleets import fleets as children


def summed(fleet: Fleet, position: Position | None = None) -> Capacity:
    return cluster_capacity(fleet, 1, position)


@settings(deadline=None, max_examples=300)
@given(children, specifications, st.none() | st.sampled_from(PLACES))
def test_what_fits_on_a_node_fits_on_its_cluster(
    there: Children, specification: Specification, position: Position | None
) -> None:
    fleet = Fleet("node", position=position)
    made = fleet_of("node", there)
    for row in made.rows.values():
        fleet.add(row.id, row.name)
        fleet.update(row.id, msgspec.structs.replace(row.capacity, nodes=1))
        fleet.set_live(row.id, row.live)
        fleet.set_cordoned(row.id, row.cordoned)
    rows = {id: row.number for id, row in fleet.rows.items()}
    for attempt in made.reservations:
        child, resources, kinds = made.reservation(attempt)
        ports = tuple(kind for kind in kinds if _is_port(kind) and not fleet.table.tallies.of(kind)[rows[child]])
        fleet.reserve(attempt, child, resources, ports)
    root = Fleet("cluster")
    root.add("c", "c0")
    root.update("c", summed(fleet, position))
    root.set_live("c", True)
    for attempt in fleet.reservations:
        _, resources, kinds = fleet.reservation(attempt)
        root.reserve(attempt, "c", resources, kinds)
    if isinstance(place(fleet, specification), Chosen):
        assert place(root, specification) == Chosen("c")


@settings(deadline=None, max_examples=300)
@given(children, st.lists(st.sampled_from([None, 0, 1, 2, 3, 5, 6, 7, 9]), min_size=15, max_size=15), specifications)
def test_where_less_important_ones_on_a_node_can_make_room_its_cluster_can(
    there: Children, importance: list[int | None], specification: Specification
) -> None:
    wanted = msgspec.structs.replace(specification, priority=7)
    fleet, root = Fleet("node"), Fleet("cluster")
    made = fleet_of("node", there)
    for row in made.rows.values():
        fleet.add(row.id, row.name)
        fleet.update(row.id, msgspec.structs.replace(row.capacity, nodes=1, largest=()))
        fleet.set_live(row.id, row.live)
        fleet.set_cordoned(row.id, row.cordoned)
    for attempt, priority in zip(made.reservations, importance, strict=False):
        child, resources, kinds = made.reservation(attempt)
        taken = fleet.table.tallies
        if any(_is_port(kind) and taken.of(kind)[fleet.rows[child].number] for kind in kinds):
            continue
        fleet.reserve(attempt, child, resources, kinds, priority)
        root.reserve(attempt, "c", resources, kinds, priority)
    root.add("c", "c0")
    root.update("c", summed(fleet))
    root.set_live("c", True)
    if displace(fleet, wanted) is not None and place(root, wanted) != Chosen("c"):
        assert displace(root, wanted) == Displacement("c", by_child=True)


def _is_port(kind: object) -> bool:
    return isinstance(kind, tuple) and kind[0] == "port"


def test_labels_are_told_with_their_values_and_those_without_them() -> None:
    said = summed(nodes(machine(labels={"zone": "b", "ssd": "yes"}), machine(labels={"zone": "a"}), machine()))
    assert said.label_values == {"zone": ("a", "b", None), "ssd": ("yes", None)}
    assert said.vague_labels == ()


def test_of_a_label_with_many_values_only_that_it_is_there() -> None:
    fleet = nodes(*[machine(labels={"serial": str(number)}) for number in range(50)])
    said = summed(fleet)
    assert (said.label_values, said.vague_labels) == ({}, ("serial",))
    root = Fleet("cluster")
    root.add("c", "c0")
    root.update("c", said)
    root.set_live("c", True)
    wish = Constraint("label", key="serial", names=("7",))
    assert place(root, Specification("web", constraints=(wish,))) == Chosen("c")


def test_only_what_all_nodes_have_keeps_others_away_from_the_cluster() -> None:
    assert summed(nodes(machine(taints=("a", "b")), machine(taints=("b",)))).taints == ("b",)
    assert summed(nodes(machine(taints=("b",)), machine())).taints == ()


def test_a_cordoned_node_keeps_what_it_runs_in_the_sum_and_offers_nothing() -> None:
    fleet = nodes(machine(cpu=4000), machine(cpu=2000, tpu=1))
    fleet.reserve("a", "id-0", Resources(cpu=1500))
    fleet.set_cordoned("id-0", True)
    said = summed(fleet)
    assert said.allocatable == Resources(cpu=3500, memory=4096, counted=counted({"tpu": 1}))
    assert said.largest == (Resources(cpu=2000, memory=4096, counted=counted({"tpu": 1})),)
    assert said.nodes == 2


def test_who_is_away_and_holds_nothing_is_no_node() -> None:
    fleet = nodes(machine(), machine())
    fleet.set_live("id-0", False)
    assert summed(fleet).nodes == 1


def test_a_host_port_on_a_node_that_is_away_is_not_one_of_a_node_that_is_there() -> None:
    web, fleet, root = (
        Specification("web", runtime="docker", ports=(Port(80, 80),)),
        nodes(machine(), machine()),
        Fleet("cluster"),
    )
    fleet.reserve("a", "id-0", web.resources, kinds_of(web))
    fleet.set_live("id-0", False)
    root.add("c", "c0")
    root.update("c", summed(fleet))
    root.set_live("c", True)
    root.reserve("a", "c", web.resources, kinds_of(web))
    assert place(root, web) == Chosen("c")
    root.reserve("b", "c", web.resources, kinds_of(web))
    assert not isinstance(place(root, web), Chosen)


def test_the_room_of_what_leaves_a_node_that_is_away_is_not_told_twice() -> None:
    fleet, whole = nodes(machine(memory=4096), machine(memory=1024)), Resources(memory=4096)
    fleet.reserve("leaves", "id-0", whole, priority=GOING)
    fleet.reserve("comes", "id-0", whole)
    fleet.set_live("id-0", False)
    assert summed(fleet).allocatable.memory == 4096 + 1024
    fleet.release("leaves")
    fleet.update("id-0", machine(memory=2048))  # and what stays counts whole, as the root counts it
    assert summed(fleet).allocatable.memory == 4096 + 1024
