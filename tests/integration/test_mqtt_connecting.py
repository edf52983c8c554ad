"""How a connection comes about, or why it does not: addresses, TLS, WebSocket, and servers that behave badly."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mangrove.base.errors import InvalidInput
from mangrove.link.brokers import nats
from mangrove.link.brokers.managed import Tls
from mangrove.link.transports import mqtt_connection
from mangrove.link.transports.address import Address
from mangrove.link.transports.interface import Broker, Connected, Disconnected, Received
from mangrove.link.transports.mqtt import MqttChildTransport, MqttParentTransport, try_broker
from tests.integration.conftest import MakeBroker, account
from tests.integration.links import PATIENCE, Certificate, Inbox, threads, wait_until


class Attempt:
    """Opens a child's connection and tells what came of it: "connected", or the reason why not."""

    def __init__(self, parent: str = "parent", child: str = "child") -> None:
        self.inbox = Inbox()
        self.transport = MqttChildTransport(parent, child, self.inbox)

    def __call__(self, broker: Broker) -> str:
        before = len(self.inbox.events)
        self.transport.open(broker, b"will")
        wait_until(lambda: len(self.inbox.events) > before, "an outcome")
        event = self.inbox.events[-1]
        return event.reason if isinstance(event, Disconnected) else "connected"


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    attempt = Attempt()
    yield attempt
    attempt.transport.close()


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that gives `answer` to its first connection; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"mqtt://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(PATIENCE)


# Addresses.


@pytest.mark.parametrize(
    ("url", "tls", "transport", "host", "port", "path"),
    [
        ("mqtt://broker.example", False, "tcp", "broker.example", 1883, "/mqtt"),
        ("mqtts://[2001:db8::1]:8884", True, "tcp", "2001:db8::1", 8884, "/mqtt"),
        ("ws://broker.example/link", False, "websockets", "broker.example", 80, "/link"),
        ("wss://broker.example", True, "websockets", "broker.example", 443, "/mqtt"),
    ],
)
def test_addresses(url: str, tls: bool, transport: str, host: str, port: int, path: str) -> None:
    address = Address.parse(url)
    assert (address.tls, address.transport, address.host, address.port, address.path) == (
        tls,
        transport,
        host,
        port,
        path,
    )


@pytest.mark.parametrize(
    "url", ["", "broker.example:1883", "http://broker.example", "mqtt://", "mqtt://b:99999", "mqtt://[::1", "mqtt:///x"]
)
def test_an_address_that_is_none_says_what_one_is(url: str, attempt: Attempt) -> None:
    with pytest.raises(InvalidInput, match="write for example mqtt://"):
        MqttParentTransport("parent", [Broker(url)], Inbox())
    assert "write for example mqtt://" in attempt(Broker(url))


def test_a_password_in_a_url_is_not_repeated(attempt: Attempt) -> None:
    reason = attempt(Broker("mqtt://user:hunter2@127.0.0.1"))
    assert "credentials do not belong into the URL" in reason
    assert "hunter2" not in reason


# Nobody there, or nobody who speaks MQTT.


def test_reasons_of_failure_are_for_people(
    attempt: Attempt, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    assert attempt(Broker(f"mqtt://127.0.0.1:{port}")) == (
        f"127.0.0.1:{port} refused the connection; is the broker running?"
    )

    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert "is not the name of a machine" in attempt(Broker(f"mqtt://{'long' * 20}.example"))
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    assert "the name of broker.example:1883 cannot be resolved" in attempt(Broker("mqtt://broker.example"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda connection: None, "broke"),
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100), "broke"),
        (lambda connection: connection.sendall(b"\x20\x02\x00\x03"), "refused the connection: Server unavailable"),
        (lambda connection: connection.sendall(b"\x20\x02\x00\x01"), "broke"),
        (lambda connection: connection.sendall(b"\x20\x02\x00\x63"), ""),
        (lambda connection: connection.sendall(b"\x30\x05\x00\xffabc" + os.urandom(10_000)), ""),
        (lambda connection: connection.sendall(b"\x20\x00"), ""),
        (lambda connection: connection.sendall(b"\x90\xff\xff\xff\xff\xff"), ""),
    ],
)
def test_servers_that_speak_something_else(
    attempt: Attempt, answer: Callable[[socket.socket], object], reason: str
) -> None:
    with server(answer) as url:
        outcome = attempt(Broker(url))
    assert reason in outcome
    assert outcome != "connected"
    wait_until(lambda: not threads("mqtt-"), "its thread to end")
    assert [type(event) for event in attempt.inbox.events] == [Disconnected]


def test_what_a_broker_should_never_deliver_is_dropped_and_counted(attempt: Attempt) -> None:
    def publish(topic: bytes, payload: bytes, *, retained: bool = False) -> bytes:
        body = len(topic).to_bytes(2, "big") + topic + payload
        return bytes([0x30 + retained, len(body)]) + body

    done = threading.Event()

    def broker(connection: socket.socket) -> None:
        good = b"mangrove/parent/child/down/assign"
        connection.recv(1000)
        connection.sendall(b"\x20\x02\x00\x00")
        packet_id = connection.recv(1000)[2:4]
        connection.sendall(
            publish(good, b"before the subscription is acknowledged")
            + b"\x90\x03"
            + packet_id
            + b"\x01"
            + publish(b"mangrove/parent/child/down/\xff", b"not UTF-8")
            + publish(b"mangrove/parent/child/down", b"too short")
            + publish(b"mangrove/parent/child/down/assign/now", b"too long")
            + publish(good, b"retained", retained=True)
            + publish(good, b"good")
        )
        done.wait(PATIENCE)

    with server(broker) as url:
        assert attempt(Broker(url)) == "connected"
        assert attempt.inbox.next(Received).payload == b"good"
        attempt.transport.close()
        done.set()
    assert len(attempt.inbox.events) == 2
    assert (attempt.transport.counters.malformed, attempt.transport.counters.retained) == (3, 1)


