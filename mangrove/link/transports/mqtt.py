"""The transports over MQTT 3.1.1: `mangrove/<parent>/<child>/up/<kind>` and `…/down/<kind>`, nothing retained."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial

from mangrove.base.clock import SystemClock
from mangrove.link.transports.address import Address
from mangrove.link.transports.interface import Broker, Connected, Disconnected, OnEvent, TransportEvent
from mangrove.link.transports.mqtt_connection import KEEP_ALIVE, Bounds, Connection, Counters

#: A child's queue. It sends a beat every few seconds and answers calls in chunks of 32 kB under the asker's credit:
#: 256 messages are minutes of that, and 2 MiB are a tenth of the memory that a node engine may use.
CHILD_BOUNDS = Bounds(messages=256, bytes=2 * 1024 * 1024)

#: A parent's queue, per broker: a `welcome` and an `assign` of some kilobytes to each child of a cluster of 1,000
#: that reconnects at once.
PARENT_BOUNDS = Bounds(messages=4096, bytes=32 * 1024 * 1024)

#: Seconds before a parent's first, and at most before any, further attempt. It starts low because a managed broker
#: that died is back within a second, and ends low because a parent without its broker hears nobody.
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0

#: Seconds that `close` waits for the network threads. They wake at once; only a look-up of a name and an attempt to
#: connect cannot be interrupted, and such a thread ends by itself, without a word, when that has run out.
_CLOSE_TIMEOUT = 0.5

_clock = SystemClock()


def up_topic(parent: str, child: str, kind: str) -> str:
    return f"mangrove/{parent}/{child}/up/{kind}"


def down_topic(parent: str, child: str, kind: str) -> str:
    return f"mangrove/{parent}/{child}/down/{kind}"


class MqttChildTransport:
    """A child's connection (`interface.ChildTransport`). `counters` tells what it dropped."""

    def __init__(
        self, parent: str, child: str, on_event: OnEvent, *, bulk: bool = False, keep_alive: int = KEEP_ALIVE
    ) -> None:
        """bulk: the second connection, which hears what is below `bulk/` and nothing else."""
        self.counters = Counters()
        self._kinds = "bulk/+" if bulk else "+"
        self._parent = parent
        self._child = child
        self._on_event = on_event
        self._keep_alive = keep_alive
        self._connection: Connection | None = None
        self._threads: list[threading.Thread] = []

    def open(self, broker: Broker, will: bytes) -> None:
        self._give_up()
        connection = Connection(
            broker,
            down_topic(self._parent, self._child, self._kinds),
            self._on_event,
            self.counters,
            bounds=CHILD_BOUNDS,
            will=(up_topic(self._parent, self._child, "gone"), will) if will else None,
            keep_alive=self._keep_alive,
        )
        self._connection = connection
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(_start(connection.run, "mqtt-child"))

    def send(self, kind: str, payload: bytes, qos: int) -> bool:
        connection = self._connection
        return connection is not None and connection.send(up_topic(self._parent, self._child, kind), payload, qos)

    def close(self) -> None:
        self._give_up()
        _join(self._threads)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.give_up()
            self._connection = None


class MqttParentTransport:
    """A parent's connections to all of its brokers (`interface.ParentTransport`). `counters` tells what was dropped."""

    def __init__(
        self,
        parent: str,
        brokers: Sequence[Broker],
        on_event: OnEvent,
        *,
        bulk: bool = False,
        keep_alive: int = KEEP_ALIVE,
    ) -> None:
        """bulk: as of a child's. Raises InvalidInput when a broker's URL is not one."""
        for broker in brokers:
            Address.parse(broker.url)
        self.counters = Counters()
        self._kinds = "bulk/+" if bulk else "+"
        self._parent = parent
        self._brokers = tuple(brokers)
        self._on_event = on_event
        self._keep_alive = keep_alive
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._connections: dict[int, Connection] = {}
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        if self._threads:
            raise RuntimeError("the transport is open already")
        self._closed = threading.Event()
        for via, broker in enumerate(self._brokers):
            keep_connected = partial(self._keep_connected, via, broker, self._closed)
            self._threads.append(_start(keep_connected, "mqtt-parent"))

    def send(self, child: str, kind: str, payload: bytes, qos: int, via: int) -> bool:
        connection = self._connections.get(via)
        return connection is not None and connection.send(down_topic(self._parent, child, kind), payload, qos)

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            connections = list(self._connections.values())
            self._connections.clear()
        for connection in connections:
            connection.give_up()
        _join(self._threads)
        self._threads = []

    def _keep_connected(self, via: int, broker: Broker, closed: threading.Event) -> None:
        delay = FIRST_DELAY
        while True:
            connection = Connection(
                broker,
                up_topic(self._parent, "+", self._kinds),
                self._on_event,
                self.counters,
                bounds=PARENT_BOUNDS,
                via=via,
                keep_alive=self._keep_alive,
            )
            with self._lock:
                if closed.is_set():
                    return
                self._connections[via] = connection
            started = _clock.now()
            connection.run()
            if _clock.now() - started > LONGEST_DELAY:  # only a connection that lasted shows that the trouble is over
                delay = FIRST_DELAY
            # Jitter: parents that lost the same broker at the same moment do not all come back at the same moment.
            if closed.wait(delay * random.uniform(0.5, 1.0)):
                return
            delay = min(delay * 2, LONGEST_DELAY)


def try_broker(broker: Broker, subscription: str) -> str:
    """Connect once, subscribe, and leave again: empty when that worked, else the reason for a person.

    Blocks: for twice CONNECT_TIMEOUT at most, once the broker's name is resolved.
    """
    outcome = ""

    def on_event(event: TransportEvent) -> None:
        nonlocal outcome
        if isinstance(event, Disconnected):
            outcome = event.reason
        elif isinstance(event, Connected):
            connection.give_up()

    connection = Connection(broker, subscription, on_event, Counters(), bounds=CHILD_BOUNDS)
    connection.run()
    return outcome


def _start(run: Callable[[], None], name: str) -> threading.Thread:
    # A daemon thread, because nothing that waits for a broker may keep a program from ending.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def _join(threads: Sequence[threading.Thread]) -> None:
    deadline = _clock.now() + _CLOSE_TIMEOUT
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - _clock.now()))
