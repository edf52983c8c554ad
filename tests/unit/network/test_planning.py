"""What children are told change by change is what follows from how things are."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.model.network import ServiceAddress
from mangrove.network.plan import Endpoint, Grant, Peer, PlanEntry, ServiceEntry, id_of
from mangrove.network.planning import Changes, Planner

CHILDREN, SERVICES, NODES, ATTEMPTS = "AB", "stuv", "xyz", "1234"


def service(id: str, group: str = "g", reaches: tuple[str, ...] = ()) -> ServiceEntry:
    return ServiceEntry(id, id, "ns", f"app {group}", "app", "ns", group, (ServiceAddress("10.30.0.1"),), reaches)


class Told:
    """Children that are told by a planner, and what they should have been told, by all that is the case."""

    def __init__(self) -> None:
        self.planner = Planner(lambda child, peer: peer)
        self.plans: dict[str, dict[str, PlanEntry]] = {child: {} for child in CHILDREN}
        self.part: set[str] = set()
        self.residents: dict[tuple[str, str], int] = {}
        self.services: dict[str, ServiceEntry] = {}
        self.endpoints: dict[str, tuple[Endpoint, str]] = {}
        self.peers: dict[str, tuple[Peer, str]] = {}

    def hear(self) -> Changes:
        changes = self.planner.take()
        for child, (put, remove) in changes.items():
            assert not put.keys() & remove
            self.plans[child].update(put)
            for id in remove:
                self.plans[child].pop(id, None)
        return changes

    def expected(self, child: str) -> dict[str, PlanEntry]:
        if child not in self.part:
            return {}
        here = {name for (where, name), count in self.residents.items() if where == child and count > 0}
        interest = set(here)
        for one in here:
            for other in SERVICES:
                mine, its = self.services.get(one), self.services.get(other)
                if (mine is not None and (other in mine.reaches or (its is not None and its.group == mine.group))) or (
                    its is not None and one in its.reaches
                ):
                    interest.add(other)
        entries: list[PlanEntry] = [self.services[name] for name in interest if name in self.services]
        foreign = [e for e, where in self.endpoints.values() if where != child and e.service in interest]
        entries += foreign
        entries += [self.peers[node][0] for node in {e.node for e in foreign} if node in self.peers]
        return {id_of(entry): entry for entry in entries}

    def check(self) -> None:
        self.hear()
        for child in CHILDREN:
            assert self.plans[child] == self.expected(child)

    # -- what may happen

    def take_part(self, child: str, part: bool) -> None:
        (self.part.add if part else self.part.discard)(child)
        self.planner.takes_part(child, part)

    def reside(self, child: str, name: str, count: int) -> None:
        count = max(count, -self.residents.get((child, name), 0))
        if count:
            self.residents[child, name] = self.residents.get((child, name), 0) + count
            self.planner.resident(child, name, count)

    def declare(self, id: str, entry: ServiceEntry | None) -> None:
        if entry is None:
            self.services.pop(id, None)
        else:
            self.services[id] = entry
        self.planner.service(id, entry)

    def reach(self, attempt: str, endpoint: Endpoint | None, child: str = "") -> None:
        if endpoint is None:
            self.endpoints.pop(attempt, None)
        else:
            self.endpoints[attempt] = endpoint, child
        self.planner.endpoint(attempt, endpoint, child)

    def stand(self, node: str, peer: Peer | None, child: str = "") -> None:
        if peer is None:
            self.peers.pop(node, None)
        else:
            self.peers[node] = peer, child
        self.planner.peer(node, peer, child)


def one_pair() -> Told:
    """Two children with an instance each of services of one group."""
    told = Told()
    for child, name, attempt, node in (("A", "s", "1", "x"), ("B", "t", "2", "y")):
        told.take_part(child, True)
        told.reside(child, name, 1)
        told.declare(name, service(name))
        told.stand(node, Peer(node), child)
        told.reach(attempt, Endpoint(attempt, name, 0, node, "10.18.0.2"), child)
    return told


def test_who_may_talk_to_each_other_is_told_of_each_other() -> None:
    told = one_pair()
    told.check()
    assert told.plans["A"].keys() == {"service/s", "service/t", "endpoint/2", "peer/y"}
    assert told.plans["B"].keys() == {"service/s", "service/t", "endpoint/1", "peer/x"}


def test_who_may_not_is_told_nothing() -> None:
    told = one_pair()
    told.declare("t", service("t", "other"))
    told.check()
    assert told.plans["A"].keys() == {"service/s"}
    assert told.plans["B"].keys() == {"service/t"}


def test_a_declared_connection_is_known_at_both_ends() -> None:
    told = one_pair()
    told.declare("t", service("t", "other", ("s",)))
    told.check()
    assert told.plans["A"].keys() == {"service/s", "service/t", "endpoint/2", "peer/y"}
    assert told.plans["B"].keys() == {"service/s", "service/t", "endpoint/1", "peer/x"}


def test_what_changes_at_one_instance_is_told_alone() -> None:
    told = one_pair()
    told.hear()
    told.reach("2", Endpoint("2", "t", 0, "y", "10.18.0.2", state="stopping"), "B")
    assert told.hear() == {"A": ({"endpoint/2": told.endpoints["2"][0]}, set())}


def test_what_a_child_has_of_its_own_is_told_beside() -> None:
    told = one_pair()
    told.hear()
    told.planner.tell("A", [Grant("10.18.0.0/26")])
    assert told.hear() == {"A": ({"grant/10.18.0.0/26": Grant("10.18.0.0/26")}, set())}
    told.planner.tell("A", [], ["grant/10.18.0.0/26"])
    assert told.hear() == {"A": ({}, {"grant/10.18.0.0/26"})}


def test_who_is_forgotten_is_told_nothing_more() -> None:
    told = one_pair()
    told.planner.forget("A")
    told.reach("2", None)
    assert "A" not in told.planner.take()


children, services = st.sampled_from(CHILDREN), st.sampled_from(SERVICES)
homes = st.sampled_from(["", *CHILDREN])
entries = st.builds(
    lambda id, group, reaches: (id, service(id, group, tuple(sorted(set(reaches) - {id})))),
    services,
    st.sampled_from("gh"),
    st.lists(services, max_size=2),
)
endpoints = st.builds(
    lambda attempt, name, node, state: Endpoint(attempt, name, 0, node, "10.18.0.2", state=state),
    st.sampled_from(ATTEMPTS),
    services,
    st.sampled_from(NODES),
    st.sampled_from(["ready", "doubtful", "stopping"]),
)
happenings: st.SearchStrategy[tuple[str, tuple[Any, ...]]] = st.one_of(
    st.tuples(st.just("take_part"), st.tuples(children, st.booleans())),
    st.tuples(st.just("reside"), st.tuples(children, services, st.integers(-2, 2))),
    st.tuples(st.just("declare"), entries),
    st.tuples(st.just("declare"), st.tuples(services, st.none())),
    st.tuples(st.just("reach"), st.tuples(endpoints, homes).map(lambda it: (it[0].attempt, *it))),
    st.tuples(st.just("reach"), st.tuples(st.sampled_from(ATTEMPTS), st.none())),
    st.tuples(
        st.just("stand"),
        st.tuples(st.sampled_from(NODES), st.integers(0, 1), homes).map(
            lambda it: (it[0], Peer(it[0], distance=it[1]), it[2])
        ),
    ),
    st.tuples(st.just("stand"), st.tuples(st.sampled_from(NODES), st.none())),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(happenings, st.booleans()), max_size=40))
def test_change_by_change_comes_to_the_same_as_all_at_once(happened: list[tuple[tuple[str, Any], bool]]) -> None:
    told = Told()
    for (what, about), heard in happened:
        getattr(told, what)(*about)
        if heard:
            told.check()
    told.check()
