"""What belongs on one child only."""

from __future__ import annotations

import msgspec

from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Specification
from mangrove.placement.pinned import matching, place_on, why_not
from tests.unit.placement.fleets import clusters, machine, nodes

AGENT = Specification("agent", resources=Resources(cpu=500))
SEA = Specification("agent", constraints=(Constraint("label", key="zone", names=("sea",)),))


def test_matching_is_what_a_node_is_and_not_what_it_has_free() -> None:
    fleet = nodes(machine(labels={"zone": "sea"}), machine(), machine(labels={"zone": "sea"}))
    fleet.reserve("a", "id-0", Resources(cpu=4000))
    assert matching(fleet, SEA) == {"id-0", "id-2"}
    assert why_not(fleet, SEA, "id-1") == "needs label zone in sea: 1 node where none is set"
    assert why_not(fleet, SEA, "id-0") == ""


def test_what_runs_stays_where_a_runtime_is_away_or_offers_less_but_not_where_an_operator_says_otherwise() -> None:
    wanted = (Constraint("addons", names=("volume-driver/nfs",)), *SEA.constraints)
    agent = msgspec.structs.replace(SEA, constraints=wanted)
    fleet = nodes(
        machine(labels={"zone": "sea"}, addons=("volume-driver/nfs",)),
        machine(labels={"zone": "sea"}),
        machine(labels={"zone": "sea"}, addons=("volume-driver/nfs",), runtimes=()),
        machine(addons=("volume-driver/nfs",)),
    )
    assert matching(fleet, agent) == {"id-0"}
    assert matching(fleet, agent, staying=True) == {"id-0", "id-1", "id-2"}


def test_it_goes_there_or_nowhere_and_says_why() -> None:
    fleet = nodes(machine(), machine())
    assert place_on(fleet, AGENT, ("id-1",)) == Chosen("id-1")
    assert place_on(fleet, AGENT, ("id-1",), avoid=("id-1",)) == NoFit("it belongs on n1 alone")
    refused = {"id-1": Refusal("r", "no runtime")}
    assert place_on(fleet, AGENT, ("id-1",), refused=refused) == NoFit("refused by n1: no runtime")
    assert place_on(fleet, AGENT, ("x",)) == NoFit("the node that it belongs on is gone")
    fleet.reserve("a", "id-1", Resources(cpu=4000))
    full = place_on(fleet, AGENT, ("id-1",))
    assert isinstance(full, NoFit)
    assert full.reason.startswith("it belongs on n1 alone: needs 0.5 CPU cores: 1 node too small or too full")
    fleet.set_live("id-1", False)
    assert place_on(fleet, AGENT, ("id-1",)) == NoFit("n1, which it belongs on, is not connected")


def test_a_cordoned_node_takes_what_belongs_there() -> None:
    fleet = nodes(machine())
    fleet.set_cordoned("id-0", True)
    assert place_on(fleet, AGENT, ("id-0",)) == Chosen("id-0")


def test_of_a_cluster_only_its_sum_counts_so_that_nothing_is_promised_twice() -> None:
    fleet = clusters(machine(cpu=1000))
    assert place_on(fleet, SEA, ("id-0", "n")) == Chosen("id-0"), "its labels are its nodes' business"
    fleet.reserve("a", "id-0", Resources(cpu=600))
    assert place_on(fleet, AGENT, ("id-0", "n")) == NoFit("c0, which it belongs on, has no room left in all")
