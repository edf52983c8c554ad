"""The MQTT transports on real brokers: what arrives, what must not, and what happens when something breaks."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from mangrove.link.brokers.managed import Account
from mangrove.link.transports import mqtt_connection
from mangrove.link.transports.interface import (
    MAX_PAYLOAD,
    Broker,
    Connected,
    Disconnected,
    Received,
    TransportEvent,
)
from mangrove.link.transports.mqtt import CHILD_BOUNDS, MqttChildTransport, MqttParentTransport
from tests.integration.conftest import House, MakeBroker, account
from tests.integration.links import Inbox, RawClient, Relay, freeze, threads, wait_until

pytestmark = pytest.mark.broker

WILL = b"the will"


class Ends:
    """A parent and a child, connected."""

    def __init__(self, house: House, *, port: int = 0, keep_alive: int = mqtt_connection.KEEP_ALIVE) -> None:
        self.house = house
        self.at_parent, self.at_child = Inbox(), Inbox()
        self.parent = house.parent_transport(self.at_parent, keep_alive=keep_alive)
        self.at_parent.next(Connected)
        self.child = house.child_transport(house.a, self.at_child, keep_alive=keep_alive)
        self.connect(port)

    def connect(self, port: int = 0) -> None:
        self.child.open(self.house.access(self.house.a, port), WILL)
        self.at_child.next(Connected)

    def connect_again(self) -> None:
        """As a link does: try until it works."""
        for _ in range(50):
            self.child.open(self.house.access(self.house.a), WILL)
            with contextlib.suppress(AssertionError):
                self.at_child.next(Connected, 0.5)
                return
        raise AssertionError(f"never connected again: {self.at_child.events}")

    def talk(self) -> None:
        """Both directions work."""
        word = secrets.token_bytes(8)
        assert self.child.send("hello", word, 1)
        wait_until(lambda: word in [event.payload for event in self.at_parent.received], "a word from the child")
        assert self.parent.send(self.house.a.username, "welcome", word, 1, 0)
        wait_until(lambda: word in [event.payload for event in self.at_child.received], "a word from the parent")


@pytest.fixture
def ends(house: House) -> Ends:
    return Ends(house)


# What arrives.


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_arrive_whole_in_both_directions(ends: Ends, qos: int) -> None:
    payload = bytes(range(256)) * 1024  # MAX_PAYLOAD, and every byte
    assert len(payload) == MAX_PAYLOAD
    child = ends.house.a.username

    assert ends.child.send("report", payload, qos)
    assert ends.child.send("beat", b"", qos)
    assert ends.at_parent.next(Received) == Received(child, "report", payload, 0)
    assert ends.at_parent.next(Received) == Received(child, "beat", b"", 0)

    assert ends.parent.send(child, "assign", payload, qos, 0)
    assert ends.at_child.next(Received) == Received(child, "assign", payload, 0)


def test_connected_means_subscribed(house: House) -> None:
    """Whoever is told that a child is connected may answer it at once, and nothing is lost."""
    parent = house.parent_transport(at_parent := Inbox())
    at_parent.next(Connected)
    child = house.child_transport(house.a, at_child := Inbox())
    for number in range(20):
        child.open(house.access(house.a), WILL)
        at_child.next(Connected)
        assert parent.send(house.a.username, "welcome", b"%d" % number, 0, 0)
        assert at_child.next(Received).payload == b"%d" % number


def test_one_identity_may_have_several_connections(ends: Ends) -> None:
    bulk = ends.house.child_transport(ends.house.a, at_bulk := Inbox())
    bulk.open(ends.house.access(ends.house.a), b"will of the second")
    at_bulk.next(Connected)
    assert bulk.send("stream", b"bulk", 1)
    assert ends.at_parent.next(Received).payload == b"bulk"
    ends.talk()
    assert not any(isinstance(event, Disconnected) for event in [*ends.at_child.events, *at_bulk.events])


# When nobody is there.


def test_nothing_is_sent_while_not_connected(house: House) -> None:
    parent = MqttParentTransport(house.parent.username, [house.access(house.parent)], Inbox())
    child = house.child_transport(house.a, at_child := Inbox())
    assert not child.send("hello", b"early", 1)
    assert not parent.send(house.a.username, "welcome", b"early", 1, 0)

    child.open(house.access(house.a), WILL)
    at_child.next(Connected)
    assert child.send("hello", b"in time", 1)
    child.close()
    assert not child.send("hello", b"late", 1)

    parent.open()
    wait_until(lambda: parent.send(house.a.username, "welcome", b"in time", 1, 0), "the parent to connect")
    assert not parent.send(house.a.username, "welcome", b"nobody's broker", 1, 1)
    parent.close()
    assert not parent.send(house.a.username, "welcome", b"late", 1, 0)


def test_wrong_password_is_refused_with_a_reason(house: House) -> None:
    wrong = Account(house.a.username, secrets.token_hex(32))
    child = house.child_transport(house.a, inbox := Inbox())
    child.open(house.access(wrong), WILL)
    reason = inbox.next(Disconnected).reason
    assert "refused the credentials" in reason
    assert house.a.username in reason
    assert wrong.password not in reason
    assert inbox.events == [Disconnected(reason)]


def test_a_stranger_is_refused(house: House) -> None:
    child = house.child_transport(stranger := account(), inbox := Inbox())
    for access in (house.access(stranger), Broker(house.broker.broker.url)):
        child.open(access, WILL)
        assert "refused the credentials" in inbox.next(Disconnected).reason


# The will.


def test_the_will_is_published_when_the_connection_is_cut(house: House, relay: Relay) -> None:
    ends = Ends(house, port=relay.port)
    relay.cut()
    assert ends.at_parent.next(Received) == Received(house.a.username, "gone", WILL, 0)
    assert "broke" in ends.at_child.next(Disconnected).reason
    assert not ends.child.send("beat", b"", 0)


CLIENT = """
import sys, time
from mangrove.link.transports.interface import Broker, Connected
from mangrove.link.transports.mqtt import MqttChildTransport
url, parent, username, password = sys.argv[1:]
child = MqttChildTransport(parent, username, lambda event: print(type(event).__name__, flush=True), keep_alive=1)
child.open(Broker(url, username, password), b"the will")
time.sleep(600)
"""


@pytest.fixture
def at_parent(house: House) -> Inbox:
    """What a parent hears, who was there before the child: a busy machine may take that for dead by itself."""
    house.parent_transport(inbox := Inbox())
    inbox.next(Connected)
    return inbox


@pytest.fixture
def client_process(house: House, at_parent: Inbox) -> Iterator[subprocess.Popen[str]]:
    """A child in a process of its own, connected."""
    access = house.access(house.a)
    arguments = [access.url, house.parent.username, access.username, access.password]
    with subprocess.Popen([sys.executable, "-c", CLIENT, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "Connected\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_the_will_is_published_when_the_child_dies_or_freezes(
    house: House, at_parent: Inbox, client_process: subprocess.Popen[str], fault: signal.Signals
) -> None:
    client_process.send_signal(fault)
    assert at_parent.next(Received) == Received(house.a.username, "gone", WILL, 0)


def test_a_child_that_leaves_in_order_leaves_no_will(ends: Ends) -> None:
    assert ends.child.send("report", b"last words", 1)
    ends.child.close()
    other = ends.house.child_transport(ends.house.b, at_other := Inbox())
    other.open(ends.house.access(ends.house.b), WILL)
    at_other.next(Connected)
    assert other.send("hello", b"later", 1)
    wait_until(lambda: b"later" in [event.payload for event in ends.at_parent.received], "the later word")
    assert [event.payload for event in ends.at_parent.received] == [b"last words", b"later"]


def test_both_ends_notice_a_frozen_broker(house: House, relay: Relay) -> None:
    at_parent, at_child = Inbox(), Inbox()
    house.parent_transport(at_parent, port=relay.port, keep_alive=1)
    child = house.child_transport(house.a, at_child, keep_alive=1)
    child.open(house.access(house.a, relay.port), WILL)
    at_parent.next(Connected)
    at_child.next(Connected)
    relay.silence()
    assert "has not answered for 2 s" in at_parent.next(Disconnected).reason
    assert "has not answered for 2 s" in at_child.next(Disconnected).reason


# Who may do what.


def test_a_child_cannot_write_what_is_not_its_own(ends: Ends) -> None:
    house, at_b = ends.house, Inbox()
    b = house.child_transport(house.b, at_b)
    b.open(house.access(house.b), WILL)
    at_b.next(Connected)
    parent, own, other = house.parent.username, house.a.username, house.b.username
    topics = [
        f"mangrove/{parent}/{other}/up/report",
        f"mangrove/{parent}/{other}/down/assign",
        f"mangrove/{parent}/{other}/up/bulk/stream",
        f"mangrove/{parent}/{other}/down/bulk/stream",
        f"mangrove/{parent}/{own}/down/assign",
        f"mangrove/{parent}/{own}x/up/report",
        f"mangrove/{other}/{own}/up/report",
        # How NATS keeps QoS 1 inside, and its own subjects.
        f"$MQTT/msgs/mangrove/{parent}/{other}/up/report",
        f"$MQTT/msgs/mangrove/{parent}/{other}/down/assign",
        f"mangrove.{parent}.{other}.down.assign",
        "$JS/API/STREAM/DELETE/$MQTT_msgs",
        "$SYS/broker/uptime",
    ]
    for topic in topics:
        for qos in (0, 1):
            attacker = RawClient(house.access(house.a))
            attacker.publish(topic, b"forged", qos)
            attacker.close()
    ends.talk()
    assert b.send("hello", b"honest", 1)
    wait_until(lambda: b"honest" in [event.payload for event in ends.at_parent.received], "an honest word")
    assert ends.parent.send(other, "welcome", b"honest", 1, 0)
    at_b.next(Received)
    for inbox in (ends.at_parent, ends.at_child, at_b):
        assert b"forged" not in [event.payload for event in inbox.received]


def test_a_child_cannot_read_what_is_not_its_own(ends: Ends) -> None:
    house, at_b = ends.house, Inbox()
    b = house.child_transport(house.b, at_b)
    b.open(house.access(house.b), WILL)
    at_b.next(Connected)
    parent, own, other = house.parent.username, house.a.username, house.b.username
    filters = [
        f"mangrove/{parent}/{other}/down/+",
        f"mangrove/{parent}/+/up/bulk/+",
        f"mangrove/{parent}/{other}/down/bulk/+",
        f"mangrove/{parent}/{other}/#",
        f"mangrove/{parent}/+/down/+",
        f"mangrove/{parent}/+/up/+",
        f"mangrove/{parent}/{own}/up/+",
        "mangrove/+/+/+/+",
        "+/+/+/+/+",
        "#",
        "$SYS/#",
        "$MQTT/#",
        "$MQTT/sub/#",
        "$MQTT/msgs/#",
        "$JS/#",
        f"mangrove/{parent}/*/down/assign",
        f"mangrove.{parent}.{other}.down.assign",
    ]
    spies = [RawClient(house.access(house.a)) for _ in filters]
    for spy, topic in zip(spies, filters, strict=True):
        spy.subscribe(topic)
    for qos in (0, 1):
        assert ends.parent.send(other, "assign", b"secret", qos, 0)
        assert b.send("report", b"secret", qos)
        assert ends.child.send("report", b"secret", qos)
    # What is the child's own still arrives, where it was asked for, after all that.
    assert ends.parent.send(own, "assign", b"own", 1, 0)
    assert ends.at_child.next(Received).payload == b"own"
    wait_until(lambda: len(ends.at_parent.received) == 4 and len(at_b.received) == 2, "what is allowed")
    for spy, topic in zip(spies, filters, strict=True):
        spy.close()
        assert {payload for _, payload in spy.heard} <= {b"own"}, topic


# Junk.


def test_junk_is_dropped_and_counted_and_kills_nothing(ends: Ends) -> None:
    house, counters = ends.house, ends.parent.counters
    parent, child = house.parent.username, house.a.username
    junk = RawClient(house.access(house.a))
    kind = f"mangrove/{parent}/{child}/up/report"
    junk.publish(kind, os.urandom(1000))  # not ours to judge: handed on
    assert len(ends.at_parent.next(Received).payload) == 1000
    junk.publish(kind, bytes(MAX_PAYLOAD + 1), qos=1)
    wait_until(lambda: counters.too_large == 1, "the oversized message is counted")
    junk.publish(f"mangrove/{parent}/{child}/up/{'k' * 1000}", b"x", qos=1)
    assert ends.at_parent.next(Received).kind == "k" * 1000
    junk.close()
    # Only the parent's own account can write these.
    forger = RawClient(house.access(house.parent))
    forger.publish(f"mangrove/{parent}/{child}/up/", b"no kind", qos=1)
    wait_until(lambda: counters.malformed == 1, "the malformed topic is counted")
    forger.close()
    ends.talk()
    assert not any(isinstance(event, Disconnected) for event in ends.at_parent.events)
    assert b"no kind" not in [event.payload for event in ends.at_parent.received]


def test_what_a_broker_would_not_take_costs_the_sender_its_connection_alone(ends: Ends) -> None:
    attacker = RawClient(ends.house.access(ends.house.a))
    topic = f"mangrove/{ends.house.parent.username}/{ends.house.a.username}/up/report"
    attacker.publish(topic, bytes(8 * MAX_PAYLOAD), qos=1)
    attacker.close()
    ends.talk()
    assert ends.parent.counters.too_large == 0
    assert not any(isinstance(event, Disconnected) for event in [*ends.at_parent.events, *ends.at_child.events])


def test_retained_messages_are_not_heard(house: House) -> None:
    """A child cannot leave messages for a parent that connects later."""
    attacker = RawClient(house.access(house.a))
    attacker.publish(f"mangrove/{house.parent.username}/{house.a.username}/up/hello", b"kept", qos=1, retain=True)
    attacker.close()
    ends = Ends(house)
    ends.talk()
    assert b"kept" not in [event.payload for event in ends.at_parent.received]


def test_oversized_payloads_are_not_sent(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    assert not ends.child.send("report", bytes(MAX_PAYLOAD + 1), 1)
    assert ends.child.counters.too_large == 1
    assert "262145 bytes" in caplog.text
    ends.talk()


def test_an_on_event_that_raises_kills_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()

    def on_event(event: TransportEvent) -> None:
        inbox(event)
        raise RuntimeError("a mistake in what listens")

    parent = house.parent_transport(on_event)
    inbox.next(Connected)
    child = house.child_transport(house.a, on_event)
    child.open(house.access(house.a), WILL)
    inbox.next(Connected)
    with caplog.at_level(logging.ERROR):
        for number in range(10):
            assert child.send("beat", b"%d" % number, 1)
            assert inbox.next(Received).payload == b"%d" % number
    wait_until(lambda: parent.counters.callback_errors == 11, "all errors are counted")
    assert child.counters.callback_errors == 1
    assert len([record for record in caplog.records if "on_event failed" in record.message]) < 7


# Brokers that die.


def test_after_the_death_of_a_broker_both_ends_come_back(ends: Ends) -> None:
    assert ends.house.broker.pid
    os.kill(ends.house.broker.pid, signal.SIGKILL)
    ends.at_parent.next(Disconnected)
    ends.at_child.next(Disconnected)
    assert not ends.child.send("beat", b"", 0)
    ends.at_parent.next(Connected)
    ends.connect_again()
    ends.talk()


def test_nothing_comes_from_an_old_queue(ends: Ends) -> None:
    pid = ends.house.broker.pid
    assert pid
    freeze(pid)
    for number in range(50):
        assert ends.child.send("report", b"old %d" % number, number % 2)
        assert ends.parent.send(ends.house.a.username, "assign", b"old %d" % number, number % 2, 0)
    os.kill(pid, signal.SIGKILL)
    ends.at_parent.next(Disconnected)
    ends.at_child.next(Disconnected)
    ends.at_parent.next(Connected)
    ends.connect_again()
    ends.talk()
    for inbox in (ends.at_parent, ends.at_child):
        assert len(inbox.received) == 1


def test_queues_are_bounded_and_work_again_afterwards(ends: Ends) -> None:
    pid = ends.house.broker.pid
    assert pid
    freeze(pid)
    sent = 0
    try:
        while ends.child.send("report", b"%d" % sent, 1):
            sent += 1
            assert sent <= CHILD_BOUNDS.messages
        assert sent == CHILD_BOUNDS.messages
        assert not ends.child.send("beat", b"", 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(ends.at_parent.received) == sent, "all that was accepted")
    assert [event.payload for event in ends.at_parent.received] == [b"%d" % number for number in range(sent)]
    wait_until(lambda: ends.child.send("beat", b"", 0), "room in the queue")
    ends.talk()


def test_queues_are_bounded_in_bytes(ends: Ends) -> None:
    pid = ends.house.broker.pid
    assert pid
    freeze(pid)
    try:
        sent = 0
        while ends.child.send("report", bytes(MAX_PAYLOAD), 1):
            sent += 1
        assert sent == CHILD_BOUNDS.bytes // MAX_PAYLOAD
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(ends.at_parent.received) == sent, "all that was accepted")


# Opening and closing.


def test_opening_again_gives_the_earlier_connection_up(ends: Ends) -> None:
    for _ in range(5):
        ends.connect()
    ends.talk()
    assert [type(event) for event in ends.at_child.events] == [Connected] * 6 + [Received]
    wait_until(lambda: len(threads("mqtt-child")) == 1, "the earlier threads to end")
    assert len(ends.at_parent.received) == 1, "the broker published a will"


def test_close_is_prompt_and_final(ends: Ends) -> None:
    started = time.monotonic()
    ends.child.close()
    ends.parent.close()
    assert time.monotonic() - started < mqtt_connection.CONNECT_TIMEOUT, "no time-out was waited for"
    assert not threads("mqtt-")
    seen = len(ends.at_child.events), len(ends.at_parent.events)
    other = ends.house.parent_transport(at_other := Inbox())
    at_other.next(Connected)
    assert other.send(ends.house.a.username, "assign", b"x", 1, 0)
    assert (len(ends.at_child.events), len(ends.at_parent.events)) == seen
    ends.child.close()  # once more does no harm
    ends.connect()  # and it can be opened again
    ends.parent.open()
    ends.at_parent.next(Connected)
    ends.talk()


def test_a_listener_may_close_from_within(house: House) -> None:
    closed = threading.Event()

    def on_event(_: TransportEvent) -> None:
        child.close()
        closed.set()

    child = house.child_transport(house.a, on_event)
    child.open(house.access(house.a), WILL)
    assert closed.wait(10)
    wait_until(lambda: not threads("mqtt-child"), "its thread to end")


def test_a_parent_opens_once(ends: Ends) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        ends.parent.open()


def test_a_parent_uses_all_its_brokers(make_broker: MakeBroker) -> None:
    parent, child = account(), account()
    brokers = [make_broker(parent), make_broker(parent)]
    for broker in brokers:
        broker.set_children([child])
        broker.start()
    inbox, at_child = Inbox(), Inbox()
    transport = MqttParentTransport(parent.username, [broker.broker for broker in brokers], inbox)
    transport.open()
    assert {inbox.next(Connected).via, inbox.next(Connected).via} == {0, 1}
    own = MqttChildTransport(parent.username, child.username, at_child)
    for via, broker in enumerate(brokers):
        own.open(Broker(broker.url("127.0.0.1"), child.username, child.password), WILL)
        at_child.next(Connected)
        assert own.send("hello", b"", 1)
        assert inbox.next(Received).via == via
        assert transport.send(child.username, "welcome", b"%d" % via, 1, via)
        assert at_child.next(Received).payload == b"%d" % via
    brokers[0].stop()
    assert inbox.next(Disconnected).via == 0
    assert transport.send(child.username, "assign", b"", 1, 1)
    at_child.next(Received)
    own.close()
    transport.close()
