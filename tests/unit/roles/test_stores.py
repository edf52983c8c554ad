"""Which store the options mean, and who of those that share one runs the controllers."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mangrove.base.clock import SystemClock, VirtualClock
from mangrove.base.errors import InvalidInput
from mangrove.roles.stores import VARIABLE, Opened, Renewal, open_store, store_argument, take_lease
from mangrove.store.interface import Lease
from mangrove.store.memory import MemoryStore
from tests.mongo_server import database
from tests.simulation.disks import ShakyStore, Trouble

LEASE = 8.0


def parsed(*arguments: str) -> str:
    parser = argparse.ArgumentParser()
    store_argument(parser)
    store: str = parser.parse_args(arguments).store
    return store


def test_nothing_said_is_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    opened = open_store(parsed(), tmp_path, "root.db")
    assert (tmp_path / "root.db").exists()
    assert (opened.holder, opened.shared) == (opened.store.id, False)
    opened.store.close()


def test_the_environment_may_name_it_and_an_option_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mongodb://environment/db")
    assert parsed() == "mongodb://environment/db"
    assert parsed("--store", "mongodb://option/db") == "mongodb://option/db"


def test_help_does_not_show_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mongodb://me:s3cret@host/db")
    parser = argparse.ArgumentParser()
    store_argument(parser)
    assert "s3cret" not in parser.format_help()


def test_a_shared_store_is_held_by_the_data_folder_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holder() -> str:
        opened = open_store(uri, tmp_path, "root.db")
        opened.store.close()
        assert opened.shared
        return opened.holder

    with database() as uri:
        first = holder()
        assert holder() == first
        monkeypatch.setattr("socket.gethostname", lambda: "another")
        assert holder() != first
    assert not (tmp_path / "root.db").exists()


@pytest.mark.parametrize("wrong", ["sqlite:///tmp/x", "postgres://me:s3cret@host/db", "host:27017"])
def test_another_kind_of_store_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(InvalidInput, match=r"--store: must begin with mongodb://") as caught:
        open_store(wrong, tmp_path, "root.db")
    assert "s3cret" not in caught.value.message


class Pair:
    """A holder, and a stand-by that looks at a clock of the test's. meanwhile: what happens at each of its looks."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.disk = MemoryStore()
        self.trouble: Trouble = ""
        self.store = ShakyStore(self.disk, lambda: self.trouble, lambda moment: None)
        first = self.disk.acquire("controller", "first")
        assert first is not None
        self.first: Lease = first
        self.looks = 0

    def stand_by(self, meanwhile: Callable[[int], object] = lambda look: None) -> float:
        """Seconds until the second took over."""
        began = self.clock.now()

        def sleep(seconds: float) -> None:
            assert self.looks < 100, "it never takes over"
            self.looks += 1
            self.clock.advance_to(self.clock.now() + seconds)
            meanwhile(self.looks)

        take_lease(Opened(self.store, "second", shared=True), "controller", LEASE, self.clock, sleep)
        return self.clock.now() - began

    def renew(self) -> None:
        assert self.disk.renew(self.first) is not None


def never(seconds: float) -> None:
    raise AssertionError("it waits")


def test_a_free_lease_is_taken_at_once() -> None:
    pair = Pair()
    take_lease(Opened(MemoryStore(), "second", shared=True), "controller", LEASE, pair.clock, never)
    take_lease(Opened(pair.disk, "first", shared=True), "controller", LEASE, pair.clock, never)


def test_a_stand_by_takes_over_after_a_whole_lease_of_silence(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    waited = pair.stand_by(lambda look: pair.renew() if look < 10 else None)
    assert waited >= 9 * LEASE / 4 + LEASE
    held = pair.disk.lease("controller")
    assert held is not None
    assert (held.holder, held.term) == ("second", pair.first.term + 1)
    assert pair.disk.renew(pair.first) is None
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in said] == ["standing by", "the store's lease is free"]
    assert "in use by first" in said[0]


def test_silence_does_not_count_while_the_store_is_away() -> None:
    pair = Pair()

    def away(look: int) -> None:
        pair.trouble = "all" if 2 <= look < 20 else ""

    assert pair.stand_by(away) >= 19 * LEASE / 4 + LEASE


def test_a_holder_renews_until_it_is_over() -> None:
    store = MemoryStore()
    lease = store.acquire("controller", "first")
    assert lease is not None
    lost = threading.Event()
    began = SystemClock().now()
    renewal = Renewal(store, lease, 0.02, SystemClock(), 0.0, lost.set)
    renewal.start()
    seen = lease.counter
    while seen < lease.counter + 3:  # it moves
        now = store.lease("controller")
        assert now is not None
        assert not lost.is_set()
        seen = now.counter
    assert renewal.held_until > began
    while True:  # it moves under our hands
        now = store.lease("controller")
        assert now is not None
        if store.acquire("controller", "second", counter_seen=now.counter) is not None:
            break
    assert lost.wait(30)
    renewal.stop()
