"""A cluster as one child of the root: the root never rules out a cluster whose node would do."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_orchestrator.summary import cluster_capacity
from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.position import Position
from mangrove.model.resources import Resources, counted
from mangrove.model.specification import Constraint, Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet
from tests.unit.placement.fleets import PLACES, Children, fleet_of, machine, nodes, specifications
from tests.unit.placement.fleets import fleets as children


def summed(fleet: Fleet, position: Position | None = None) -> Capacity:
    return cluster_capacity(fleet.rows.values(), 1, position)


@settings(deadline=None, max_examples=300)
@given(children, specifications, st.none() | st.sampled_from(PLACES))
def test_what_fits_on_a_node_fits_on_its_cluster(
    there: Children, specification: Specification, position: Position | None
) -> None:
    fleet = Fleet("node", position=position)
    made = fleet_of("node", there)
    for row in made.rows.values():
        fleet.add(row.id, row.name)
        fleet.update(row.id, row.capacity)
        fleet.set_live(row.id, row.live)
        fleet.set_cordoned(row.id, row.cordoned)
    for attempt, (child, resources) in made.reservations.items():
        fleet.reserve(attempt, child, resources)
    root = Fleet("cluster")
    root.add("c", "c0")
    root.update("c", summed(fleet, position))
    root.set_live("c", True)
    for attempt, (_, resources) in fleet.reservations.items():
        root.reserve(attempt, "c", resources)
    if isinstance(place(fleet, specification), Chosen):
        assert place(root, specification) == Chosen("c")


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
    assert said.nodes == 1
