"""The feed that the stores of one process share: what it forgets, and when."""

from __future__ import annotations

import pytest

from mangrove.store import feed
from mangrove.store.feed import Feed
from mangrove.store.interface import Gap


def publish(to: Feed, size: int) -> None:
    to.publish({("things", "a"): b'{"x":"' + b"x" * size + b'"}', ("things", "b"): None})


def test_it_forgets_the_oldest_when_it_holds_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HELD_BYTES", 10_000)
    kept = Feed(100)
    for _ in range(50):
        publish(kept, 400)
    told = [after for after in range(100, 151) if holds(kept, after)]
    assert told == list(range(told[0], 151))
    assert 5 < len(told) < 15
    assert [change.revision for change in kept.changes(149, 10)] == [150, 150]


def test_a_batch_larger_than_all_it_may_hold_is_a_gap_and_the_next_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HELD_BYTES", 10_000)
    kept = Feed(0)
    publish(kept, 20_000)
    assert kept.wait(0, 0)
    assert not holds(kept, 0)
    assert kept.changes(1, 10) == []
    publish(kept, 10)
    assert [change.revision for change in kept.changes(1, 10)] == [2, 2]


def test_it_knows_nothing_of_what_was_before_it() -> None:
    kept = Feed(7)
    assert kept.changes(7, 10) == []
    with pytest.raises(Gap, match=r"after revision 6 are not held \(held: after 7 to 7\); load anew"):
        kept.changes(6, 10)


def holds(kept: Feed, after: int) -> bool:
    try:
        kept.changes(after, 1000)
    except Gap:
        return False
    return True
