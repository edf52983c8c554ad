"""Fleets and specifications for the tests of placement, and the plainest judgement of what is possible."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mangrove.model.child import Capacity
from mangrove.model.position import Position, kilometres
from mangrove.model.resources import Counted, Resources, counted
from mangrove.model.specification import Constraint, Port, Preference, Specification
from mangrove.placement.filters.where import MS_PER_KM
from mangrove.placement.fleet import Fleet, Row
from mangrove.placement.request import kinds_of

PLACES = [Position(48.1, 11.5), Position(48.2, 11.6, 5000), Position(52.5, 13.4), Position(-33.9, 151.2)]

tpus = st.integers(0, 3).map(lambda count: counted({"tpu": count}))
amounts = st.builds(
    Resources,
    cpu=st.integers(0, 4) | st.integers(0, 4000),
    memory=st.integers(0, 4) | st.integers(0, 4096),
    gpus=st.integers(0, 2),
    counted=tpus,
)
labels = st.dictionaries(st.sampled_from(["zone", "area", "cores"]), st.sampled_from(["a", "b", "4", "16"]))


def some(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(names)).map(lambda found: tuple(sorted(found)))


capacities = st.builds(
    Capacity,
    allocatable=amounts,
    largest=st.lists(amounts, max_size=3).map(tuple),
    nodes=st.sampled_from([1, 1, 2, 3]),
    architectures=some("amd64", "arm64"),
    operating_systems=some("linux"),
    runtimes=some("docker", "process"),
    addons=some("camera", "audio"),
    taints=some("gpu", "owner=me"),
    labels=labels,
    position=st.none() | st.sampled_from(PLACES),
    round_trip=st.sampled_from([0.0, 1.0, 20.0]),
)
positions = st.sampled_from(PLACES)
wishes = st.one_of(
    st.just(Constraint("direct", cluster="c0;c1", node="n0 ; n2")),
    st.builds(Constraint, st.just("clusters"), names=some("c0", "c1", "c2").filter(bool)),
    st.builds(Constraint, st.just("addons"), names=some("camera", "audio").filter(bool)),
    st.builds(Constraint, st.just("tolerates"), key=st.just("gpu")),
    st.builds(Constraint, st.just("tolerates"), key=st.just("owner"), names=some("me", "you")),
    st.builds(Constraint, st.just("per_node"), threshold=st.integers(1, 3).map(float)),
    st.builds(
        Constraint,
        st.just("label"),
        key=st.sampled_from(["zone", "cores"]),
        operator=st.sampled_from(["in", "not_in", "exists", "not_exists", "lt", "le", "gt", "ge"]),
        names=st.sampled_from([("a",), ("4",), ("a", "16")]),
    ),
    st.builds(Constraint, st.just("geo"), position=positions, threshold=st.sampled_from([1.0, 30.0, 1000.0])),
    st.builds(Constraint, st.just("geo"), key=st.sampled_from("ab")),
    st.builds(Constraint, st.just("latency"), position=positions, threshold=st.sampled_from([0.1, 15.0, 400.0])),
    st.builds(Constraint, st.just("latency"), key=st.sampled_from("ab"), threshold=st.sampled_from([0.1, 15.0])),
    st.builds(Constraint, st.just("latency"), threshold=st.sampled_from([0.1, 15.0])),
)
ports = st.lists(st.sampled_from([Port(80, 80), Port(80, 80, "udp"), Port(81, 80)]), max_size=2, unique=True)
specifications = st.builds(
    Specification,
    name=st.sampled_from(["web", "sensor"]),
    runtime=st.sampled_from(["docker", "process"]),
    resources=amounts,
    architectures=st.sampled_from([(), ("arm64",), ("amd64", "arm64")]),
    operating_systems=st.sampled_from([(), (), ("linux",)]),
    ports=ports.map(tuple),
    constraints=st.lists(wishes, max_size=2).map(tuple),
)
#: What is on a child: attempts of these specifications.
held = st.lists(specifications, max_size=3)
#: For each child: what it can allocate, whether it is live, whether it is cordoned, and what is on it.
fleets = st.lists(st.tuples(capacities, st.booleans(), st.booleans(), held), max_size=5)
Children = list[tuple[Capacity, bool, bool, list[Specification]]]

preferences = st.lists(
    st.one_of(
        st.sampled_from(["best_fit", "balanced", "lowest_load", "spread", "image", "rom", "ldp", "unheard_of"]).map(
            Preference
        ),
        st.builds(
            Preference, st.just("spread"), weight=st.sampled_from([0.5, 2.0]), key=st.sampled_from(["cluster", "zone"])
        ),
        st.builds(Preference, st.sampled_from(["affinity", "anti_affinity"]), names=some("web", "sensor")),
        st.builds(Preference, st.just("labels"), key=st.just("zone"), names=some("a", "b")),
        st.builds(Preference, st.just("nearest"), position=st.none() | positions),
    ),
    max_size=3,
).map(tuple)


def fleet_of(noun: str, children: Children) -> Fleet:
    fleet = Fleet(noun)
    for number, (capacity, live, cordoned, there) in enumerate(children):
        id = f"id-{number}"
        fleet.add(id, f"{noun[0]}{number}")
        fleet.update(id, capacity)
        fleet.set_live(id, live)
        fleet.set_cordoned(id, cordoned)
        for count, one in enumerate(there):
            fleet.reserve(f"{id}-{count}", id, one.resources, kinds_of(one))
    return fleet


def feasible(fleet: Fleet, specification: Specification, row: Row, there: list[Specification]) -> bool:
    """Whether a child can take one more, in the plainest words. there: what is on it."""
    said, noun = row.capacity, fleet.noun
    free = said.allocatable - sum((one.resources for one in there), Resources())
    needs = specification.resources
    taken = {(port.host, port.protocol): 0 for port in specification.ports}
    for one in there:
        for port in one.ports:
            if (port.host, port.protocol) in taken:
                taken[port.host, port.protocol] += 1
    return (
        row.live
        and not row.cordoned
        and specification.runtime in said.runtimes
        and (not specification.architectures or bool(set(specification.architectures) & set(said.architectures)))
        and set(specification.operating_systems) <= set(said.operating_systems)
        and all(_tolerated(taint, specification.constraints) for taint in said.taints)
        and all(_met(wish, noun, row, specification, there) for wish in specification.constraints)
        and all(count < said.nodes for count in taken.values())
        and _fits(needs, free)
        and (not said.largest or any(_fits(needs, room) for room in said.largest))
    )


def _fits(needs: Resources, room: Resources) -> bool:
    return all(
        getattr(needs, name) == 0 or getattr(needs, name) <= getattr(room, name)
        for name in ("cpu", "memory", "disk", "gpus", "vram")
    ) and all(one.count <= room.count(one.name) for one in needs.counted)


def _tolerated(taint: str, wishes: tuple[Constraint, ...]) -> bool:
    key, _, value = taint.partition("=")
    return any(
        wish.type == "tolerates" and wish.key == key and (wish.names == () or value in wish.names) for wish in wishes
    )


def _met(wish: Constraint, noun: str, row: Row, specification: Specification, there: list[Specification]) -> bool:
    said = row.capacity
    if wish.type == "direct":
        return row.name in ("c0", "c1", "n0", "n2")
    if wish.type == "clusters":
        return noun == "node" or row.name in wish.names
    if wish.type == "addons":
        return set(wish.names) <= set(said.addons)
    if wish.type == "per_node":
        return sum(one.name == specification.name for one in there) < wish.threshold * said.nodes
    if wish.type == "label":
        return _label_met(wish, said.labels.get(wish.key))
    if wish.type == "geo" and wish.position is None:
        return said.labels.get("area") == wish.key
    if wish.type == "geo":
        return said.position is not None and _far(said.position, wish.position) <= wish.threshold
    if wish.type == "latency":
        access = 0.0 if noun == "cluster" else said.round_trip or float("nan")
        if wish.position is not None:
            return said.position is not None and (
                access + MS_PER_KM * _far(said.position, wish.position) <= wish.threshold
            )
        if wish.key:
            return said.labels.get("area") == wish.key and access <= wish.threshold
        return noun == "cluster" or access <= wish.threshold
    return True


def _far(one: Position, other: Position | None) -> float:
    assert other is not None
    return max(0.0, kilometres(one, other) - one.radius / 1000 - other.radius / 1000)


def _label_met(wish: Constraint, value: str | None) -> bool:
    if wish.operator == "in":
        return value in wish.names
    if wish.operator == "not_in":
        return value not in wish.names
    if wish.operator == "exists":
        return value is not None
    if wish.operator == "not_exists":
        return value is None
    if value is None or not value.isdigit() or not wish.names[0].isdigit():
        return False
    here, limit = int(value), int(wish.names[0])
    return {"lt": here < limit, "le": here <= limit, "gt": here > limit, "ge": here >= limit}[wish.operator]


def machine(cpu: int = 4000, memory: int = 4096, tpu: int = 0, **more: Any) -> Capacity:
    """A plain machine; `more` is what else it says."""
    options: dict[str, Any] = {"architectures": ("amd64",), "runtimes": ("docker",), **more}
    extra = (Counted("tpu", tpu),) if tpu else ()
    return Capacity(Resources(cpu=cpu, memory=memory, counted=extra), **options)


def nodes(*capacities: Capacity) -> Fleet:
    """A fleet of live nodes n0, n1, …"""
    return fleet_of("node", [(capacity, True, False, []) for capacity in capacities])


def clusters(*capacities: Capacity) -> Fleet:
    """A fleet of live clusters c0, c1, …"""
    return fleet_of("cluster", [(capacity, True, False, []) for capacity in capacities])
