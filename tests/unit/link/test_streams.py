"""Streams over the link: all of the data in its order or an error, whatever the network does, and never more than was
asked for; nothing of other streams, other children or other times."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.link.child import ChildIdentity
from mangrove.link.envelope import Header, seal, topic_of
from mangrove.link.messages import PROTOCOL, STREAM, Call, Piece
from mangrove.link.streams import CHUNK, GIVE_UP, SHOW, STREAMS_OF_CHILD, ChildStreams, ParentStreams

PARENT, CHILD, KEY = "p" * 24, "c" * 24, b"k" * 32
IDENTITY = ChildIdentity(PARENT, CHILD, KEY, "node-1", "test", 1, "boot")


@dataclass
class Talk:
    """Both ends, and what each was told."""

    child: ChildStreams = field(default_factory=lambda: ChildStreams(IDENTITY))
    parent: ParentStreams = field(
        default_factory=lambda: ParentStreams(PARENT, "s" * 24, 3, lambda child: KEY if child == CHILD else None)
    )
    now: float = 100.0
    got: bytes = b""
    position: str = ""
    ended: list[str] = field(default_factory=list)  # what the parent was told of ends
    stopped: list[str] = field(default_factory=list)  # and the child
    credit: int = 0

    def begin(self, id: str = "1" * 24, credit: int = 100, *, reached: bool = True) -> str:
        problem = self.parent.begin(id, CHILD, credit, self._data, self.ended.append, self.now)
        if reached and not problem:
            self.credit = credit
            call = Call(id, "logs", {}, 10.0, credit=credit)
            return self.child.begin(call, 3, self._credit, self.stopped.append, self.now)
        return problem

    def carry(self) -> None:
        """Let all that is under way arrive."""
        while self.child.effects or self.parent.effects:
            up, self.child.effects = self.child.effects, []
            for payload in up:
                self.parent.receive(CHILD, payload, 0, self.now)
            down, self.parent.effects = self.parent.effects, []
            for send in down:
                self.child.receive(send.payload, self.now)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.child.tick(self.now)
        self.parent.tick(self.now)

    def _data(self, data: bytes, position: str) -> None:
        self.got += data
        self.position = position or self.position

    def _credit(self, credit: int) -> None:
        self.credit = credit


ID = "1" * 24


def test_data_arrives_with_its_position_and_an_end() -> None:
    talk = Talk()
    assert talk.begin() == ""
    assert talk.child.send(ID, b"one", "p1", talk.now)
    assert talk.child.send(ID, b"two", "p2", talk.now)
    talk.child.end(ID, "", talk.now)
    talk.carry()

    assert (talk.got, talk.position, talk.ended, talk.stopped) == (b"onetwo", "p2", [""], [])
    assert not talk.child.streams
    assert not talk.parent.streams


def test_no_more_is_sent_than_there_is_credit_for() -> None:
    talk = Talk()
    talk.begin(credit=5)
    assert talk.child.send(ID, b"12345", "", talk.now)
    assert not talk.child.send(ID, b"6", "", talk.now)
    talk.parent.allow(ID, 7, talk.now)
    talk.parent.allow(ID, 6, talk.now)
    talk.carry()
    assert talk.credit == 7
    assert talk.child.send(ID, b"67", "", talk.now)
    assert not talk.child.send(ID, b"x" * (CHUNK + 1), "", talk.now)


def test_a_child_that_sends_more_than_it_may_is_cut_off() -> None:
    talk = Talk()
    talk.begin(credit=5)
    talk.child.streams[ID].credit = 1000
    assert talk.child.send(ID, b"123456", "", talk.now)
    talk.carry()
    assert (talk.got, talk.ended) == (b"", ["it sent more than it was allowed to"])
    assert talk.stopped == ["it sent more than it was allowed to"], "the child knows, too"


def test_either_side_can_end_it() -> None:
    talk = Talk()
    talk.begin()
    talk.parent.cancel(ID, "enough", talk.now)
    talk.carry()
    assert (talk.stopped, talk.ended) == (["enough"], [])
    assert not talk.child.send(ID, b"x", "", talk.now)

    talk.begin("2" * 24)
    talk.child.end("2" * 24, "disk on fire", talk.now)
    talk.carry()
    assert talk.ended == ["disk on fire"]


def test_a_silent_stream_shows_that_it_lives_and_a_dead_one_is_given_up() -> None:
    talk = Talk()
    talk.begin()
    for _ in range(10):
        talk.tick(SHOW)
        talk.carry()
    assert (talk.ended, talk.stopped) == ([], [])
    for _ in range(3):
        talk.tick(GIVE_UP / 3)
        talk.child.effects.clear()
        talk.parent.effects.clear()
    assert talk.ended == ["it was not heard for 30 s"]
    assert talk.stopped == ["whoever asked was not heard for 30 s"]


def test_the_next_wake_is_when_something_is_due() -> None:
    talk = Talk()
    assert talk.child.next_wake() == talk.parent.next_wake() == float("inf")
    talk.begin()
    assert talk.child.next_wake() == talk.parent.next_wake() == talk.now + SHOW


def test_streams_are_bounded() -> None:
    talk = Talk()
    for number in range(STREAMS_OF_CHILD):
        assert talk.begin(f"{number:024}") == ""
    assert "which is the most" in talk.begin("x" * 24)
    call = Call("y" * 24, "logs", {}, 10.0, credit=1)
    assert "which is the most" in talk.child.begin(call, 3, lambda credit: None, talk.stopped.append, talk.now)
    assert talk.parent.begin("z" * 24, "d" * 24, 1, talk._data, talk.ended.append, talk.now) == "it is not known here"


def test_a_broken_connection_ends_all_streams_at_both_ends() -> None:
    talk = Talk()
    talk.begin()
    talk.child.send(ID, b"lost", "p1", talk.now)
    talk.child.lost("it broke", talk.now)
    talk.carry()
    assert (talk.got, talk.ended, talk.stopped) == (b"", ["it broke"], ["it broke"])


def test_a_parent_may_fail_the_streams_of_one_child_or_broker() -> None:
    talk = Talk()
    talk.begin()
    talk.parent.fail_all("elsewhere", talk.now, via=1)
    talk.parent.fail_all("another", talk.now, child="d" * 24)
    assert talk.ended == []
    talk.parent.fail_all("gone", talk.now, child=CHILD)
    assert talk.ended == ["gone"]


def _forged(talk: Talk, **changes: object) -> bytes:
    header = Header(PROTOCOL, ID, 1000)
    key, child, direction = KEY, CHILD, "up"
    if "session" in changes:
        header = Header(PROTOCOL, str(changes["session"]), 1000)
    if "key" in changes:
        key = b"x" * 32
    if "child" in changes:
        child = "d" * 24
    if "direction" in changes:
        direction = "down"
    topic = topic_of(PARENT, child, direction, STREAM)  # type: ignore[arg-type]
    return seal(key, topic, header, Piece(0, b"forged"))


@pytest.mark.parametrize("wrong", ["session", "key", "child", "direction"])
def test_what_is_not_of_this_stream_is_dropped(wrong: str) -> None:
    talk = Talk()
    talk.begin()
    payload = _forged(talk, **{wrong: "e" * 24})
    talk.parent.receive(CHILD, payload, 0, talk.now)
    talk.child.receive(payload, talk.now)
    assert (talk.got, talk.ended, talk.stopped) == (b"", [], [])
    assert (talk.parent.dropped, talk.child.dropped) == (1, 1)


def test_another_childs_word_for_a_stream_is_dropped() -> None:
    other = replace(IDENTITY, child="d" * 24)
    talk = Talk(parent=ParentStreams(PARENT, "s" * 24, 3, lambda child: KEY))
    talk.begin()
    liar = ChildStreams(other)
    liar.begin(Call(ID, "logs", {}, 10.0, credit=100), 3, lambda credit: None, talk.stopped.append, talk.now)
    liar.send(ID, b"a lie", "", talk.now)
    for payload in liar.effects:
        talk.parent.receive(other.child, payload, 0, talk.now)
    assert talk.got == b""
    assert talk.parent.dropped == 2


def test_a_word_of_another_term_is_dropped() -> None:
    talk = Talk()
    talk.begin()
    old = ParentStreams(PARENT, "s" * 24, 2, lambda child: KEY)
    old.begin(ID, CHILD, 10, talk._data, talk.ended.append, talk.now)
    old.cancel(ID, "no more", talk.now)
    talk.child.receive(old.effects[0].payload, talk.now)
    assert talk.stopped == []
    assert talk.child.dropped == 1


def test_replays_change_nothing() -> None:
    talk = Talk()
    talk.begin(credit=1000)
    talk.child.send(ID, b"once", "p1", talk.now)
    up = list(talk.child.effects)
    talk.carry()
    for payload in up:
        talk.parent.receive(CHILD, payload, 0, talk.now)
    assert (talk.got, talk.ended) == (b"once", [])
    talk.child.end(ID, "", talk.now)
    talk.carry()
    talk.begin("2" * 24)
    for payload in up:
        talk.parent.receive(CHILD, payload, 0, talk.now)
    assert talk.got == b"once"


def test_a_replay_keeps_nothing_alive() -> None:
    talk = Talk()
    talk.begin()
    talk.parent.allow(ID, 200, talk.now)
    [word] = talk.parent.effects
    talk.carry()
    for _ in range(4):
        talk.tick(GIVE_UP / 3)
        talk.parent.effects.clear()
        talk.child.effects.clear()
        talk.child.receive(word.payload, talk.now)
    assert talk.stopped == ["whoever asked was not heard for 30 s"]
    assert talk.child.dropped >= 3


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.3))
def test_all_of_it_or_an_error_whatever_the_network_does(seed: int, lost: float, repeated: float, late: float) -> None:
    """The asker resumes where it is, as a client does, until all has arrived: nothing twice, nothing missing."""
    rng = random.Random(seed)
    content = rng.randbytes(2000)
    talk = Talk()
    number, window = 0, 300
    under_way: list[tuple[float, bool, bytes]] = []
    id = ""
    for step in range(4000):
        if step > 2000:
            lost = repeated = late = 0.0
        talk.tick(0.5)
        if not talk.parent.streams:
            if talk.got == content and talk.ended[-1:] == [""]:
                break
            number += 1
            id, begun = f"{number:024}", len(talk.got)
            talk.begin(id, window, reached=rng.random() >= lost)
        stream = talk.child.streams.get(id)
        if stream is not None:
            at = begun + stream.sent
            piece = content[at : at + rng.randint(1, 90)]
            if piece:
                talk.child.send(id, piece, str(at + len(piece)), talk.now)
            else:
                talk.child.end(id, "", talk.now)
        if id in talk.parent.streams:
            talk.parent.allow(id, talk.parent.streams[id].got + window, talk.now)
        sent = [(True, payload) for payload in talk.child.effects] + [(False, s.payload) for s in talk.parent.effects]
        talk.child.effects, talk.parent.effects = [], []
        for up, payload in sent:
            copies = 0 if rng.random() < lost else 2 if rng.random() < repeated else 1
            for _ in range(copies):
                delay = rng.uniform(0, 5) if rng.random() < late else 0
                under_way.append((talk.now + delay, up, payload))
        arrived = sorted((one for one in under_way if one[0] <= talk.now), key=lambda one: one[0])
        under_way = [one for one in under_way if one[0] > talk.now]
        for _, up, payload in arrived:
            if up:
                talk.parent.receive(CHILD, payload, 0, talk.now)
            else:
                talk.child.receive(payload, talk.now)
        assert content.startswith(talk.got)
    assert talk.got == content
