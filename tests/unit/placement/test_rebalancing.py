"""Moves that make it better, fit, come to an end, and are none when there is nothing to gain."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.choice import Chosen
from mangrove.model.resources import Resources
from mangrove.model.specification import Preference, Specification
from mangrove.placement.engine import place, scores_of
from mangrove.placement.fleet import Fleet
from mangrove.placement.rebalancing import GAIN, rebalance
from mangrove.placement.request import kinds_of
from tests.unit.placement.fleets import clusters, machine, nodes, preferences

WEB = Specification("a.b.web.b", resources=Resources(cpu=1000), preferences=(Preference("spread"),))


def put(fleet: Fleet, child: str, *held: str, specification: Specification = WEB) -> None:
    for attempt in held:
        fleet.reserve(attempt, child, specification.resources, kinds_of(specification), 0)


def test_what_is_crowded_spreads_and_then_rests() -> None:
    fleet = nodes(machine(), machine())
    put(fleet, "id-0", "a", "b", "c", "d")
    there = dict.fromkeys("abcd", WEB)
    moves = rebalance(fleet.snapshot(), there, most=9)
    assert [(move.source, move.target) for move in moves] == [("id-0", "id-1")] * 2, "no more than half of them"
    assert len(rebalance(fleet.snapshot(), there, most=1)) == 1
    for move in moves:
        put(fleet, move.target, move.attempt)
    assert rebalance(fleet, there, most=9) == []


def test_what_gains_too_little_stays() -> None:
    fleet = nodes(machine(cpu=9000), machine(cpu=9000))
    put(fleet, "id-0", *"abcdefg")
    put(fleet, "id-1", *"ABCDE")
    assert rebalance(fleet.snapshot(), dict.fromkeys("abcdefgABCDE", WEB), most=9) == []
    assert rebalance(fleet, dict.fromkeys("abcdefgABCDE", WEB), most=9, gain=0.01) != []


def test_what_may_not_be_moved_stays_and_what_has_no_room_too() -> None:
    fleet = nodes(machine(), machine(cpu=500))
    put(fleet, "id-0", "a", "b")
    there = dict.fromkeys("ab", WEB)
    assert rebalance(fleet.snapshot(), there, most=9) == []
    fleet.update("id-1", machine())
    assert [move.attempt for move in rebalance(fleet.snapshot(), {"b": WEB}, most=9)] == ["b"]


def test_what_fills_a_cluster_stays_there_though_it_tells_of_no_room() -> None:
    packed = msgspec.structs.replace(WEB, preferences=(Preference("best_fit"),))
    empty = machine(nodes=2, largest=(Resources(cpu=2000, memory=2048),))
    fleet = clusters(machine(nodes=2, largest=(Resources(memory=2048),)), empty)
    for attempt in "abcd":
        put(fleet, "id-0", attempt, specification=packed)
    assert rebalance(fleet.snapshot(), dict.fromkeys("abcd", packed), most=9) == []
    spread = msgspec.structs.replace(WEB, preferences=(Preference("spread", key="cluster"),))
    assert len(rebalance(fleet, dict.fromkeys("abcd", spread), most=9)) == 2


requests = st.builds(
    Specification,
    name=st.sampled_from(["web", "db"]),
    resources=st.builds(Resources, cpu=st.integers(0, 2), memory=st.integers(1, 3)),
    preferences=preferences,
)
#: Of each node, what it has, and what is on it.
loaded = st.lists(
    st.tuples(st.builds(Resources, cpu=st.integers(4, 9), memory=st.integers(6, 12)), st.lists(requests, max_size=4)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(loaded, st.integers(1, 5))
def test_moves_are_possible_gain_and_end(children: list[tuple[Resources, list[Specification]]], most: int) -> None:
    fleet = nodes(*[Capacity(room, architectures=("amd64",), runtimes=("docker",)) for room, _ in children])
    there: dict[str, Specification] = {}
    for number, (_, held) in enumerate(children):
        for count, one in enumerate(held):
            there[f"{number}.{count}"] = one
            put(fleet, f"id-{number}", f"{number}.{count}", specification=one)
    rounds = 0
    while moves := rebalance(fleet.snapshot(), there, most):
        rounds += 1
        assert rounds < 50
        assert len({move.attempt for move in moves}) == len(moves) <= most
        for move in moves:
            one = there[move.attempt]
            assert fleet.reservation(move.attempt)[0] == move.source
            assert place(fleet, one, avoid=[id for id in fleet.rows if id != move.target]) == Chosen(move.target)
            [before] = scores_of(fleet, one, [move.attempt], fits=True)
            put(fleet, move.target, move.attempt, specification=one)
            [after] = scores_of(fleet, one, [move.attempt], fits=True)
            assert after - before == move.gain >= GAIN
