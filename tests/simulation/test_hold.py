"""What an operator of a cluster holds runs nowhere until it is released, whoever crashes, is silent or deaf."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from mangrove.identity.join import cordon_child
from mangrove.model.documents import HOLDS, SPECIFICATIONS, Hold
from mangrove.model.phases import Phase
from mangrove.store.interface import Delete, Put
from tests.simulation.listening import quiet
from tests.simulation.process import Process
from tests.simulation.test_restore import Site
from tests.simulation.world import CALM, SETTINGS, Weather


class Held(Site):
    """A site with an operator at one of its clusters."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.here = self.clusters[0]

    def slots_here(self) -> dict[str, int]:
        """Slots of the cluster (the root's attempts) that are wanted there, with their numbers."""
        return {id: slot.number for id, slot in self.here.parent.slots.items() if slot.desired == "run"}

    def hold(self, slot: str) -> None:
        self.here.store.apply([Put(HOLDS, slot, msgspec.to_builtins(Hold(slot, "held by an operator", 1.0)))])

    def release(self, slot: str) -> None:
        self.here.store.apply([Delete(HOLDS, slot)])

    def rattle(self, seconds: float) -> None:
        """Bad weather, and processes that die, some for longer than their lease."""
        self.world.weather = Weather(lost=0.05, repeated=0.1, late=0.2, longest=1.0)
        processes: tuple[Process, ...] = (self.root, *self.clusters, *self.nodes)
        for each in processes:
            if self.rng.random() < 0.5:
                when = self.rng.uniform(0.0, seconds / 2)
                self.world.later(when, each.crash)
                self.world.later(when + self.rng.uniform(0.2, 3 * SETTINGS.lease), each.start)
        self.world.run(seconds)
        self.world.weather = CALM


@pytest.mark.parametrize("seed", range(4))
def test_what_is_held_runs_nowhere_until_it_is_released(seed: int) -> None:
    with quiet():
        site = Held(seed)
        site.want(8)
        site.settle()
        site.here = next(each for each in site.clusters if each.parent.slots)
        here = site.slots_here()
        held = site.rng.sample(sorted(here), site.rng.randint(1, len(here)))
        numbers = {here[slot] for slot in held}
        for slot in held:
            site.hold(slot)
        assert site.world.run(30.0, lambda: not numbers & set(site.numbers())), "it is stopped"
        site.rattle(60.0)
        rest = [number for number in site.wanted() if number not in numbers]
        assert site.world.run(200.0, lambda: site.numbers() == rest), (site.numbers(), rest)
        site.world.run(30.0)
        assert site.numbers() == rest, "and stays so"
        for number in numbers:  # users still want it, and are told why it does not run
            placement = site.root.parent.placements[f"s.{number}"]
            assert placement.current is not None
            said = site.root.parent.observed[placement.current.attempt].status
            assert (said.phase, said.reason) == (Phase.HELD, "held by an operator")
        gone = site.rng.choice(sorted(numbers))  # its user deletes it
        site.put(gone, "stop")
        site.world.run(20.0)
        assert {stored.id for stored in site.here.store.load(HOLDS)} == {slot for slot in held if here[slot] != gone}
        for slot in held:
            site.release(slot)
        site.settle()


def held_at_one_cluster(count: int) -> tuple[Held, str, int]:
    """A site, the slot that is held at its cluster `here`, and its number."""
    site = Held(7)
    site.want(count)
    site.settle()
    site.here = next(each for each in site.clusters if each.parent.slots)
    slot, number = min(site.slots_here().items())
    site.hold(slot)
    assert site.world.run(30.0, lambda: number not in site.numbers())
    return site, slot, number


def versions(site: Held) -> Counter[str]:
    """How many instances run of each version."""
    return Counter(node.specifications[attempt].digest for node in site.nodes for attempt in node.runtime.running)


def test_what_is_held_is_updated_when_it_is_released_and_holds_up_no_other() -> None:
    with quiet():
        site, slot, number = held_at_one_cluster(4)
        site.specification = newer = msgspec.structs.replace(site.specification, image="newer")
        site.root.store.apply([Put(SPECIFICATIONS, newer.digest, msgspec.to_builtins(newer))])
        for each in range(4):
            site.put(each)
        assert site.world.run(600.0, lambda: versions(site) == {newer.digest: 3}), versions(site)
        site.world.run(100.0)
        assert number not in site.numbers()
        assert slot in site.slots_here(), "it is the attempt that was held"
        reason = site.root.parent.placements[f"s.{number}"].reason
        assert reason == "the newer version waits until it is released: held by an operator"
        site.release(slot)
        assert site.world.run(600.0, lambda: versions(site) == {newer.digest: 4}), versions(site)
        site.settle()


@pytest.mark.parametrize("what", ["node", "cluster"])
def test_what_is_held_stays_so_while_its_machine_is_drained_and_starts_elsewhere_when_it_is_released(what: str) -> None:
    with quiet():
        site, slot, number = held_at_one_cluster(6)
        rest = site.numbers()
        nodes = [node for node in site.nodes if node.cluster is site.here]
        left = nodes if what == "cluster" else nodes[:1]
        if what == "cluster":
            cordon_child(site.root.store, site.here.identity.id, True, True)
        else:
            cordon_child(site.here.store, nodes[0].identity.id, True, True)
        assert site.world.run(200.0, lambda: not any(node.runtime.running for node in left)), "all else has left"
        site.world.run(30.0)
        assert site.numbers() == rest
        assert slot in site.slots_here()
        site.release(slot)
        site.settle()
        assert number in site.numbers()
        assert not any(node.runtime.running for node in left)
