"""Property: whatever is done to a store in whatever order, it holds what a plain dict would hold."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.store.interface import (
    ABSENT,
    Change,
    Check,
    Delete,
    Document,
    Gap,
    Operation,
    Put,
    RevisionConflict,
    Store,
)
from tests.unit.store.implementations import IMPLEMENTATIONS

COLLECTIONS = ("services", "things")  # with and without an index
IDS = ("a", "b", "c", "é")
OWNERS = ("me", "you")

Expect = Literal["any", "absent", "current", "older"]
#: kind, collection, id, document, what is expected of the revision
Planned = tuple[type[Put] | type[Delete] | type[Check], str, str, Document, Expect]

documents = st.dictionaries(st.sampled_from(["owner", "n"]), st.sampled_from([*OWNERS, 1, None]), max_size=2)
operations = st.tuples(
    st.sampled_from([Put, Put, Delete, Check]),
    st.sampled_from(COLLECTIONS),
    st.sampled_from(IDS),
    documents,
    st.sampled_from(["any", "any", "current", "current", "current", "absent", "older"]),
)
batches = st.lists(operations, max_size=5)
steps = st.lists(st.one_of(batches, batches, batches, st.just("open"), st.integers(1, 6)), max_size=20)


@dataclass
class Model:
    """What a store is to do, in the plainest words. held: (revision, document) by key."""

    held: dict[tuple[str, str], tuple[int, Document]] = field(default_factory=dict)
    revision: int = 0

    def planned(self, plan: list[Planned]) -> list[Operation]:
        """The operations with numbers for revisions, as they stand before the batch."""
        made: list[Operation] = []
        for kind, collection, id, document, expectation in plan:
            current = self.held.get((collection, id), (ABSENT, {}))[0]
            expect = {"any": None, "absent": ABSENT, "current": current, "older": current - 1}[expectation]
            if kind is Put:
                made.append(Put(collection, id, document, expect))
            elif kind is Delete:
                made.append(Delete(collection, id, expect))
            else:
                made.append(Check(collection, id, current if expect is None else expect))
        return made

    def apply(self, batch: list[Operation]) -> None:
        held, wrote = dict(self.held), False
        for operation in batch:
            key = (operation.collection, operation.id)
            if operation.expect is not None and operation.expect != held.get(key, (ABSENT, {}))[0]:
                raise RevisionConflict(*key)
            if isinstance(operation, Put):
                held[key] = (self.revision + 1, operation.document)
                wrote = True
            elif isinstance(operation, Delete):
                wrote = held.pop(key, None) is not None or wrote
        self.held = held
        self.revision += wrote

    def query(self, owner: str) -> list[str]:
        return sorted(
            id
            for (kind, id), (_, document) in self.held.items()
            if kind == "services" and document.get("owner") == owner
        )


@dataclass
class Follower:
    """Knows the store by its feed alone, but for gaps."""

    seen: int = 0
    mirror: dict[tuple[str, str], tuple[int, Document]] = field(default_factory=dict)

    def follow(self, store: Store, limit: int) -> None:
        changes: list[Change] = []
        try:
            changes = store.changes(self.seen, limit=limit)
        except Gap:
            self.seen = store.revision()
            self.mirror = snapshot(store)
        for change in changes:
            assert change.revision >= self.seen
            self.seen = change.revision
            if change.document is None:
                self.mirror.pop((change.collection, change.id), None)
            else:
                self.mirror[change.collection, change.id] = (change.revision, change.document)


def snapshot(store: Store) -> dict[tuple[str, str], tuple[int, Document]]:
    return {
        (stored.collection, stored.id): (stored.revision, stored.document)
        for collection in COLLECTIONS
        for stored in store.load(collection)
    }


def compare(store: Store, model: Model) -> None:
    assert store.revision() == model.revision
    assert snapshot(store) == model.held
    for collection in COLLECTIONS:
        there = [id for id in IDS if (collection, id) in model.held]
        assert [stored.id for stored in store.load(collection)] == there
        assert sorted(store.get_many(collection, IDS)) == there
    for owner in OWNERS:
        first = store.query("services", "owner", owner, limit=1)
        rest = store.query("services", "owner", owner, after=first[0].id) if first else []
        assert [stored.id for stored in first + rest] == model.query(owner)


@pytest.mark.parametrize("implementation", sorted(IMPLEMENTATIONS))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(steps=steps)
def test_a_store_holds_what_a_dict_would(implementation: str, steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, IMPLEMENTATIONS[implementation](Path(folder)) as open_store:
        store, model, follower = open_store(), Model(), Follower()
        for step in steps:
            if step == "open":
                store = open_store()
            elif isinstance(step, int):
                follower.follow(store, step)
            else:
                batch = model.planned(step)
                before = model.revision
                with suppress(RevisionConflict):
                    model.apply(batch)
                    assert store.apply(batch) == model.revision
                    continue
                with pytest.raises(RevisionConflict):
                    store.apply(batch)
                assert model.revision == before
            compare(store, model)
        compare(store, model)
        while follower.seen < store.revision():
            follower.follow(store, 3)
        assert follower.mirror == model.held
