"""What MongoStore acknowledged outlives its server; while that is away or dumb it says so, and goes on by itself."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from typing import Any

import pymongo
import pytest
from pymongo.errors import AutoReconnect

from mangrove.client.wait import wait_until
from mangrove.store import mongo, mongo_database, mongo_rows
from mangrove.store.interface import ABSENT, Delete, Gap, Put, RevisionConflict, StoreUnavailable
from mangrove.store.mongo import MongoStore
from tests.mongo_server import MongoServer, database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A server of its own, which may be killed."""
    server = MongoServer(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def store(server: MongoServer) -> Iterator[MongoStore]:
    with database(server.uri) as uri, closing(MongoStore(uri)) as store:
        yield store


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores give up soon."""
    monkeypatch.setattr(mongo_database, "TIMEOUT", 1.0)


def again(use: Callable[[], object]) -> None:
    """Until it is not refused any more."""

    def works() -> bool:
        with suppress(StoreUnavailable):
            use()
            return True
        return False

    wait_until(works, 30, what="the store to work again", interval=0.05)


def test_acknowledged_writes_survive_sigkill_of_the_server(server: MongoServer, store: MongoStore) -> None:
    """Two writers go on through five of them; nothing that was acknowledged is lost, and nothing is done twice."""
    ended = threading.Event()

    def write(name: str) -> list[int]:
        """Numbers of the batches that were acknowledged."""
        acknowledged = []
        number = 0
        while not ended.is_set():
            number += 1
            document = {"n": number, "text": "x" * (number * 37 % 3000)}
            try:
                store.apply(
                    [Put("things", f"{name}.{number:06}", document, ABSENT), Put("things", name, {"n": number})]
                )
                acknowledged.append(number)
            except StoreUnavailable:
                number += 1000  # whether it was written is not known; a new name is free in any case
        return acknowledged

    chance = random.Random(7)
    with ThreadPoolExecutor(2) as pool:
        writers = {name: pool.submit(write, name) for name in ("a", "b")}
        try:
            for _ in range(5):
                seen = store.revision()
                wait_until(partial(store.wait, seen + 20, 1.0), 60, what="batches to be written")
                time.sleep(chance.random() / 50)  # a moment in the midst of a batch
                server.kill()
                server.start()
                again(store.revision)
        finally:
            ended.set()
        acknowledged = {name: writer.result(60) for name, writer in writers.items()}
    there = {stored.id for stored in store.load("things")}
    for name, numbers in acknowledged.items():
        assert len(numbers) > 10
        assert {f"{name}.{number:06}" for number in numbers} <= there
    # Each batch has a revision of its own: a batch done twice, or half, would show here.
    revisions = [stored.revision for stored in store.load("things") if "." in stored.id]
    assert len(set(revisions)) == len(revisions) == store.revision()


def test_while_the_server_is_away_it_says_so_and_then_goes_on(server: MongoServer, impatient: None) -> None:
    with database(server.uri) as uri, closing(MongoStore(uri)) as store:
        revision = store.apply([Put("things", "a", {"n": 1})])
        assert not store.wait(revision, 0.01)
        lease = store.acquire("controller", "me")
        server.kill()
        address = f"mongodb://127.0.0.1:{server.port}/mangrove_test_"
        for use in (
            lambda: store.apply([Put("things", "a", {"n": 2})], lease=lease),
            lambda: store.load("things"),
            lambda: store.changes(0),
            lambda: store.renew(lease) if lease else None,
            store.revision,
            lambda: MongoStore(uri),
        ):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=f"{address}.* does not answer .*may work again later"):
                use()
            assert time.monotonic() - started < 10
        assert not store.wait(revision, 0.01)
        server.start()
        again(lambda: store.apply([Put("things", "a", {"n": 3})], lease=lease))
        assert [stored.document for stored in store.load("things")] == [{"n": 3}]
        # What another program writes is heard of, too: the stream stands again.
        with closing(MongoStore(uri)) as other:
            newest = other.apply([Put("things", "a", {"n": 4})])
        assert store.wait(newest - 1, 30)


def test_a_frozen_server_is_given_up_in_time(server: MongoServer, impatient: None) -> None:
    with database(server.uri) as uri, closing(MongoStore(uri)) as store:
        revision = store.apply([Put("things", "a", {"n": 1})])
        with server.frozen(), ThreadPoolExecutor(4) as pool:
            started = time.monotonic()
            tried: list[Future[object]] = [
                pool.submit(lambda: store.apply([Put("things", "a", {"n": 2}, expect=revision)])),
                pool.submit(lambda: store.apply([Put("things", "b", {"n": 2})])),
                pool.submit(lambda: store.load("things")),
                pool.submit(lambda: store.lease("controller")),
            ]
            for one in tried:
                with pytest.raises(StoreUnavailable):
                    one.result(30)
            assert time.monotonic() - started < 15
        again(store.revision)
        again(lambda: store.apply([Put("things", "c", {"n": 3})]))
        assert store.get("things", "c") is not None


def test_a_batch_whose_answer_was_lost_is_not_done_twice(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = pymongo.client_session.ClientSession.commit_transaction
    lost: list[bool] = []

    def losing(session: pymongo.client_session.ClientSession) -> None:
        commit(session)
        if not lost:
            lost.append(True)
            raise AutoReconnect("connection closed")

    monkeypatch.setattr(pymongo.client_session.ClientSession, "commit_transaction", losing)
    assert store.apply([Put("things", "a", {"n": 1}, ABSENT)]) == 1
    assert lost
    assert store.revision() == 1
    with pytest.raises(RevisionConflict):
        store.apply([Put("things", "a", {"n": 1}, ABSENT)])


#: Begins a batch, says so, and never ends it.
HALF = """
import sys, time
from mangrove.store import mongo
from mangrove.store.interface import Put

def stop(*_):
    print("half", flush=True)
    time.sleep(600)

store = mongo.MongoStore(sys.argv[1])
mongo.write = stop
store.apply([Put("things", "a", {"n": 1})])
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_batch_that_never_ends_does_not_keep_others_from_writing(
    server: MongoServer, store: MongoStore, killed: bool
) -> None:
    """Its program was killed, or stands still; the server itself would wait for a minute."""
    uri = f"{server.uri}/{store.name.rpartition('/')[2]}"
    program = subprocess.Popen([sys.executable, "-c", HALF, uri], stdout=subprocess.PIPE)
    try:
        assert program.stdout is not None
        with program.stdout as said:
            assert said.readline() == b"half\n"
        if killed:
            program.kill()
            program.wait(30)
        assert store.acquire("controller", "me") is not None
        assert store.apply([Put("things", "a", {"n": 2})]) == 1
    finally:
        program.kill()
        program.wait(30)


def test_whose_batch_was_ended_by_others_does_it_again(
    server: MongoServer, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(*given: Any) -> None:
        mongo_rows.write(*given)
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(mongo, "write", slow)
    uri = f"{server.uri}/{store.name.rpartition('/')[2]}"
    with closing(MongoStore(uri)) as other, ThreadPoolExecutor(1) as pool:
        tried = pool.submit(lambda: other.apply([Put("things", "a", {"n": 1})]))
        assert begun.wait(30)
        assert store.acquire("controller", "me") is not None
        go_on.set()
        assert tried.result(30) == 1
    found = store.get("things", "a")
    assert found is not None
    assert found.document == {"n": 1}


#: Counts in one document, conditional on what it read, and takes the lease whenever it can.
COUNTER = """
import sys
from mangrove.store.interface import Put, RevisionConflict
from mangrove.store.mongo import MongoStore

store = MongoStore(sys.argv[1])
for _ in range(int(sys.argv[2])):
    while True:
        seen = store.get("things", "count")
        n = seen.document["n"] if seen else 0
        try:
            store.apply([Put("things", "count", {"n": n + 1}, expect=seen.revision if seen else 0)])
            break
        except RevisionConflict:
            continue
store.close()
"""


def test_programs_that_share_a_store_lose_no_update_and_hear_of_each_other(
    server: MongoServer, store: MongoStore
) -> None:
    uri = f"{server.uri}/{store.name.rpartition('/')[2]}"
    programs = [subprocess.Popen([sys.executable, "-c", COUNTER, uri, "40"]) for _ in range(2)]
    after, told = 0, []
    while after < 80:
        assert store.wait(after, 60)
        for change in store.changes(after):
            assert change.document is not None
            told.append(change.document["n"])
            after = change.revision
    for program in programs:
        assert program.wait(30) == 0
    assert told == sorted(set(told))
    assert told[-1] == 80 == store.revision()


def test_what_was_removed_is_forgotten_in_time_and_readers_load_anew(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "REMEMBERED", 10)
    monkeypatch.setattr(mongo, "_FORGETTING", 5)
    for n in range(30):
        store.apply([Put("things", f"{n}", {"n": n})])
        store.apply([Delete("things", f"{n}")])
    assert store._database.removed.count_documents({}) <= 15
    assert [change.id for change in store.changes(50)] == ["25", "26", "27", "28", "29"]
    for after in (0, 49):
        with pytest.raises(Gap, match="load anew"):
            store.changes(after)
