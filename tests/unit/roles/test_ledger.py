"""What is decided but not durable yet: kept until it is, newest word first, and never for someone else's lease."""

from __future__ import annotations

import logging

import pytest

from mangrove.roles.ledger import Ledger
from mangrove.store.interface import Check, Delete, Put, StaleLease, StoreUnavailable
from mangrove.store.memory import MemoryStore
from tests.simulation.disks import ShakyStore, Trouble


class Books:
    """A ledger on a store that fails when told to."""

    def __init__(self) -> None:
        self.disk = MemoryStore()
        self.trouble: Trouble = ""
        self.batches = 0
        lease = self.disk.acquire("controller", "me")
        assert lease is not None
        self.ledger = Ledger(ShakyStore(self.disk, lambda: self.trouble, self._count), lease)

    def _count(self, moment: str) -> None:
        self.batches += moment == "synced"

    def there(self) -> dict[str, object]:
        return {stored.id: stored.document["n"] for stored in self.disk.load("things")}


def put(id: str, n: int) -> Put:
    return Put("things", id, {"n": n})


def test_what_was_written_is_there_after_a_save_and_not_before() -> None:
    books = Books()
    books.ledger.write(put("a", 1))
    assert books.there() == {}
    assert books.ledger.save()
    assert books.there() == {"a": 1}


def test_the_newest_word_about_a_document_counts() -> None:
    books = Books()
    for n in range(3):
        books.ledger.write(put("a", n))
    books.ledger.write(put("b", 1))
    books.ledger.write(Delete("things", "b"))
    books.ledger.save()
    assert books.there() == {"a": 2}
    assert books.batches == 1


def test_nothing_to_write_is_no_write() -> None:
    books = Books()
    assert books.ledger.save()
    assert books.batches == 0


@pytest.mark.parametrize("trouble", ["write", "all"])
def test_what_cannot_be_written_waits(trouble: Trouble, caplog: pytest.LogCaptureFixture) -> None:
    books = Books()
    books.trouble = trouble
    books.ledger.write(put("a", 1))
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            assert not books.ledger.save()
    assert len(caplog.records) == 1, "said once"
    assert "planned" in books.ledger.unavailable
    books.ledger.write(put("a", 2))
    books.ledger.write(put("b", 1))
    books.trouble = ""
    assert books.ledger.save()
    assert books.there() == {"a": 2, "b": 1}
    assert books.ledger.unavailable == ""


def test_much_is_written_in_batches_and_goes_on_where_it_stopped() -> None:
    books = Books()
    for n in range(5000):
        books.ledger.write(put(f"{n:05}", n))
    books.ledger._store = _FailsAfter(books, 1)
    assert not books.ledger.save()
    assert 0 < len(books.there()) < 5000
    books.trouble = ""
    assert books.ledger.save()
    assert len(books.there()) == 5000
    assert books.batches == 3, "no operation was written twice"


def test_who_lost_the_lease_writes_nothing() -> None:
    books = Books()
    held = books.disk.lease("controller")
    assert held is not None
    books.disk.acquire("controller", "another", counter_seen=held.counter)
    books.ledger.write(put("a", 1))
    with pytest.raises(StaleLease):
        books.ledger.save()
    assert books.there() == {}


def test_what_is_collected_goes_if_nobody_has_changed_it() -> None:
    books = Books()
    revision = books.disk.apply([put("a", 1), put("b", 1)])
    books.disk.apply([put("b", 2)])
    for id in ("a", "b"):
        books.ledger.collect(Delete("things", id, expect=revision))
    assert books.ledger.save()
    assert books.there() == {"b": 2}
    assert books.ledger.save()


def test_what_cannot_be_collected_now_is_collected_later() -> None:
    books = Books()
    books.disk.apply([put("a", 1)])
    books.ledger.collect(Delete("things", "a"))
    books.trouble = "write"
    books.ledger.save()
    assert books.there() == {"a": 1}
    books.trouble = ""
    books.ledger.save()
    assert books.there() == {}


def test_a_check_may_be_collected_too() -> None:
    books = Books()
    books.ledger.collect(Check("things", "nobody", 7))
    assert books.ledger.save()


class _FailsAfter(ShakyStore):
    """Fails from the batch after so many on."""

    def __init__(self, books: Books, batches: int) -> None:
        super().__init__(books.disk, lambda: books.trouble, self._written)
        self._books = books
        self._left = batches

    def _written(self, moment: str) -> None:
        self._books._count(moment)
        if moment == "synced":
            self._left -= 1
            if self._left == 0:
                self._books.trouble = "write"


def test_a_failure_that_was_seen_elsewhere_is_told_the_same_way() -> None:
    books = Books()
    books.ledger.failed(StoreUnavailable("gone"))
    assert books.ledger.unavailable == "gone"