def test_a_server_that_says_nothing(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_connection, "CONNECT_TIMEOUT", 0.5)
    with server(lambda connection: connection.recv(10_000) and connection.recv(10_000)) as url:
        assert "did not answer within 0.5 s" in attempt(Broker(url))


def test_nothing_is_sent_while_connecting_and_close_is_silent(attempt: Attempt) -> None:
    calling, closed = threading.Event(), threading.Event()
    said: list[bytes] = []

    def never_answers(connection: socket.socket) -> None:
        said.append(connection.recv(1000))
        calling.set()
        closed.wait(PATIENCE)
        while more := connection.recv(1000):
            said.append(more)

    with server(never_answers) as url:
        attempt.transport.open(Broker(url), b"will")
        assert calling.wait(PATIENCE)
        assert not attempt.transport.send("hello", b"too early", 1)
        attempt.transport.close()
        closed.set()
    assert attempt.inbox.events == []
    assert b"too early" not in b"".join(said)


def test_a_parent_tries_again_with_growing_pauses(
    free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox()
    monkeypatch.setattr("mangrove.link.transports.mqtt.FIRST_DELAY", 0.01)
    transport = MqttParentTransport("parent", [Broker(f"mqtt://127.0.0.1:{free_port()}")], inbox)
    transport.open()
    for _ in range(4):
        inbox.next(Disconnected)
    transport.close()
    seen = len(inbox.events)
    assert not threads("mqtt-")
    assert len(inbox.events) == seen


# TLS.


@pytest.mark.broker
def test_tls_verifies_the_broker(make_broker: MakeBroker, certificate: Certificate, attempt: Attempt) -> None:
    parent, child, authority = account(), account(), str(certificate.ca)
    broker = make_broker(parent, tls=Tls(certificate.cert, certificate.key, authority))
    broker.set_children([child])
    broker.start()  # connects as the parent, with TLS

    attempt = Attempt(parent.username, child.username)

    def outcome(url: str, ca_file: str) -> str:
        return attempt(Broker(url, child.username, child.password, ca_file))

    url = broker.url("localhost")
    assert url == f"mqtts://localhost:{broker.port}"
    assert outcome(url, authority) == "connected"
    assert attempt.transport.send("hello", bytes(100_000), 1)
    assert "not valid by the system's authorities" in outcome(url, "")
    assert "IP address mismatch" in outcome(broker.url("127.0.0.1"), authority)
    assert "cannot be used" in outcome(url, "/nowhere/ca.pem")
    assert "cannot be used" in outcome(url, str(certificate.key))
    assert outcome(url.replace("mqtts:", "mqtt:"), "") != "connected"
    attempt.transport.close()


@pytest.mark.broker
def test_tls_with_a_server_that_has_none(make_broker: MakeBroker, attempt: Attempt) -> None:
    broker = make_broker()
    broker.start()
    assert "does it speak mqtts on that port?" in attempt(Broker(broker.url("127.0.0.1").replace("mqtt:", "mqtts:")))


# WebSocket. No managed broker listens for it: it is what a proxy in front of a broker, or a hosted one, speaks.


@pytest.fixture(params=["ws", "wss"])
def web_url(
    request: pytest.FixtureRequest, tmp_path: Path, free_port: Callable[[], int], certificate: Certificate
) -> Iterator[str]:
    """URL of a NATS server that speaks MQTT over WebSocket, and lets everybody in. (Mosquitto's needs IPv6.)"""
    if not nats.find():
        pytest.skip("nats-server is not installed")
    port = free_port()
    tls = {"tls": {"cert_file": str(certificate.cert), "key_file": str(certificate.key)}}
    configuration = {
        "server_name": "web",
        "host": "127.0.0.1",
        "port": -1,
        "mqtt": {"host": "127.0.0.1", "port": -1},
        "websocket": {"host": "127.0.0.1", "port": port} | (tls if request.param == "wss" else {"no_tls": True}),
        "jetstream": {"store_dir": str(tmp_path)},
    }
    (tmp_path / "web.conf").write_text(json.dumps(configuration))
    with subprocess.Popen([nats.find(), "-c", str(tmp_path / "web.conf")], stderr=subprocess.DEVNULL) as process:
        yield f"{request.param}://localhost:{port}/mqtt"
        process.kill()


@pytest.mark.broker
def test_web_sockets(web_url: str, certificate: Certificate) -> None:
    broker = Broker(web_url, ca_file=str(certificate.ca) if web_url.startswith("wss") else "")
    wait_until(lambda: not try_broker(broker, "mangrove/parent/+/up/+"), "NATS to answer")
    at_parent, at_child = Inbox(), Inbox()
    parent = MqttParentTransport("parent", [broker], at_parent)
    parent.open()
    at_parent.next(Connected)
    child = MqttChildTransport("parent", "child", at_child)
    child.open(broker, b"will")
    at_child.next(Connected)
    for size in (0, 1, 200, 70_000):
        payload = os.urandom(size)
        assert child.send("report", payload, 1)
        assert at_parent.next(Received).payload == payload
        assert parent.send("child", "assign", payload, 1, 0)
        assert at_child.next(Received).payload == payload
    child.close()
    parent.close()


# paho leaves the socket of a failed WebSocket handshake to the garbage collector, which Python warns about.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_web_sockets_with_a_server_that_has_none(attempt: Attempt) -> None:
    with server(lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")) as url:
        assert "does it speak ws on that port?" in attempt(Broker(url.replace("mqtt:", "ws:")))
