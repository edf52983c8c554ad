"""One MQTT connection: all that is particular to paho-mqtt. Topics and reconnecting are in `mqtt`."""

from __future__ import annotations

import logging
import os
import secrets
import select
import socket
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mangrove.base.clock import SystemClock
from mangrove.base.errors import InvalidInput
from mangrove.link.transports.address import Address, verifying_context, why_not_connected
from mangrove.link.transports.interface import (
    MAX_PAYLOAD,
    Broker,
    Connected,
    Disconnected,
    OnEvent,
    Received,
    TransportEvent,
)
from mangrove.link.transports.lean_paho import paho

#: Seconds without a word after which each side asks whether the other still lives. The broker gives a frozen peer up
#: after 1.5 times this, the client after twice: sooner than a usual lease of half a minute, at 2 bytes per ping.
KEEP_ALIVE = 10

#: Seconds for each step of connecting: TCP and TLS, then MQTT until the subscription is acknowledged. A child tries
#: its next broker after 5 s without a `welcome`, so waiting longer helps nobody.
CONNECT_TIMEOUT = 5.0

#: QoS 1 messages on their way to the broker without its acknowledgement. paho's default of 20 allows 400 messages per
#: second over a line of 50 ms; a cluster of 1,000 nodes needs more than that for a moment after a restart.
MAX_IN_FLIGHT = 100

#: Milliseconds between two looks at the keep-alive while nothing happens; paho's own loop uses the same.
_TICK = 1000

#: Messages in paho's hands, with the sizes of their payloads.
_Waiting = deque[tuple[paho.MQTTMessageInfo, int]]

