"""What proves a message: nothing that was cut, changed, moved or made without the key gets through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mangrove.link.envelope import BadMessage, Header, Lanes, _mac, seal, topic_of, unseal
from mangrove.link.messages import PROTOCOL, Ack, Beat, Gone, Mark, Report, Sync, Welcome
from mangrove.link.tally import VERSION, Tally

KEY = b"k" * 32
HEADER = Header(PROTOCOL, "session", 3, "store", 2)
TOPIC = topic_of("parent", "child", "down", "welcome")
WELCOME = Welcome(True, lease=10.0, beat=2.0, usage=5.0)
SEALED = seal(KEY, TOPIC, HEADER, WELCOME)


def resealed(body: bytes, topic: str = TOPIC) -> bytes:
    """An envelope with any bytes inside, and the right key's hash over them: the key is not to be relied on alone."""
    return _mac(KEY, topic, body) + body


def test_what_is_sealed_comes_out_again() -> None:
    assert unseal(KEY, TOPIC, SEALED) == (HEADER, WELCOME)
    for kind, payload in (("beat", Beat(Mark(1, "d"), {"status": "e"})), ("gone", Gone()), ("ack", Ack(4))):
        topic = topic_of("parent", "child", "up", kind)
        assert unseal(KEY, topic, seal(KEY, topic, HEADER, payload))[1] == payload


@pytest.mark.parametrize("length", range(len(SEALED)))
def test_a_message_that_was_cut_is_bad(length: int) -> None:
    with pytest.raises(BadMessage):
        unseal(KEY, TOPIC, SEALED[:length])


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_message_with_a_turned_bit_is_bad(position: int) -> None:
    turned = SEALED[:position] + bytes([SEALED[position] ^ 1]) + SEALED[position + 1 :]
    with pytest.raises(BadMessage):
        unseal(KEY, TOPIC, turned)


def test_another_key_is_bad() -> None:
    with pytest.raises(BadMessage, match="keyed hash"):
        unseal(b"l" * 32, TOPIC, SEALED)


@pytest.mark.parametrize(
    "topic",
    [
        topic_of("other", "child", "down", "welcome"),
        topic_of("parent", "other", "down", "welcome"),
        topic_of("parent", "child", "up", "welcome"),
        topic_of("parent", "child", "down", "ack"),
    ],
)
def test_the_right_words_on_another_topic_are_bad(topic: str) -> None:
    with pytest.raises(BadMessage, match="keyed hash"):
        unseal(KEY, topic, SEALED)


def test_another_protocol_is_named_with_our_own() -> None:
    newer = seal(KEY, TOPIC, Header(PROTOCOL + 1, "session", 3), WELCOME)
    with pytest.raises(BadMessage, match=f"protocol {PROTOCOL + 1}, and this side speaks {PROTOCOL}"):
        unseal(KEY, TOPIC, newer)


def test_what_is_dropped_is_counted_by_reason() -> None:
    tally = Tally()
    for problem in (
        f"{VERSION}9, and this side speaks 1",
        "the keyed hash is wrong",
        "Expected `str`",
        "not an envelope",
    ):
        tally.drop(problem)
    assert tally.dropped == {"version": 1, "forged": 1, "malformed": 2}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"{}\n{}",
        b'[1,"s"]\n{}',
        b'[1,"s",-1.5]\n{"accepted":true}',
        b'[1,"s",1]\n',
        b'[1,"s",1]\n{"accepted":"yes"}',
        b'[1,"s",1]\n{"accepted":true}}',
        b'[1,"\xff",1]\n{"accepted":true}',
        b'[1,"s",1]\n' + b"[" * 100_000,
    ],
)
def test_nonsense_under_the_right_key_is_bad(body: bytes) -> None:
    with pytest.raises(BadMessage):
        unseal(KEY, TOPIC, resealed(body))


def test_a_kind_that_nobody_knows_is_bad() -> None:
    topic = topic_of("parent", "child", "down", "gossip")
    with pytest.raises(BadMessage, match="not an envelope"):
        unseal(KEY, topic, resealed(b'[1,"s",1]\n{}', topic))


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=20))
def test_junk_is_bad_and_nothing_worse(junk: bytes, kind: str) -> None:
    topic = topic_of("parent", "child", "down", kind)
    for data in (junk, resealed(junk, topic)):
        with pytest.raises(BadMessage):
            unseal(KEY, topic, data)


@settings(deadline=None)
@given(st.text(), st.binary(max_size=50).map(repr), st.integers(0, 2**40))
def test_any_state_survives_the_way(id: str, text: str, version: int) -> None:
    topic = topic_of("parent", "child", "up", "report")
    report = Report(Mark(version, text), {id: text}, (Sync("status", Mark(version, text), remove=(id,)),))
    assert unseal(KEY, topic, seal(KEY, topic, HEADER, report))[1] == report


def header(sequence: int, term: int = 1) -> Header:
    return Header(PROTOCOL, "session", sequence, "store", term)


def test_what_is_not_newer_is_dropped() -> None:
    lanes = Lanes()
    assert [lanes.admit("beat", header(n)) for n in (1, 1, 3, 2, 4, 4)] == [True, False, True, False, True, False]


def test_kinds_do_not_overtake_each_other() -> None:
    lanes = Lanes()
    assert lanes.admit("beat", header(5))
    assert lanes.admit("report", header(4))
    assert not lanes.admit("report", header(4))


def test_a_parent_that_started_anew_counts_anew() -> None:
    lanes = Lanes()
    assert lanes.admit("ack", header(90, term=1))
    assert lanes.admit("ack", header(1, term=2))
    assert not lanes.admit("ack", header(91, term=1))
