"""Lives with a system service: whatever goes wrong, in the end it has one instance on each node, and none was moved."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import msgspec
import pytest

from mangrove.identity.join import cordon_child, revoke_child
from mangrove.model.documents import NODES, SERVICES, SLOTS, Service, Slot
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from root_orchestrator.api.declared import DeclaredService
from tests.simulation.listening import quiet
from tests.simulation.processes import NodeProcess
from tests.simulation.test_draining import Operators
from tests.simulation.tree import Plan, Tree
from tests.simulation.users import _CALLER
from tests.simulation.world import SETTINGS, InvariantBroken

#: Small, so that there is always room for it.
AGENT = Specification("app.ns.agent.ns", runtime="simulated", resources=Resources(cpu=10, memory=1))
#: A few seconds on one core.
SEEDS = range(1, 4)


def declare(tree: Tree) -> str:
    """The service's id."""
    application = tree.users._application
    declared = DeclaredService("agent", "ns", AGENT, {}, mode="global")
    [service] = tree.users._desired.add_services(_CALLER, application, [declared])
    return service.id


def slots_of(tree: Tree, service: str) -> list[Slot]:
    return [stored.read(Slot) for stored in tree.root.true_store.query(SLOTS, "service", service)]


def lacks(tree: Tree, service: str) -> list[str]:
    """Nodes within reach on which there is not just one."""
    found = []
    for node in tree.within_reach():
        count = sum(node.slots[attempt][0] == service for attempt in node.runtime.running)
        if count != 1:
            found.append(f"{node.name} runs {count}")
    return found


def live(seed: int, *, drains: bool) -> tuple[Tree, str]:
    """One life; the tree at its end, and the service."""
    tree = Tree(seed, Plan(storm=100.0, instances=8) if drains else None)
    service: list[str] = []
    users_declare = tree.users.declare

    def declare_all(services: int) -> None:
        users_declare(services)
        service.append(declare(tree))

    with_system = patch.object(tree.users, "declare", declare_all)
    if drains:
        tree.world.later(8.0, Operators(tree).work)
    with with_system:
        tree.run()
    assert tree.world.run(200.0, lambda: not lacks(tree, service[0])), "\n".join(
        [*lacks(tree, service[0]), tree.story()]
    )
    return tree, service[0]


@pytest.mark.parametrize("drains", [False, True])
def test_each_node_has_one_in_the_end_and_none_was_moved(drains: bool) -> None:
    try:
        with quiet():
            for seed in SEEDS:
                tree, service = live(seed, drains=drains)
                homes: dict[tuple[str, int], set[str]] = {}
                for node in tree.nodes:
                    for of, number in node.slots.values():
                        homes.setdefault((of, number), set()).add(node.identity.id)
                moved = [key for key, where in homes.items() if key[0] == service and len(where) > 1]
                assert not moved, (seed, moved)
                pins = Counter(slot.pin for slot in slots_of(tree, service) if slot.desired == "run")
                assert max(pins.values()) == 1, (seed, pins)
                stored = tree.root.true_store.get(SERVICES, service)
                given = stored.read(Service).next_number if stored is not None else 0
                assert drains or given <= len(tree.nodes), f"seed {seed}: a node lost its instance, and got another"
    except InvariantBroken as broken:
        pytest.fail("\n".join([str(broken), *broken.__notes__]), pytrace=False)


