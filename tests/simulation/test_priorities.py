"""What is important runs where others make room, in whichever cluster; these go where there still is any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from mangrove.model.documents import EVENTS, SLOTS, SPECIFICATIONS, Event, Slot
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.store.interface import Put
from tests.simulation.listening import quiet
from tests.simulation.processes import NODE_SIZE
from tests.simulation.test_restore import Site

LOW = Specification("low", runtime="simulated", resources=Resources(cpu=2000))
SMALL = msgspec.structs.replace(LOW, name="small", resources=Resources(cpu=1000))
HIGH = msgspec.structs.replace(LOW, name="high", priority=100)
WHOLE = msgspec.structs.replace(HIGH, name="whole", resources=Resources(cpu=NODE_SIZE.cpu))


class Rivals(Site):
    """Two clusters of two nodes, on each of which two of `LOW` have room."""

    def deploy(self, specification: Specification, count: int) -> list[str]:
        put = [Put(SPECIFICATIONS, specification.digest, msgspec.to_builtins(specification))]
        slots = [Slot(f"{specification.name}.{n}", specification.name, n, specification.digest) for n in range(count)]
        put += [Put(SLOTS, slot.id, msgspec.to_builtins(slot)) for slot in slots]
        self.root.store.apply(put)
        self.root.guarded(lambda: None, self.root.life)
        return [slot.id for slot in slots]

    def up(self) -> dict[str, str]:
        """Slots that run, each with its cluster."""
        found = {}
        for id, placement in self.root.parent.placements.items():
            given = placement.current
            seen = self.root.parent.observed.get(given.attempt) if given is not None else None
            if given is not None and seen is not None and seen.status.phase == "running":
                found[id] = self.root.parent.name(given.child)
        return found

    def until(self, slots: Sequence[str], seconds: float = 120.0) -> None:
        assert self.world.run(seconds, lambda: self.up().keys() >= set(slots)), (slots, self.up())

    def events(self, kind: str) -> list[str]:
        return [event.text for stored in self.root.store.load(EVENTS) if (event := stored.read(Event)).kind == kind]


def test_in_a_full_tree_the_more_important_runs_and_as_few_as_can_be_wait() -> None:
    with quiet():
        site = Rivals(1)
        low = site.deploy(LOW, 8)
        site.until(low)
        high = site.deploy(HIGH, 3)
        site.until(high)
        site.world.run(60.0)
        assert len(site.up()) == 8
        assert len(site.events("displaced")) == 3
        waiting = set(low) - site.up().keys()
        assert len(waiting) == 3
        assert all("needs 2 CPU cores" in site.root.parent.placements[id].reason for id in waiting)
        told = len(site.events("displaced"))
        site.world.run(300.0)
        assert (len(site.up()), len(site.events("displaced"))) == (8, told), "nobody is displaced twice"


def test_what_is_displaced_and_fits_nowhere_in_its_cluster_goes_to_another() -> None:
    with quiet():
        site = Rivals(2)
        spread = site.deploy(SMALL, 16)
        site.until(spread)
        for number in (0, 1, 2, 3):
            slot = Slot(f"small.{number}", "small", number, SMALL.digest, "stop")
            site.root.store.apply([Put(SLOTS, slot.id, msgspec.to_builtins(slot))])
        site.root.guarded(lambda: None, site.root.life)
        site.world.run(30.0)
        assert len(site.up()) == 12
        whole = site.deploy(WHOLE, 1)
        site.until(whole)
        site.until([f"small.{number}" for number in range(4, 16)], 200.0)
        assert len(site.up()) == 13, "there is room for all, though not in one cluster"


def test_rebalancing_packs_clusters_one_by_one_and_then_rests() -> None:
    with quiet():
        site = Rivals(3)
        low = site.deploy(LOW, 8)
        site.until(low)
        by_cluster = sorted(low, key=lambda id: (site.up()[id], id))
        for id in (*by_cluster[:2], *by_cluster[-2:]):
            slot = Slot(id, "low", int(id.partition(".")[2]), LOW.digest, "stop")
            site.root.store.apply([Put(SLOTS, id, msgspec.to_builtins(slot))])
        site.root.guarded(lambda: None, site.root.life)
        site.world.run(20.0)
        assert sorted(Counter(site.up().values()).values()) == [2, 2]
        for _ in range(10):
            moves = site.root.parent.rebalance(dry_run=False)
            site.root.guarded(lambda: None, site.root.life)
            for _ in range(60):
                site.world.run(0.5)
                assert len(site.up()) == 4, "its replacement runs before it goes"
            if not moves:
                break
        assert list(Counter(site.up().values()).values()) == [4]
        assert site.root.parent.rebalance(dry_run=True) == []