_log = logging.getLogger(__name__)
_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait in one connection to be sent or acknowledged, before `send` answers False."""

    messages: int
    bytes: int


@dataclass(slots=True)
class Counters:
    """What a transport dropped, and survived, since it was made."""

    #: Payloads above MAX_PAYLOAD, from either side.
    too_large: int = 0
    #: Topics that are not `mangrove/<parent>/<child>/<direction>/<kind>`, nor of a kind below `bulk/`.
    malformed: int = 0
    #: Messages out of the broker's memory; nobody of ours asks a broker to retain.
    retained: int = 0
    #: Exceptions that came out of `on_event`.
    callback_errors: int = 0


class Connection:
    """One connection, from looking up the broker's name to its end. It is used once, with a paho client of its own:
    paho would send what waits in a client again after a reconnect, and nothing may come from an old queue.

    All of paho runs in the thread that calls `run`, by paho's interface for foreign loops: so giving up wakes that
    thread at once, and an error ends this connection alone. `send` and `give_up` may be called from any thread.
    """

    def __init__(
        self,
        broker: Broker,
        subscription: str,
        on_event: OnEvent,
        counters: Counters,
        *,
        bounds: Bounds,
        via: int = 0,
        will: tuple[str, bytes] | None = None,
        keep_alive: int = KEEP_ALIVE,
    ) -> None:
        self._broker = broker
        self._subscription = subscription
        self._on_event = on_event
        self._counters = counters
        self._bounds = bounds
        self._via = via
        self._will = will
        self._keep_alive = keep_alive
        self._client: paho.Client | None = None
        self._up = False
        self._where = broker.url
        self._ending = ""  # why it has to end, as soon as that is known
        # Held while `on_event` runs, so that no event follows once `give_up` has returned; re-entrant, so that
        # `on_event` itself may give up.
        self._events = threading.RLock()
        self._given_up = threading.Event()
        self._waker = _Waker()
        # What was handed to paho and is not through yet, oldest first, per QoS: brokers acknowledge in order.
        self._sending = threading.Lock()
        self._waiting: tuple[_Waiting, _Waiting] = (deque(), deque())
        self._waiting_bytes = 0

    def run(self) -> None:
        """Connect, then serve until the connection ends or is given up. Says `Disconnected` at the end, once."""
        try:
            address = Address.parse(self._broker.url)
            self._where = str(address)
            reason = self._serve(address)
        except InvalidInput as error:
            reason = error.message
        except UnicodeError as error:  # a part of the name is longer than names may be
            reason = f"{self._where} is not the name of a machine: {error}"
        except OSError as error:
            reason = why_not_connected(error, self._broker, CONNECT_TIMEOUT)
        except Exception as error:
            _log.exception("the connection to %s ended by an error in the program", self._where)
            reason = f"an error in the program ended the connection to {self._where}: {error!r}"
        finally:
            self._up = False
            self._close()
        self._emit(Disconnected(reason, self._via))

    def send(self, topic: str, payload: bytes, qos: int) -> bool:
        """Hand a message to paho; False when not connected, too much waits, or `payload` exceeds MAX_PAYLOAD."""
        client = self._client
        if client is None or not self._up:
            return False
        if len(payload) > MAX_PAYLOAD:
            self._counters.too_large += 1
            _log.error("%s: not sent, %d bytes are more than the %d allowed", topic, len(payload), MAX_PAYLOAD)
            return False
        with self._sending:
            self._forget_what_is_through()
            messages = len(self._waiting[0]) + len(self._waiting[1])
            if messages >= self._bounds.messages or self._waiting_bytes + len(payload) > self._bounds.bytes:
                return False
            info = client.publish(topic, payload, qos)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                return False
            self._waiting[qos].append((info, len(payload)))
            self._waiting_bytes += len(payload)
        return True

    def give_up(self) -> None:
        """End it without a further event. The broker is told, as far as that takes no waiting, and keeps the will."""
        with self._events:
            self._given_up.set()
        self._waker.wake()

    def _forget_what_is_through(self) -> None:
        for waiting in self._waiting:
            while waiting and waiting[0][0].is_published():
                self._waiting_bytes -= waiting.popleft()[1]

    def _serve(self, address: Address) -> str:
        """The connection's whole life; returns why it ended, for a person. Raises OSError when connecting fails."""
        client = self._client = self._new_client(address)
        if self._given_up.is_set():
            return ""
        client.connect(address.host, address.port, keepalive=self._keep_alive)
        connection = client.socket()
        if connection is None:
            return f"{self._where} closed the connection at once"
        _send_at_once(connection.fileno())
        pending = getattr(connection, "pending", lambda: 0)  # what TLS has decoded already, unknown to poll
        poll = select.poll()
        poll.register(self._waker.fileno(), select.POLLIN)
        deadline = _clock.now() + CONNECT_TIMEOUT
        while True:
            poll.register(connection.fileno(), select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            ready = dict(poll.poll(0 if pending() else _TICK))
            if self._waker.fileno() in ready:
                self._waker.rest()
            if self._given_up.is_set():
                client.disconnect()
                client.loop_write()
                return ""
            failed = paho.MQTT_ERR_SUCCESS
            if pending() or ready.get(connection.fileno(), 0) & ~select.POLLOUT:
                failed = client.loop_read()
            failed = failed or client.loop_write() or client.loop_misc()
            if failed or client.socket() is None or self._ending:
                return self._ending or f"the connection to {self._where} broke"
            if not self._up and _clock.now() > deadline:
                return f"{self._where} accepted the connection but did not answer within {CONNECT_TIMEOUT:g} s"

    def _new_client(self, address: Address) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            # The identity is the username; a client id of one connection lets an identity have several.
            client_id=secrets.token_hex(10),
            clean_session=True,
            protocol=paho.MQTTv311,
            transport=address.transport,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        client.max_inflight_messages = MAX_IN_FLIGHT
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._will is not None:
            client.will_set(*self._will, qos=1, retain=False)
        if address.tls:
            client.tls_set_context(verifying_context(self._broker.ca_file))
        if address.transport == "websockets":
            client.ws_set_options(path=address.path)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        # With this callback set, paho leaves all writing to `run`; without it, every sender would write by itself.
        client.on_socket_register_write = lambda *_: self._waker.wake()
        return client

    def _on_connect(
        self, client: paho.Client, _: Any, _flags: paho.ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if not code.is_failure:
            client.subscribe(self._subscription, qos=1)
        elif code.getName() in ("Not authorized", "Bad user name or password"):
            self._ending = f"{self._where} refused the credentials of {self._broker.username!r}"
        else:
            self._ending = f"{self._where} refused the connection: {code.getName()}"

    def _on_subscribe(
        self, _client: paho.Client, _: Any, _mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            self._ending = f"{self._where} does not let {self._broker.username!r} read {self._subscription}"
            return
        self._up = True
        self._emit(Connected(self._via))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _: Any,
        _flags: paho.DisconnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._ending and code.getName() == "Keep alive timeout":
            self._ending = f"{self._where} has not answered for {2 * self._keep_alive} s"

    def _on_message(self, _client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if len(message.payload) > MAX_PAYLOAD:
            self._counters.too_large += 1
            return
        if message.retain:
            self._counters.retained += 1
            return
        try:
            _root, _parent, child, _direction, *bulk, kind = message.topic.split("/")
        except ValueError:  # too few levels, or not UTF-8
            child = kind = ""
        if not child or not kind or bulk not in ([], ["bulk"]):
            self._counters.malformed += 1
        elif self._up:  # what comes before the acknowledgement of the subscription belongs to nobody yet
            self._emit(Received(child, "/".join((*bulk, kind)), bytes(message.payload), self._via))

    def _emit(self, event: TransportEvent) -> None:
        with self._events:
            if self._given_up.is_set():
                return
            try:
                self._on_event(event)
            except Exception:
                errors = self._counters.callback_errors = self._counters.callback_errors + 1
                if errors & (errors - 1) == 0:  # the 1st, 2nd, 4th, 8th …: it may fail for every single message
                    _log.exception("on_event failed (%d times so far); the message is lost", errors)

    def _close(self) -> None:
        self._waker.close()
        connection = self._client.socket() if self._client else None
        if connection is not None:
            connection.close()


class _Waker:
    """Wakes a thread that waits in poll. Waking after `close` does nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._descriptor

    def wake(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def rest(self) -> None:
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def _send_at_once(descriptor: int) -> None:
    """Without TCP_NODELAY a small message waits for the acknowledgement of the one before: 40 ms at times."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
