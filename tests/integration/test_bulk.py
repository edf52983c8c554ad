"""Streams over real brokers: on their own connection, at full speed, while beats go through at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from mangrove.base.clock import SystemClock
from mangrove.link.child import ChildIdentity
from mangrove.link.messages import Call
from mangrove.link.streams import CHUNK, WINDOW, ParentStreams
from mangrove.link.transports.interface import Received
from mangrove.roles import bulk as bulk_module
from mangrove.roles.bulk import ChildBulk, ParentBulk
from mangrove.roles.loop import Loop
from tests.integration.conftest import House
from tests.integration.links import wait_until
from tests.integration.test_mqtt_transport import Ends

KEY = b"k" * 32
ID = "5" * 24


@dataclass
class Pair:
    """Both ends of the streams of one child, each in its loop."""

    house: House
    got: int = 0
    ended: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    credit: int = 0

    def __post_init__(self) -> None:
        clock = SystemClock()
        child, parent = self.house.a.username, self.house.parent.username
        identity = ChildIdentity(parent, child, KEY, "node", "test", 1, "boot")
        at_child = self.house.child_transport(
            self.house.a, lambda event: self.below_loop.post(lambda: self.below.handle(event)), bulk=True
        )
        at_parent = self.house.parent_transport(
            lambda event: self.above_loop.post(lambda: self.above.handle(event)), bulk=True
        )
        self.below = ChildBulk(identity, at_child, lambda: self.house.access(self.house.a), clock)
        self.above = ParentBulk(ParentStreams(parent, "s" * 24, 1, lambda id: KEY), at_parent, clock)
        self.below_loop, self.above_loop = Loop(self.below, clock, "below"), Loop(self.above, clock, "above")
        self.below_loop.start()
        self.above_loop.start()

    def begin(self, *, reads: bool = True) -> None:
        """Ask for a stream."""
        call = Call(ID, "flood", {}, 10.0, credit=WINDOW)

        def came(data: bytes, position: str) -> None:
            self.got += len(data)
            if reads:
                self.above.allow(ID, self.got + WINDOW)

        def answer() -> None:
            self.credit = WINDOW
            assert not self.below.begin(call, 1, self._credited, self.stopped.append)

        ask = lambda: self.below_loop.post(answer)  # noqa: E731  # the way of the first connection
        self.above_loop.post(lambda: self.above.begin(self.house.a.username, call, came, self.ended.append, ask))

    def _credited(self, credit: int) -> None:
        self.credit = credit

    def flood(self, count: int) -> None:
        """Send so many bytes, as fast as they are taken."""
        for begin in range(0, count, CHUNK):
            end = min(begin + CHUNK, count)
            wait_until(partial(self._may, end), "credit")
            self.below_loop.post(partial(self._send, end - begin))

    def _may(self, end: int) -> bool:
        return end <= self.credit or bool(self.stopped)

    def _send(self, size: int) -> None:
        self.below.send(ID, bytes(size), "")

    def close(self) -> None:
        for loop, core in ((self.below_loop, self.below), (self.above_loop, self.above)):
            loop.stop()
            core.close()


@pytest.fixture
def pair(house: House) -> Iterator[Pair]:
    pair = Pair(house)
    yield pair
    pair.close()


def test_beats_go_through_at_once_beside_a_stream_at_full_speed(house: House, pair: Pair) -> None:
    """And all of the stream arrives, on a connection that nobody had to open before."""
    ends = Ends(house)
    pair.begin()
    wait_until(lambda: pair.credit, "the stream to begin")
    size = 16 * 2**20
    flood = threading.Thread(target=pair.flood, args=(size,))
    flood.start()
    waited, number = [], 0
    while pair.got < size:
        number += 1
        word = str(number).encode()
        begun = time.monotonic()
        assert ends.child.send("beat", word, 0)
        while ends.at_parent.next(Received).payload != word:
            pass
        waited.append(time.monotonic() - begun)
    flood.join()
    assert number >= 3
    assert max(waited) < 10.0, "the lease by default; it takes some milliseconds where nothing else runs"
    assert all(event.kind == "beat" for event in ends.at_parent.received), "streams are not heard on the first one"
    pair.below_loop.post(lambda: pair.below.end(ID))
    wait_until(lambda: pair.ended == [""], "its end")


def test_a_reader_that_stops_leaves_no_more_than_its_credit_under_way(pair: Pair) -> None:
    pair.begin(reads=False)
    wait_until(lambda: pair.credit, "the stream to begin")
    flood = threading.Thread(target=pair.flood, args=(WINDOW,))
    flood.start()
    flood.join()
    wait_until(lambda: pair.got == WINDOW, "what there was credit for")
    assert not pair.below.streams.send(ID, b"x", "", 0.0)
    pair.above_loop.post(lambda: pair.above.cancel(ID, "enough"))
    wait_until(lambda: pair.stopped == ["enough"], "the child to be told")


def test_a_broker_that_dies_ends_the_stream_at_both_ends_and_the_next_one_works(house: House, pair: Pair) -> None:
    pair.begin()
    wait_until(lambda: pair.credit, "the stream to begin")
    pair.flood(1000)
    wait_until(lambda: pair.got == 1000, "the first bytes")
    house.broker.stop()
    wait_until(lambda: pair.ended and pair.stopped, "both ends to notice")
    assert "broke" in pair.ended[0]
    assert "broke" in pair.stopped[0]
    house.broker.start()
    pair.got, pair.credit = 0, 0
    pair.ended.clear()
    pair.stopped.clear()
    wait_until(lambda: _begun_again(pair), "another stream", 30)


def _begun_again(pair: Pair) -> bool:
    if not pair.above.streams.streams:
        pair.ended.clear()
        pair.begin()
    return bool(pair.credit) and not pair.ended


def test_a_connection_without_streams_is_closed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_module, "IDLE", 0.2)
    pair.begin()
    wait_until(lambda: pair.credit, "the stream to begin")
    pair.below_loop.post(lambda: pair.below.end(ID))
    wait_until(lambda: pair.ended == [""], "its end")
    wait_until(lambda: not (pair.below._open or pair.above._open), "both to have closed it")
