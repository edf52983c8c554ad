"""What the root wants of a cluster, in the cluster's store."""

from __future__ import annotations

from cluster_orchestrator.desired import SlotMemory
from mangrove.model.attempt import Attempt
from mangrove.model.documents import SLOTS, SPECIFICATIONS
from mangrove.model.specification import Specification
from mangrove.roles.child import Held
from mangrove.roles.housekeeping import CHORES
from mangrove.store.interface import Delete
from mangrove.store.memory import MemoryStore

WEB = Specification("shop.prod.web.prod", runtime="process")


def held(*ids: str) -> Held:
    attempts = {id: Attempt(id, "s", 0, 1, WEB.digest) for id in ids}
    return Held("0" * 24, 1, "", 1, 1, attempts, {WEB.digest: WEB} if ids else {})


def tidy(store: MemoryStore) -> None:
    """As the cluster's housekeeping does after a while."""
    for chore in CHORES:
        store.apply(chore.run({collection: store.load(collection) for collection in chore.reads}, 1e9))


def test_what_is_wanted_again_after_its_specification_was_tidied_away_has_it() -> None:
    store = MemoryStore("5" * 24)
    memory = SlotMemory(store)
    memory.save(held("a"), frozenset())
    memory.save(held(), frozenset({"a"}))
    store.apply([Delete(SLOTS, "a")])  # the cluster's loop has done with it
    tidy(store)
    assert store.get(SPECIFICATIONS, WEB.digest) is None
    memory.save(held("b"), frozenset())
    assert store.get(SPECIFICATIONS, WEB.digest) is not None
    found = SlotMemory(store).load()
    assert found is not None
    assert found.specifications == {WEB.digest: WEB}


def test_what_has_lost_its_specification_is_asked_for_again() -> None:
    store = MemoryStore("5" * 24)
    SlotMemory(store).save(held("a"), frozenset())
    store.apply([Delete(SPECIFICATIONS, WEB.digest)])
    memory = SlotMemory(store)
    found = memory.load()
    assert found is not None
    assert found.attempts == {}, "so its digest is another one than the root's"
    memory.save(held("a"), frozenset())
    assert store.get(SPECIFICATIONS, WEB.digest) is not None
    assert [stored.document["desired"] for stored in store.load(SLOTS)] == ["run"]
