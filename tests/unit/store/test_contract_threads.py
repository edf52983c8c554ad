"""The contract under concurrency: no lost update, no half batch, no change untold."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from mangrove.store.interface import Change, Delete, Put, RevisionConflict, Store

THREADS = 4
ROUNDS = 40


def increment(store: Store, thread: int) -> int:
    """Raises a shared counter and one of its own, ROUNDS times each, in one batch; how often it lost a race."""
    conflicts = 0
    for number in range(1, ROUNDS + 1):
        while True:
            shared = store.get("things", "shared")
            assert shared is not None
            try:
                store.apply(
                    [
                        Put("things", "shared", {"n": shared.document["n"] + 1}, expect=shared.revision),
                        Put("things", f"own-{thread}", {"n": number}),
                        Delete("things", f"own-{thread}-{number - 1}"),
                        Put("things", f"own-{thread}-{number}", {}),
                    ]
                )
                break
            except RevisionConflict:
                conflicts += 1
    return conflicts


def test_no_update_is_lost_and_the_feed_tells_all(store: Store) -> None:
    store.apply([Put("things", "shared", {"n": 0})])
    told: list[Change] = []
    looked, writers_done = threading.Event(), threading.Event()

    def follow() -> None:
        after = 0
        while not writers_done.is_set() or after < store.revision():
            store.wait(after, 0.05)
            for change in store.changes(after, limit=10):
                told.append(change)
                after = change.revision

    def look() -> None:
        """Looks at all while others write: the own counters always sum up to the shared one."""
        while not writers_done.is_set():
            found = {stored.id: stored for stored in store.load("things")}
            own = [stored for id, stored in found.items() if id.startswith("own-") and id.count("-") == 1]
            assert sum(stored.document["n"] for stored in own) == found["shared"].document["n"]
            assert len(found) == 1 + 2 * len(own)
            looked.set()

    with ThreadPoolExecutor(THREADS + 2) as pool:
        follower, looker = pool.submit(follow), pool.submit(look)
        try:
            assert looked.wait(60)
            writers = [pool.submit(increment, store, thread) for thread in range(THREADS)]
            for writer in writers:
                writer.result(60)
        finally:
            writers_done.set()
        follower.result(60)
        looker.result(60)

    shared = store.get("things", "shared")
    assert shared is not None
    assert shared.document["n"] == THREADS * ROUNDS
    assert store.revision() == shared.revision == 1 + THREADS * ROUNDS
    assert [change.revision for change in told] == sorted(change.revision for change in told)
    mirror = {change.id: change.document for change in told}
    assert {id: document for id, document in mirror.items() if document is not None} == {
        stored.id: stored.document for stored in store.load("things")
    }
    numbers = [change.document["n"] for change in told if change.id == "shared" and change.document]
    assert numbers == sorted(set(numbers))  # what was written again meanwhile may have been left out
    assert numbers[-1] == THREADS * ROUNDS


def test_batches_that_come_at_once_are_judged_each_for_itself(store: Store) -> None:
    """Some contradict what others did a moment before; those are refused, and no others."""
    first = store.apply([Put("things", "shared", {"n": 0})])
    outcomes: list[str] = []
    ready = threading.Barrier(THREADS * 2)

    def write(thread: int) -> None:
        ready.wait(30)
        for number in range(10):
            try:
                if thread % 2:
                    store.apply([Put("things", f"{thread}.{number}", {}, expect=0)])
                else:
                    store.apply([Put("things", "shared", {"n": thread}, expect=first), Put("things", "never", {})])
                outcomes.append("written")
            except RevisionConflict:
                outcomes.append("refused")

    with ThreadPoolExecutor(THREADS * 2) as pool:
        for done in [pool.submit(write, thread) for thread in range(THREADS * 2)]:
            done.result(60)
    assert outcomes.count("written") == THREADS * 10 + 1
    assert store.revision() == first + THREADS * 10 + 1
    assert len({stored.revision for stored in store.load("things")}) == THREADS * 10 + 1  # shared and never are one
    assert {change.revision for change in store.changes(0)} >= {first + 1, store.revision()}
