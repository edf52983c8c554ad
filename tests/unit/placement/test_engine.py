"""Choosing a child: never one that cannot, always one when there is one, and always with words when there is none."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen, NoFit
from mangrove.model.documents import Refusal
from mangrove.model.resources import Resources
from mangrove.model.specification import Constraint, Specification
from mangrove.placement.engine import place
from mangrove.placement.fleet import Fleet, Row

amounts = st.builds(
    Resources,
    cpu=st.integers(0, 4) | st.integers(0, 4000),
    memory=st.integers(0, 4) | st.integers(0, 4096),
    gpus=st.integers(0, 2),
)
capacities = st.builds(
    Capacity,
    allocatable=amounts,
    largest=st.lists(amounts, max_size=3).map(tuple),
    architectures=st.sets(st.sampled_from(["amd64", "arm64"])).map(lambda names: tuple(sorted(names))),
    runtimes=st.sets(st.sampled_from(["docker", "process"])).map(lambda names: tuple(sorted(names))),
)
specifications = st.builds(
    Specification,
    name=st.just("web"),
    runtime=st.sampled_from(["docker", "process"]),
    resources=amounts,
    architectures=st.sampled_from([(), ("arm64",), ("amd64", "arm64")]),
    constraints=st.sampled_from([(), (Constraint("direct", cluster="c0;c1", node="n0 ; n2"),)]),
)
#: For each child: what it can allocate, whether it is live, and what is reserved on it.
fleets = st.lists(st.tuples(capacities, st.booleans(), st.lists(amounts, max_size=3)), max_size=5)


def fleet_of(noun: str, children: list[tuple[Capacity, bool, list[Resources]]]) -> Fleet:
    fleet = Fleet(noun)
    for number, (capacity, live, reserved) in enumerate(children):
        id = f"id-{number}"
        fleet.add(id, f"{noun[0]}{number}")
        fleet.update(id, capacity)
        fleet.set_live(id, live)
        for count, amount in enumerate(reserved):
            fleet.reserve(f"{id}-{count}", id, amount)
    return fleet


def feasible(specification: Specification, row: Row) -> bool:
    """The same judgement in the plainest words."""
    free, needs = row.free, specification.resources
    fields = ("cpu", "memory", "disk", "gpus", "vram")
    rooms = row.capacity.largest or (free,)
    return (
        row.live
        and specification.runtime in row.capacity.runtimes
        and (
            not specification.architectures or bool(set(specification.architectures) & set(row.capacity.architectures))
        )
        and (not specification.constraints or row.name in ("c0", "c1", "n0", "n2"))
        and all(getattr(needs, name) == 0 or getattr(needs, name) <= getattr(free, name) for name in fields)
        and any(
            all(getattr(needs, name) == 0 or getattr(needs, name) <= getattr(room, name) for name in fields)
            for room in rooms
        )
    )


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(["node", "cluster"]),
    fleets,
    specifications,
    st.sets(st.integers(0, 4)),
    st.sets(st.integers(0, 4)),
)
def test_never_one_that_cannot_and_always_one_that_can(
    noun: str,
    children: list[tuple[Capacity, bool, list[Resources]]],
    specification: Specification,
    avoided: set[int],
    refusing: set[int],
) -> None:
    fleet = fleet_of(noun, children)
    avoid = frozenset(f"id-{number}" for number in avoided)
    refused = {f"id-{number}": Refusal("r", "not today") for number in refusing}
    possible = {
        row.id
        for row in fleet.rows.values()
        if feasible(specification, row) and row.id not in avoid and row.id not in refused
    }
    answer = place(fleet, specification, avoid=avoid, refused=refused)
    if isinstance(answer, Chosen):
        assert answer.child in possible
    else:
        assert possible == set()
        assert answer.reason
        assert "Resources(" not in answer.reason, "it is for a person"
    assert place(fleet, specification, avoid=avoid, refused=refused) == answer, "it decides nothing by chance"


@settings(deadline=None)
@given(fleets.filter(bool), st.lists(specifications, max_size=12), st.randoms())
def test_what_is_given_away_never_exceeds_what_is_there_and_comes_back_whole(
    children: list[tuple[Capacity, bool, list[Resources]]], wanted: list[Specification], dice: random.Random
) -> None:
    fleet = fleet_of("node", [(capacity, live, []) for capacity, live, _ in children])
    given_away: list[str] = []
    for number, specification in enumerate(wanted):
        answer = place(fleet, specification)
        if isinstance(answer, Chosen):
            fleet.reserve(f"a{number}", answer.child, specification.resources)
            given_away.append(f"a{number}")
        for row in fleet.rows.values():
            assert row.reserved.fits_in(row.capacity.allocatable)
    dice.shuffle(given_away)
    for attempt in given_away:
        fleet.release(attempt)
    assert all((row.reserved, row.attempts) == (Resources(), 0) for row in fleet.rows.values())
    assert fleet.reservations == {}


# -- the words


def nodes(*capacities: Capacity) -> Fleet:
    return fleet_of("node", [(capacity, True, []) for capacity in capacities])


def machine(cpu: int = 4000, memory: int = 4096, **more: Any) -> Capacity:
    options: dict[str, Any] = {"architectures": ("amd64",), "runtimes": ("docker",), **more}
    return Capacity(Resources(cpu=cpu, memory=memory), **options)


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
    fleet = fleet_of("cluster", [(machine(cpu=8000, memory=8000, largest=rooms), True, [])])
    assert reason(fleet, web(resources=Resources(cpu=2000, memory=2000))) == (
        "no single node of 1 cluster has all of it free"
    )


def test_named_children_are_named() -> None:
    wanted = web(constraints=(Constraint("direct", cluster="c7", node="n9;n8"),))
    assert reason(nodes(machine(), machine()), wanted) == "needs node n8/n9: not n0, n1"
    clusters = fleet_of("cluster", [(machine(), True, [])])
    assert reason(clusters, wanted) == "needs cluster c7: not c0"


def test_a_wish_for_a_node_says_nothing_about_clusters() -> None:
    wanted = web(constraints=(Constraint("direct", node="n9"),))
    assert place(fleet_of("cluster", [(machine(), True, [])]), wanted) == Chosen("id-0")


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
