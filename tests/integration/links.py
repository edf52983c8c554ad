"""Tools for tests of links: a place where a transport's events arrive, a relay whose cable can be cut, certificates."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion

from mangrove.link.transports.address import Address
from mangrove.link.transports.interface import Broker, Connected, Disconnected, Received, TransportEvent

#: Seconds that anything may take which should happen at once: long, because two busy cores are shared.
PATIENCE = 20.0

Event = TypeVar("Event", Connected, Disconnected, Received)


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Fail when `condition` does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def freeze(pid: int) -> None:
    """Stop a process, and wait until each of its threads stands still: they go on for a moment on a busy machine."""
    os.kill(pid, signal.SIGSTOP)

    def stands_still() -> bool:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        return set(states) <= {"T"}

    wait_until(stands_still, f"process {pid} stands still")


def threads(prefix: str) -> list[str]:
    """Names of the threads that live, of those that begin with `prefix`."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]


class Inbox:
    """An `on_event` that keeps everything."""

    def __init__(self) -> None:
        self.events: list[TransportEvent] = []
        self._taken = 0
        self._changed = threading.Condition()

    def __call__(self, event: TransportEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def next(self, kind: type[Event], seconds: float = PATIENCE) -> Event:
        """The next event of that class that was not taken yet; those before it are passed over."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                while self._taken < len(self.events):
                    event = self.events[self._taken]
                    self._taken += 1
                    if isinstance(event, kind):
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"no {kind.__name__} within {seconds:g} s after {self.events}"
                self._changed.wait(left)

    @property
    def received(self) -> list[Received]:
        return [event for event in self.events if isinstance(event, Received)]


class Relay:
    """A cable between a client and a broker: it can be cut, or go silent while both ends stay connected."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._silent = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """Both ends see the connection closed, without a word of MQTT."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def silence(self) -> None:
        """Nothing passes any more, not even that an end closed the connection."""
        self._silent.set()

    def close(self) -> None:
        self._silent.clear()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
        for end in (self._server, *self._sockets):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, broker]
                for source, target in ((client, broker), (broker, client)):
                    thread = threading.Thread(target=self._pump, args=(source, target), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._silent.is_set():
                    target.sendall(data)
        if not self._silent.is_set():
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


class RawClient:
    """A plain MQTT client, for what our own transports would never do."""

    def __init__(self, broker: Broker) -> None:
        address = Address.parse(broker.url)
        self.heard: list[tuple[str, bytes]] = []
        self.granted: list[bool] = []
        self._connected = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = lambda _client, _, message: self.heard.append((message.topic, bytes(message.payload)))
        self._client.connect(address.host, address.port)
        self._client.loop_start()
        assert self._connected.wait(PATIENCE), "the broker did not let the raw client in"

    def subscribe(self, topic: str) -> bool:
        """Whether the broker says that it grants it."""
        before = len(self.granted)
        self._client.subscribe(topic, qos=1)
        wait_until(lambda: len(self.granted) > before or not self._client.is_connected(), f"an answer about {topic}")
        return len(self.granted) > before and self.granted[-1]

    def publish(self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False) -> None:
        """Send, and wait until it is acknowledged (QoS 1), or written, or the broker has cut the connection."""
        info = self._client.publish(topic, payload, qos, retain)
        wait_until(lambda: not self._client.is_connected() or info.is_published(), f"sending to {topic}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _client: paho.Client, _: Any, _flags: Any, code: Any, _properties: Any) -> None:
        assert not code.is_failure, code
        self._connected.set()

    def _on_subscribe(self, _client: paho.Client, _: Any, _mid: int, codes: Any, _properties: Any) -> None:
        self.granted.append(not codes[0].is_failure)


@dataclass(frozen=True)
class Certificate:
    """A certificate, valid for `localhost` alone, and by whom it is signed; paths of PEM files."""

    cert: Path
    key: Path
    ca: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        now = datetime.datetime.now(datetime.UTC)

        def certificate(name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
                .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1))
            )

        authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        authority = certificate("test authority", "test authority", authority_key)
        authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        leaf = certificate("broker", "test authority", key)
        leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        made = cls(folder / "broker.pem", folder / "broker.key", folder / "ca.pem")
        pem = serialization.Encoding.PEM
        made.ca.write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(pem))
        made.cert.write_bytes(leaf.sign(authority_key, hashes.SHA256()).public_bytes(pem))
        made.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        # Fails here, not in a broker, when one of them is wrong.
        ssl.create_default_context(cafile=str(made.ca)).load_cert_chain(made.cert, made.key)
        return made