def test_a_node_that_joins_gets_one_and_one_that_is_drained_loses_it_last() -> None:
    with quiet():
        tree = Tree(3, Plan(clusters=2, nodes=2, readers=0))
        for process in tree.processes:
            process.start()
        tree.world.run(4.0)
        tree.users.declare(2)
        service = declare(tree)
        tree.root.guarded(lambda: None, tree.root.life)
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        numbers = {slot.number for slot in slots_of(tree, service)}
        assert numbers == {0, 1, 2, 3}
        # One joins.
        late = NodeProcess(tree.world, tree.clusters[0], "late")
        tree.nodes.append(late)
        late.start()
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        # One is lost: nobody else gets what it had, and it goes on when it is back.
        lost = tree.nodes[0]
        lost.lose_power()
        tree.watch.excused |= lost.runtime.starts.keys()
        tree.world.run(4 * SETTINGS.lease)
        assert sorted(map(str, lacks(tree, service))) == [f"{lost.name} runs 0"]
        lost.start()
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        assert {slot.number for slot in slots_of(tree, service)} == {0, 1, 2, 3, 4}, "nothing was given anew"
        # One is cordoned: it keeps what it has. Then drained: it loses it; and freed: another number.
        store, id = late.cluster.true_store, late.identity.id
        cordon_child(store, id, True)
        tree.world.run(10.0)
        assert not lacks(tree, service)
        cordon_child(store, id, True, True)
        assert tree.world.run(20.0, lambda: lacks(tree, service) == ["late runs 0"]), lacks(tree, service)
        cordon_child(store, id, False)
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        assert {slot.number for slot in slots_of(tree, service) if slot.pin[1] == id and slot.desired == "run"} == {5}
        # A user takes one away: there is another at once.
        tree.users._desired.remove_instances(_CALLER, service, 5)
        tree.root.guarded(lambda: None, tree.root.life)
        assert tree.world.run(20.0, lambda: {slot.number for slot in slots_of(tree, service)} == {0, 1, 2, 3, 6})
        # One is removed: its instance goes with it.
        late.crash()
        late.buried = True
        revoke_child(store, id)
        assert tree.world.run(60.0, lambda: {slot.number for slot in slots_of(tree, service)} == {0, 1, 2, 3})
        tree.nodes.remove(late)
        # The service is deleted.
        tree.users._desired.delete_service(_CALLER, service)
        tree.root.guarded(lambda: None, tree.root.life)
        assert tree.world.run(30.0, lambda: len(lacks(tree, service)) == len(tree.nodes))
        assert not any(slot.desired == "run" for slot in slots_of(tree, service))
        assert tree.root.true_store.get(SERVICES, service) is None


def test_a_node_that_was_removed_while_the_root_was_away_is_gone_with_its_instance() -> None:
    with quiet():
        tree = Tree(3, Plan(clusters=1, nodes=2, readers=0))
        for process in tree.processes:
            process.start()
        tree.world.run(4.0)
        tree.users.declare(2)
        service = declare(tree)
        tree.root.guarded(lambda: None, tree.root.life)
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        gone, stays = tree.nodes
        tree.root.crash()
        gone.crash()
        gone.buried = True
        revoke_child(tree.clusters[0].true_store, gone.identity.id)
        tree.world.run(10.0)
        tree.root.start()
        assert tree.world.run(60.0, lambda: [slot.pin[1] for slot in slots_of(tree, service)] == [stays.identity.id])
        listed = [stored.id.partition("/")[2] for stored in tree.root.true_store.load(NODES)]
        assert listed == [stays.identity.id]


def test_a_node_whose_runtime_is_away_for_a_while_keeps_its_instance() -> None:
    with quiet():
        tree = Tree(3, Plan(clusters=1, nodes=2, readers=0))
        for process in tree.processes:
            process.start()
        tree.world.run(4.0)
        tree.users.declare(2)
        service = declare(tree)
        tree.root.guarded(lambda: None, tree.root.life)
        assert tree.world.run(20.0, lambda: not lacks(tree, service)), lacks(tree, service)
        link = tree.nodes[0].node.role.link
        before, told = {slot.id for slot in slots_of(tree, service)}, link._capacity
        link._capacity = lambda: msgspec.structs.replace(told(), runtimes=())
        tree.world.run(15.0)
        assert not lacks(tree, service), "its containers run on"
        link._capacity = told
        tree.world.run(15.0)
        assert {slot.id for slot in slots_of(tree, service)} == before
        assert not lacks(tree, service)
