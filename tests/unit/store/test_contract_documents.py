"""The contract of documents: reading, writing, batches, preconditions, queries."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mangrove.store.batch import MAX_DEPTH, MAX_DOCUMENT, MAX_ID, encode
from mangrove.store.interface import (
    ABSENT,
    Check,
    Delete,
    Document,
    Operation,
    Put,
    RevisionConflict,
    Store,
    StoreUnavailable,
)
from tests.unit.store.implementations import Open


def ids(store: Store, collection: str = "things") -> list[str]:
    return [stored.id for stored in store.load(collection)]


def nested(levels: int) -> Document:
    """A document with so many more levels in it."""
    document: Document = {}
    for _ in range(levels):
        document = {"in": document}
    return document


def value(store: Store, id: str = "a", collection: str = "things") -> Any:
    stored = store.get(collection, id)
    return None if stored is None else stored.document["n"]


# --- the store itself


def test_id_is_24_hexadecimal_digits_and_stays(open_store: Open) -> None:
    first = open_store().id
    assert re.fullmatch("[0-9a-f]{24}", first)
    assert open_store().id == first


def test_a_new_store_is_empty_at_revision_0(store: Store) -> None:
    assert store.revision() == 0
    assert store.load("things") == []
    assert store.get("things", "a") is None
    assert store.get_many("things", ["a"]) == {}
    assert store.query("services", "owner", "a") == []


def test_all_is_there_after_opening_again(open_store: Open) -> None:
    store = open_store()
    store.apply([Put("things", "a", {"n": 1}), Put("things", "b", {"n": 2}), Put("slots", "s", {"service": "x"})])
    revision = store.apply([Delete("things", "b")])
    store = open_store()
    assert store.revision() == revision
    assert ids(store) == ["a"]
    assert [stored.id for stored in store.query("slots", "service", "x")] == ["s"]
    assert store.apply([Put("things", "c", {"n": 3})]) > revision


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.load("things"),
        lambda store: store.page("things", limit=1),
        lambda store: store.get("things", "a"),
        lambda store: store.get_many("things", ["a"]),
        lambda store: store.query("services", "owner", "a"),
        lambda store: store.revision(),
        lambda store: store.apply([Put("things", "a", {})]),
        lambda store: store.changes(0),
        lambda store: store.wait(0, 1),
        lambda store: store.lease("controller"),
        lambda store: store.acquire("controller", "me"),
    ],
)
def test_after_close_everything_says_so(store: Store, use: Callable[[Store], object]) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        use(store)


# --- reading


def test_load_gives_all_of_a_collection_by_id(store: Store) -> None:
    # é and 😀 differ in order between UTF-8 and UTF-16; by code point it is Python's own.
    names = ["b", "a", "B", "10", "9", "é", "😀", "\uffee", "a.1", "a\0b"]
    first = store.apply([Put("things", id, {"n": id}) for id in names])
    store.apply([Put("other", "x", {"n": 0})])
    loaded = store.load("things")
    assert [stored.id for stored in loaded] == sorted(names)
    assert all(stored.collection == "things" and stored.revision == first for stored in loaded)
    assert [stored.document for stored in loaded] == [{"n": id} for id in sorted(names)]


def test_pages_of_a_collection_are_all_of_it(store: Store) -> None:
    names = ["b", "a", "B", "10", "9", "é", "😀", "\uffee", "a.1", "a\0b"]
    store.apply([Put("things", id, {"n": id}) for id in names])
    store.apply([Put("other", "x", {"n": 0})])
    pages, after = [], ""
    while page := store.page("things", after=after, limit=3):
        pages.append(page)
        after = page[-1].id
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [stored for page in pages for stored in page] == store.load("things")
    assert ids(store) == sorted(names)
    assert store.page("nothing", limit=3) == []
    assert store.page("things", limit=0) == []
    with pytest.raises(ValueError, match="limit"):
        store.page("things", limit=-1)


def test_get_gives_one_document_with_its_revision(store: Store) -> None:
    store.apply([Put("things", "a", {"n": 1})])
    revision = store.apply([Put("things", "b", {"n": 2})])
    stored = store.get("things", "b")
    assert stored is not None
    assert (stored.collection, stored.id, stored.revision, stored.document) == ("things", "b", revision, {"n": 2})
    assert store.get("other", "b") is None


def test_get_many_gives_those_that_are_there(store: Store) -> None:
    store.apply([Put("things", str(number), {"n": number}) for number in range(2000)])
    asked = [str(number) for number in range(1000, 3000)]
    found = store.get_many("things", [*asked, "1000", "\ud800", ""])
    assert sorted(found) == sorted(str(number) for number in range(1000, 2000))
    assert all(stored.id == id and stored.document == {"n": int(id)} for id, stored in found.items())
    assert store.get_many("things", []) == {}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"text": 'é"\\/\n\t\x00\x7f😀', "": ""},
        {"numbers": [0, -1, 2**53 + 1, 2**63 - 1, 2**64, -(2**70), 1.5, 1e300], "true": True, "null": None},
        {"deep": {"er": [{"list": [[]]}, {}]}},
        {"large": "x" * 1_000_000},
    ],
)
def test_a_document_comes_back_as_it_was(open_store: Open, document: dict[str, Any]) -> None:
    open_store().apply([Put("services", "a", document)])
    stored = open_store().get("services", "a")
    assert stored is not None
    assert stored.document == document


def test_nobody_outside_can_change_what_is_stored(store: Store) -> None:
    numbers = [1]
    store.apply([Put("things", "a", {"numbers": numbers})])
    numbers.append(2)
    readings: list[Callable[[], Document | None]] = [
        lambda: store.load("things")[0].document,
        lambda: store.get_many("things", ["a"])["a"].document,
        lambda: store.changes(0)[0].document,
    ]
    for reading in readings:
        read = reading()
        assert read == {"numbers": [1]}
        read["numbers"].append(3)
        assert reading() == {"numbers": [1]}


# --- writing


def test_each_batch_has_one_revision_and_they_rise(open_store: Open) -> None:
    store = open_store()
    seen = [store.revision()]
    for _ in range(3):
        for number in range(5):
            revision = store.apply([Put("things", f"{number}", {"n": 1}), Put("other", f"{number}", {"n": 2})])
            assert revision == store.revision() > seen[-1]
            seen.append(revision)
            assert {stored.revision for stored in (*store.load("things"), *store.load("other"))} <= set(seen)
            for collection in ("things", "other"):
                stored = store.get(collection, str(number))
                assert stored is not None
                assert stored.revision == revision
        store = open_store()


def test_put_replaces_the_whole_document(store: Store) -> None:
    store.apply([Put("things", "a", {"n": 1, "old": True})])
    store.apply([Put("things", "a", {"n": 2})])
    assert store.load("things")[0].document == {"n": 2}


def test_delete_removes_and_removing_nothing_is_no_error(store: Store) -> None:
    store.apply([Put("things", "a", {"n": 1}), Put("things", "b", {"n": 1})])
    revision = store.apply([Delete("things", "a")])
    assert ids(store) == ["b"]
    assert store.apply([Delete("things", "a"), Delete("nothing", "a")]) == revision == store.revision()


def test_a_batch_that_changes_nothing_leaves_the_revision(store: Store) -> None:
    revision = store.apply([Put("things", "a", {"n": 1})])
    assert store.apply([]) == revision
    assert store.apply([Check("things", "a", revision), Check("things", "b", ABSENT)]) == revision
    assert store.revision() == revision
    assert store.changes(revision) == []


def test_revisions_of_removed_documents_never_come_back(open_store: Open) -> None:
    store = open_store()
    store.apply([Put("things", "a", {"n": 1})])
    removed = store.apply([Delete("things", "a")])
    store = open_store()
    assert store.revision() == removed
    assert store.apply([Put("things", "a", {"n": 2}, expect=ABSENT)]) > removed


# --- preconditions


def test_expected_revision_holds(store: Store) -> None:
    first = store.apply([Put("things", "a", {"n": 1}, expect=ABSENT)])
    second = store.apply([Put("things", "a", {"n": 2}, expect=first)])
    assert store.apply([Check("things", "a", second), Check("things", "b", ABSENT)]) == second
    store.apply([Delete("things", "a", expect=second)])
    assert ids(store) == []
    store.apply([Delete("things", "a", expect=ABSENT)])
    store.apply([Put("things", "a", {"n": 3}, expect=ABSENT)])
    assert value(store) == 3


@pytest.mark.parametrize("operation", [lambda e: Put("things", "a", {"n": 9}, e), lambda e: Delete("things", "a", e)])
@pytest.mark.parametrize("expect", [ABSENT, "older", "newer", -1])
def test_wrong_revision_writes_nothing(store: Store, operation: Callable[[int], Operation], expect: int | str) -> None:
    older = store.apply([Put("things", "a", {"n": 1})])
    now = store.apply([Put("things", "a", {"n": 2}), Put("things", "b", {"n": 2})])
    wrong = {"older": older, "newer": now + 1}.get(str(expect), expect)
    assert isinstance(wrong, int)
    for failing in (operation(wrong), Check("things", "a", wrong)):
        with pytest.raises(RevisionConflict, match="things/a") as caught:
            store.apply([Put("things", "new", {"n": 9}), Delete("things", "b"), failing, Put("things", "c", {"n": 9})])
        assert (caught.value.collection, caught.value.id) == ("things", "a")
    assert store.revision() == now
    assert [(stored.id, stored.revision, stored.document) for stored in store.load("things")] == [
        ("a", now, {"n": 2}),
        ("b", now, {"n": 2}),
    ]
    assert store.changes(now) == []


@pytest.mark.parametrize(
    "operation", [Put("things", "gone", {"n": 9}, 1), Delete("things", "gone", 1), Check("things", "gone", 1)]
)
def test_a_revision_expected_of_what_is_not_there_is_a_conflict(store: Store, operation: Operation) -> None:
    revision = store.apply([Put("things", "gone", {"n": 1})])
    assert revision == 1
    store.apply([Delete("things", "gone")])
    with pytest.raises(RevisionConflict):
        store.apply([operation])
    assert ids(store) == []


# --- several operations on one document: in order, the last one wins


def test_the_last_put_of_a_batch_wins(store: Store) -> None:
    store.apply([Put("slots", "a", {"n": 1, "service": "x"}), Put("slots", "a", {"n": 2, "service": "y"})])
    assert value(store, collection="slots") == 2
    assert store.query("slots", "service", "x") == []
    assert [stored.id for stored in store.query("slots", "service", "y")] == ["a"]


def test_operations_see_what_earlier_ones_did(store: Store) -> None:
    old = store.apply([Put("things", "a", {"n": 1})])
    now = store.apply(
        [
            Check("things", "a", old),
            Delete("things", "a", expect=old),
            Check("things", "a", ABSENT),
            Put("things", "a", {"n": 2}, expect=ABSENT),
            Put("things", "b", {"n": 1}),
            Delete("things", "b"),
        ]
    )
    assert [(stored.id, stored.revision, stored.document) for stored in store.load("things")] == [("a", now, {"n": 2})]
    assert [(change.id, change.document) for change in store.changes(old)] == [("a", {"n": 2}), ("b", None)]


@pytest.mark.parametrize(
    "batch",
    [
        [Put("things", "b", {}, ABSENT), Put("things", "b", {}, ABSENT)],
        [Put("things", "a", {}), Check("things", "a", 1)],
        [Delete("things", "a"), Check("things", "a", 1)],
        [Delete("things", "a"), Delete("things", "a", 1)],
        [Put("things", "b", {}), Delete("things", "b"), Put("things", "b", {}, 1)],
    ],
)
def test_an_expectation_fails_on_what_an_earlier_operation_did(store: Store, batch: list[Operation]) -> None:
    store.apply([Put("things", "a", {"n": 1})])
    with pytest.raises(RevisionConflict):
        store.apply(batch)
    assert [(stored.id, stored.revision) for stored in store.load("things")] == [("a", 1)]


# --- bad input


@pytest.mark.parametrize(
    "bad",
    [
        Put("things", "", {}),
        Put("things", "\ud800", {}),
        Delete("things", ""),
        Check("things", "\ud800", ABSENT),
        Put("things", "a", {"text": "\udfff"}),
        Put("things", "a", {"object": object()}),
        Put("things", "i" * (MAX_ID + 1), {}),
        Delete("things", "é" * (MAX_ID // 2 + 1)),
        Put("things", "a", {"text": "x" * MAX_DOCUMENT}),
        Put("things", "a", nested(MAX_DEPTH)),
        Put("things", "a", nested(100_000)),
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_written(store: Store, bad: Operation) -> None:
    revision = store.apply([Put("things", "a", {"n": 1})])
    with pytest.raises((ValueError, TypeError)):
        store.apply([Put("things", "b", {"n": 1}), bad])
    assert store.revision() == revision
    assert ids(store) == ["a"]
    assert store.apply([Put("things", "c", {"n": 1})]) > revision


def test_what_is_just_small_enough_is_kept(open_store: Open) -> None:
    store = open_store()
    documents = {
        "i" * MAX_ID: {"owner": "me"},
        "large": {"owner": "x" * (MAX_DOCUMENT - len(encode({"owner": ""})))},
        "deep": nested(MAX_DEPTH - 1),
        "flat": {"owner": [[] for _ in range(2 * MAX_DEPTH)], "text": "[{" * MAX_DEPTH},
    }
    store.apply([Put("services", id, document) for id, document in documents.items()])
    store = open_store()
    assert {stored.id: stored.document for stored in store.load("services")} == documents
    assert [stored.id for stored in store.query("services", "owner", documents["large"]["owner"])] == ["large"]
    store.apply([Delete("services", id) for id in documents])
    assert store.load("services") == []


def test_numbers_that_are_not_finite_become_null_everywhere(store: Store) -> None:
    store.apply([Put("things", "a", {"n": [float("nan"), float("inf"), 1.5]})])
    assert value(store) == [None, None, 1.5]


def test_names_that_mean_something_to_a_database_are_names(open_store: Open) -> None:
    store = open_store()
    odd = ["$set", "a.b", "a/b", "_id", "__proto__", "%", "'", '"', " ", "a\nb", "services/x"]
    document = {name: {name: 1} for name in odd}
    store.apply([Put("services", name, {**document, "owner": name}) for name in odd])
    store = open_store()
    assert [stored.id for stored in store.load("services")] == sorted(odd)
    for name in odd:
        stored = store.get("services", name)
        assert stored is not None
        assert stored.document == {**document, "owner": name}
        assert found(store, name) == [name]


def test_half_a_surrogate_pair_names_nothing(store: Store) -> None:
    store.apply([Put("services", "?", {"owner": "?"})])
    assert store.get("services", "\ud800") is None
    assert store.query("services", "owner", "\ud800") == []
    assert store.query("services", "owner", "?", after="\ud800") == []


# --- queries


def found(store: Store, text: str, **more: Any) -> list[str]:
    return [stored.id for stored in store.query("services", "owner", text, **more)]


def test_query_gives_equal_ones_by_id(store: Store) -> None:
    revision = store.apply(
        [Put("services", id, {"owner": owner, "n": id}) for id, owner in [("c", "me"), ("a", "me"), ("b", "you")]]
    )
    store.apply([Put("applications", "x", {"owner": "me"})])
    assert found(store, "me") == ["a", "c"]
    assert found(store, "you") == ["b"]
    assert found(store, "Me") == found(store, "m") == found(store, "") == []
    stored = store.query("services", "owner", "me")[0]
    assert (stored.collection, stored.revision, stored.document) == ("services", revision, {"owner": "me", "n": "a"})


def test_query_by_cursor_and_limit_meets_each_once(store: Store) -> None:
    names = [f"{number:03}" for number in range(25)]
    store.apply([Put("services", id, {"owner": "me"}) for id in names] + [Put("services", "x", {"owner": "you"})])
    met: list[str] = []
    while page := found(store, "me", after=met[-1] if met else "", limit=7):
        assert len(page) <= 7
        met += page
    assert met == names
    assert found(store, "me", after="0075") == names[8:]
    assert found(store, "me", after="024") == found(store, "me", limit=0) == []


def test_query_follows_writes(store: Store) -> None:
    store.apply([Put("services", "a", {"owner": "me", "application": "x"})])
    store.apply([Put("services", "a", {"owner": "you", "application": "x"})])
    assert (found(store, "me"), found(store, "you")) == ([], ["a"])
    assert len(store.query("services", "application", "x")) == 1
    store.apply([Put("services", "a", {"application": "x"})])
    assert found(store, "you") == []
    store.apply([Put("services", "a", {"owner": "me"})])
    store.apply([Delete("services", "a")])
    assert found(store, "me") == []


def test_query_means_top_level_text(store: Store) -> None:
    odd: dict[str, Any] = {
        "number": 5,
        "true": True,
        "null": None,
        "list": ["me"],
        "object": {"me": 1},
        "nul": "me\0x",
        "quote": 'm"e',
        "text": "5",
    }
    store.apply([Put("services", id, {"owner": owner}) for id, owner in odd.items()])
    store.apply([Put("services", "deeper", {"deep": {"owner": "me"}})])
    for text in ("me", '["me"]', '{"me":1}', "1", "true", "null", ""):
        assert found(store, text) == []
    assert found(store, "5") == ["text"]
    assert found(store, "me\0x") == ["nul"]
    assert found(store, 'm"e') == ["quote"]


@pytest.mark.parametrize(("collection", "field"), [("services", "name"), ("things", "owner"), ("services", "x' OR 1")])
def test_query_by_an_undeclared_field_is_refused(store: Store, collection: str, field: str) -> None:
    with pytest.raises(ValueError, match="not declared as an index"):
        store.query(collection, field, "me")


def test_a_negative_limit_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="limit: -1"):
        store.query("services", "owner", "me", limit=-1)
