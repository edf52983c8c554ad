"""Choosing a child: never one that cannot, always one when there is one, and always with words when there is none."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Port, Preference, Specification
from mangrove.placement import engine
from mangrove.placement.engine import fits_instead, judge, place, place_many
from mangrove.placement.fleet import Fleet
from mangrove.placement.request import kinds_of
from mangrove.placement.scorers import preferences_in
from tests.unit.placement.fleets import (
    Children,
    clusters,
    feasible,
    fleet_of,
    fleets,
    machine,
    nodes,
    preferences,
    specifications,
)


@settings(deadline=None, max_examples=600)
@given(
    st.sampled_from(["node", "cluster"]),
    fleets,
    specifications,
    preferences,
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 4)),
)
def test_never_one_that_cannot_and_always_one_that_can(
    noun: str,
    children: Children,
    specification: Specification,
    wanted: tuple[Preference, ...],
    avoided: set[int],
    refusing: set[int],
) -> None:
    specification = msgspec.structs.replace(specification, preferences=wanted)
    fleet = fleet_of(noun, children)
    avoid = frozenset(f"id-{number}" for number in avoided)
    refused = {f"id-{number}": Refusal("r", "not today") for number in refusing}
    possible = {
        row.id
        for row, (_, _, _, there) in zip(fleet.rows.values(), children, strict=True)
        if feasible(fleet, specification, row, there) and row.id not in avoid and row.id not in refused
    }
    answer = place(fleet, specification, avoid=avoid, refused=refused)
    told = judge(fleet, specification, avoid=avoid, refused=refused)
    assert told.passed == len(possible)
    assert told.passed + sum(clause.ruled_out for clause in told.clauses) + len(
        {id for id, row in fleet.rows.items() if id in avoid and row.live and not row.cordoned}
    ) == len(fleet.rows)
    if isinstance(answer, Chosen):
        assert answer.child in possible
        assert told.best[0][0] == answer.child
    else:
        assert possible == set()
        assert answer.reason
        assert "Resources(" not in answer.reason, "it is for a person"
    assert place(fleet, specification, avoid=avoid, refused=refused) == answer, "it decides nothing by chance"


@settings(deadline=None)
@given(fleets.filter(bool), st.lists(specifications, max_size=12), st.randoms())
def test_what_is_given_away_never_exceeds_what_is_there_and_comes_back_whole(
    children: Children, wanted: list[Specification], dice: random.Random
) -> None:
    fleet = fleet_of("node", [(capacity, live, cordoned, []) for capacity, live, cordoned, _ in children])
    given_away: list[str] = []
    for number, specification in enumerate(wanted):
        answer = place(fleet, specification)
        if isinstance(answer, Chosen):
            fleet.reserve(f"a{number}", answer.child, specification.resources, kinds_of(specification))
            given_away.append(f"a{number}")
        for row in fleet.rows.values():
            assert row.reserved.fits_in(row.capacity.allocatable)
    dice.shuffle(given_away)
    for attempt in given_away:
        fleet.release(attempt)
    assert all((row.reserved, row.attempts) == (Resources(), 0) for row in fleet.rows.values())
    table = fleet.table
    assert all((table.free[key] == table.whole[key]).all() for key in table.whole)
    assert not any(table.tallies.of(kind).any() for one in wanted for kind in kinds_of(one))
    assert fleet.reservations == {}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["node", "cluster"]),
    fleets,
    specifications,
    preferences,
    st.integers(1, 40),
    st.sampled_from([1, 3, 7, 1 << 17]),
)
def test_many_in_one_pass_go_where_one_by_one_would(
    noun: str,
    children: Children,
    specification: Specification,
    wanted: tuple[Preference, ...],
    count: int,
    block: int,
) -> None:
    specification = msgspec.structs.replace(specification, preferences=wanted)
    fleet = fleet_of(noun, children)
    before, engine._BLOCK = engine._BLOCK, block
    try:
        together = place_many(fleet, specification, count)
    finally:
        engine._BLOCK = before
    assert place_many(fleet, specification, count) == together
    alone = []
    for number in range(count):
        answer = place(fleet, specification)
        if isinstance(answer, NoFit):
            break
        alone.append(answer.child)
        fleet.reserve(f"a{number}", answer.child, specification.resources, kinds_of(specification))
    assert together == alone


#: Children that all can take something, of few sizes, so that ties and lanes of different lengths are frequent: CPU,
#: memory, zone, nodes, and what is on them already.
alike = st.lists(
    st.tuples(
        st.integers(2, 9), st.integers(2, 9), st.sampled_from("ab"), st.sampled_from([1, 1, 2, 3]), st.integers(0, 2)
    ),
    min_size=2,
    max_size=6,
)
#: What each further instance makes harder, apart from amounts.
limits = st.sampled_from(
    [
        {},
        {},
        {"ports": (Port(80, 80),)},
        {"constraints": (Constraint("per_node", threshold=2.0),)},
        {"ports": (Port(80, 80), Port(81, 81)), "constraints": (Constraint("per_node", threshold=1.0),)},
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["node", "cluster"]),
    alike,
    st.integers(0, 2),
    limits,
    preferences,
    st.integers(1, 30),
    st.sampled_from([1, 2, 3, 5, 8, 13, 1 << 17]),
)
def test_many_among_children_that_all_can_take_some(
    noun: str,
    sizes: list[tuple[int, int, str, int, int]],
    memory: int,
    limited: dict[str, Any],
    wanted: tuple[Preference, ...],
    count: int,
    block: int,
) -> None:
    there = [[Specification("other", resources=Resources(cpu=1), ports=(Port(81, 81),))] * held for *_, held in sizes]
    machines = [machine(cpu=cpu, memory=ram, labels={"zone": zone}, nodes=many) for cpu, ram, zone, many, _ in sizes]
    fleet = fleet_of(noun, [(one, True, False, held) for one, held in zip(machines, there, strict=True)])
    specification = Specification("web", resources=Resources(cpu=1, memory=memory), preferences=wanted, **limited)
    with patch.object(engine, "_BLOCK", block):
        together = place_many(fleet, specification, count)
    alone = list[str]()
    while len(alone) < count and isinstance(answer := place(fleet, specification), Chosen):
        fleet.reserve(f"a{len(alone)}", answer.child, specification.resources, kinds_of(specification))
        alone.append(answer.child)
    assert together == alone


@pytest.mark.parametrize("block", [1, 3, 1 << 17])
@pytest.mark.parametrize("preference", ["best_fit", "spread", "spread:zone"])
def test_limits_of_one_node_hold_for_each_node_of_a_cluster(preference: str, block: int) -> None:
    wanted = preferences_in(preference)
    fleet = clusters(machine(nodes=3, labels={"zone": "a"}), machine(labels={"zone": "b"}))
    with patch.object(engine, "_BLOCK", block):
        two_each = place_many(fleet, web(constraints=(Constraint("per_node", threshold=2.0),), preferences=wanted), 99)
        one_port_each = place_many(fleet, web(ports=(Port(80, 80),), preferences=wanted), 99)
    assert Counter(two_each) == {"id-0": 6, "id-1": 2}
    assert Counter(one_port_each) == {"id-0": 3, "id-1": 1}


@pytest.mark.parametrize("block", [1, 2, 3, 4, 1 << 17])
def test_of_equal_children_the_first_is_taken_wherever_a_block_ends(block: int) -> None:
    """A score that does not change with what a child is given: the order is by the crowd alone, then by row."""
    fleet = nodes(*[machine(labels={"zone": "a"}) for _ in range(5)])
    wanted = web(preferences=(Preference("labels", key="zone", names=("a",)),))
    with patch.object(engine, "_BLOCK", block):
        assert place_many(fleet, wanted, 12) == [f"id-{number % 5}" for number in range(12)]


# -- the words


def reason(fleet: Fleet, specification: Specification, **options: Any) -> str:
    answer = place(fleet, specification, **options)
    assert isinstance(answer, NoFit)
    return answer.reason


def web(**more: Any) -> Specification:
    return Specification("web", **more)


def test_without_children_nobody_has_joined() -> None:
    assert reason(Fleet("node"), web()) == "no node has joined yet"
    assert reason(Fleet("cluster"), web()) == "no cluster has joined yet"


def test_too_small_is_told_with_the_best_there_is() -> None:
    fleet = nodes(machine(memory=1024), machine(memory=2048), machine(memory=512))
    assert reason(fleet, web(resources=Resources(memory=4096))) == (
        "needs 4096 MiB memory: 3 nodes too small or too full (best has 2048 MiB memory free)"
    )


def test_too_full_counts_what_is_promised() -> None:
    fleet = nodes(machine(cpu=2000))
    fleet.reserve("a", "id-0", Resources(cpu=1500))
    assert reason(fleet, web(resources=Resources(cpu=1000))) == (
        "needs 1 CPU core: 1 node too small or too full (best has 0.5 CPU cores free)"
    )


def test_a_child_that_promised_too_much_has_nothing_free() -> None:
    fleet = nodes(machine(cpu=2000))
    fleet.reserve("a", "id-0", Resources(cpu=3000))
    assert "(best has 0 CPU cores free)" in reason(fleet, web(resources=Resources(cpu=100)))


def test_each_thing_that_is_missing_has_its_clause() -> None:
    fleet = nodes(
        machine(runtimes=("process",)),
        machine(architectures=("arm64",)),
        machine(architectures=("arm64",)),
        machine(cpu=1),
    )
    fleet.add("gone", "away")
    wanted = web(architectures=("amd64",), resources=Resources(cpu=2500, gpus=1))
    assert reason(fleet, wanted) == (
        "1 of 5 nodes not connected; needs runtime docker: 1 node without it; needs amd64: 2 nodes arm64; "
        "needs 2.5 CPU cores: 1 node too small or too full (best has 0.001 CPU cores free); "
        "needs 1 GPU: 1 node too small or too full (best has 0 GPUs free)"
    )


def test_all_is_there_but_never_together() -> None:
    rooms = (Resources(cpu=4000, memory=100), Resources(cpu=100, memory=4000))
    fleet = clusters(machine(cpu=8000, memory=8000, largest=rooms))
    assert reason(fleet, web(resources=Resources(cpu=2000, memory=2000))) == (
        "no single node of 1 cluster has all of it free"
    )


def test_named_children_are_named() -> None:
    wanted = web(constraints=(Constraint("direct", cluster="c7", node="n9;n8"),))
    assert reason(nodes(machine(), machine()), wanted) == "needs node n8/n9: not n0, n1"
    one = clusters(machine())
    assert reason(one, wanted) == "needs cluster c7: not c0"


def test_a_wish_for_a_node_says_nothing_about_clusters() -> None:
    wanted = web(constraints=(Constraint("direct", node="n9"),))
    assert place(clusters(machine()), wanted) == Chosen("id-0")


def test_who_refused_says_why() -> None:
    fleet = nodes(machine(), machine())
    refused = {"id-0": Refusal("r", "port 80 is taken"), "id-1": Refusal("r", "no image")}
    assert reason(fleet, web(), refused=refused) == "refused by n0: port 80 is taken; refused by n1: no image"


def test_nobody_else_is_an_answer_too() -> None:
    assert reason(nodes(machine()), web(), avoid=frozenset({"id-0"})) == "no other node"


def test_many_that_refuse_or_do_not_match_make_no_long_story() -> None:
    fleet = nodes(*[machine() for _ in range(200)])
    refused = {f"id-{number}": Refusal("r", "no") for number in range(100)}
    wanted = web(constraints=(Constraint("direct", node="elsewhere"),))
    assert len(reason(fleet, wanted, refused=refused)) < 400


# -- which of those that can


def test_what_is_in_use_is_filled_first() -> None:
    fleet = nodes(machine(), machine(), machine())
    fleet.reserve("a", "id-1", Resources(cpu=1000, memory=1000))
    assert place(fleet, web(resources=Resources(cpu=500, memory=500))) == Chosen("id-1")


def test_what_asks_for_nothing_is_spread() -> None:
    fleet = nodes(machine(), machine(), machine())
    for number in range(6):
        answer = place(fleet, web())
        assert isinstance(answer, Chosen)
        fleet.reserve(f"a{number}", answer.child, Resources())
    assert [row.attempts for row in fleet.rows.values()] == [2, 2, 2]


# -- in the place of another


def test_the_place_of_another_counts_as_room_and_nothing_is_changed_by_asking() -> None:
    fleet = Fleet("node")
    fleet.add("a", "a")
    fleet.update("a", Capacity(Resources(cpu=1000), runtimes=("docker",), architectures=("amd64",)))
    fleet.set_live("a", True)
    web = Specification("web", resources=Resources(cpu=600), ports=(Port(80, 80),))
    fleet.reserve("old", "a", web.resources, kinds_of(web))
    newer = msgspec.structs.replace(web, image="newer")
    before = place(fleet, newer)
    assert isinstance(before, NoFit)
    assert fits_instead(fleet, newer, "old"), "its port and its CPU come free"
    assert not fits_instead(fleet, msgspec.structs.replace(newer, resources=Resources(cpu=1001)), "old")
    assert not fits_instead(fleet, msgspec.structs.replace(newer, architectures=("arm64",)), "old")
    assert not fits_instead(fleet, newer, "unknown")
    assert place(fleet, newer) == before
    fleet.set_live("a", False)
    assert not fits_instead(fleet, newer, "old")


def test_the_largest_node_gains_what_comes_free() -> None:
    fleet = Fleet("cluster")
    fleet.add("a", "a")
    largest = (Resources(cpu=400), Resources(cpu=100))
    fleet.update("a", Capacity(Resources(cpu=8000), largest=largest, nodes=8, runtimes=("docker",)))
    fleet.set_live("a", True)
    fleet.reserve("old", "a", Resources(cpu=600))
    assert fits_instead(fleet, Specification("web", resources=Resources(cpu=1000)), "old")
    assert not fits_instead(fleet, Specification("web", resources=Resources(cpu=1001)), "old")


def test_places_of_attempts_are_compared_as_if_they_were_not_there() -> None:
    fleet = nodes(machine(cpu=1000), machine(cpu=4000))
    web = Specification("web", runtime="docker", resources=Resources(cpu=1000), preferences=(Preference("spread"),))
    ids = list(fleet.rows)
    for attempt, child in (("a", ids[0]), ("b", ids[1])):
        fleet.reserve(attempt, child, web.resources, kinds_of(web))
    before = (fleet.rows[ids[0]].free, fleet.rows[ids[1]].free)
    first, second = engine.scores_of(fleet, web, ("a", "b"))
    assert first == second == engine.scores_of(fleet, web, ("a",))[0]
    assert (fleet.rows[ids[0]].free, fleet.rows[ids[1]].free) == before
    fleet.set_live(ids[0], False)
    assert engine.scores_of(fleet, web, ("a", "b"))[0] == float("-inf")


NEAR_DB = Specification("web", constraints=(Constraint("latency", names=("db",), threshold=12.0),))
DB = Specification("db")


def test_near_another_service_is_on_its_node_or_both_near_to_the_cluster() -> None:
    fleet = nodes(*(machine(round_trip=ms) for ms in (50.0, 5.0, 10.0, 5.0)), machine())
    waits = place(fleet, NEAR_DB)
    assert waits == NoFit("needs at most 12 ms to db, which is not here yet: 5 nodes slower or not measured")
    before = fleet.changed
    fleet.reserve("db", "id-0", Resources(), kinds_of(DB))
    assert fleet.changed > before, "who waits for it hears of it"
    assert judge(fleet, NEAR_DB).best == (("id-0", 0.0),), "slow to the cluster, and beside it"
    fleet.reserve("db", "id-1", Resources(), kinds_of(DB))
    judged = judge(fleet, NEAR_DB, shown=9)
    assert {id for id, _ in judged.best} == {"id-1", "id-3"}
    assert judged.reason.endswith("to db: 3 nodes slower or not measured (best is 15 ms)")
    before = fleet.changed
    fleet.reserve("other", "id-1", Resources(), kinds_of(Specification("other")))
    assert fleet.changed == before


def test_near_another_service_is_in_a_cluster_that_has_it() -> None:
    fleet = clusters(machine(round_trip=5.0), machine(round_trip=5.0))
    assert isinstance(place(fleet, NEAR_DB), NoFit)
    fleet.reserve("db", "id-1", Resources(), kinds_of(DB))
    assert place(fleet, NEAR_DB) == Chosen("id-1")
