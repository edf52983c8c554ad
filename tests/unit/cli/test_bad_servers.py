"""The command against everything that may listen where a root should: one helpful sentence each, in bounded time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from mangrove.cli import contexts
from mangrove.client import http, session
from tests.unit.cli.conftest import CommandLine

#: What a server does with a connection; the event says when the test is over.
Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def listening(behave: Behaviour) -> Iterator[int]:
    """A server that does the same with each connection; its port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                behave(connection, over)

        def serve() -> None:
            with suppress(OSError):
                while not over.is_set():
                    threading.Thread(target=one, args=(server.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            with suppress(OSError):
                socket.create_connection(server.getsockname()).close()
            thread.join(10)


def answering(head: str, body: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        length = "" if "Content-Length" in head else f"Content-Length: {len(body)}\r\n"
        connection.sendall(f"HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n".encode() + body)

    return behave


def silent(connection: socket.socket, over: threading.Event) -> None:
    over.wait(30)


def closing(connection: socket.socket, over: threading.Event) -> None:
    """Ends the connection at once."""


def resetting(connection: socket.socket, over: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def ssh(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    over.wait(30)


def dripping(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        connection.sendall(b" ")


def dripping_head(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.02):
        connection.sendall(b"x")


def huge(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    while not over.is_set():
        connection.sendall(b" " * 65536)


def endless_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not over.is_set():
        connection.sendall(b"X-More: x\r\n" * 100)


def speaking_tls_only(connection: socket.socket, over: threading.Event) -> None:
    """As a TLS server answers what is no handshake: with an alert."""
    connection.recv(65536)
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")


def redirecting(connection: socket.socket, over: threading.Event) -> None:
    here = connection.getsockname()[1]
    answering(f"302 Found\r\nLocation: http://127.0.0.1:{here}/again")(connection, over)


OTHER_VERSION = json.dumps({"items": [{"uid": 7, "title": "a node of the far future"}], "next": None}).encode()
LATER = answering("503 Service Unavailable\r\nRetry-After: 3600", b'{"message":"the store is away"}')


@pytest.mark.parametrize(
    ("behave", "code", "sentence"),
    [
        (silent, 5, "did not answer within 0.5 s"),
        (closing, 5, "broke the connection off before it had answered"),
        (resetting, 5, "broke the connection off before it had answered"),
        (ssh, 5, "does not speak HTTP: is the port right?"),
        (speaking_tls_only, 5, "does not speak HTTP: is the port right?"),
        (dripping, 5, "did not answer within 0.5 s"),
        (dripping_head, 5, "did not answer within 0.5 s"),
        (endless_headers, 5, "does not speak HTTP: is the port right?"),
        (huge, 5, "the answer is larger than 1000000 bytes"),
        (redirecting, 5, "/again: give that address instead"),
        (answering("200 OK", b"<html><h1>It works!</h1>"), 5, "answered 200, but not as Mangrove does"),
        (answering("404 Not Found", b"<html>"), 5, "answered 404, but not as Mangrove does"),
        (answering("200 OK", b'"nonsense"'), 5, "in another form than expected"),
        (answering("200 OK", b"{}"), 5, "in another form than expected"),
        (answering("200 OK", b'{"items":' + b"[" * 100_000), 5, "answered 200, but not as Mangrove does"),
        (answering("200 OK", b"\xff\xfe\x00"), 5, "answered 200, but not as Mangrove does"),
        (answering("200 OK", b""), 5, "answered 200, but not as Mangrove does"),
        (answering("200 OK", OTHER_VERSION), 5, "do both sides run the same version of Mangrove?"),
        (answering("200 OK\r\nContent-Length: 500", b"{"), 5, "broke the connection off before it had answered"),
        (answering("500 Internal", b'{"message":"internal error"}'), 5, "internal error"),
        (answering("403 Forbidden", b'{"message":"not for you"}'), 4, "not for you"),
        (LATER, 5, "the store is away"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_whatever_answers_is_one_sentence_in_bounded_time(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, behave: Behaviour, code: int, sentence: str
) -> None:
    patient_for(monkeypatch, 0.5 if "0.5 s" in sentence else 5.0)
    monkeypatch.setattr(http, "MAX_ANSWER", 1_000_000)
    with listening(behave) as port:
        logged_in_at(f"http://127.0.0.1:{port}")
        begun = monotonic()
        said = cli("node", "list")
        assert monotonic() - begun < 8
    assert (said.code, said.output) == (code, "")
    assert sentence in said.error
    assert said.error.startswith("Error: ")
    assert said.error.count("\n") == 1


def test_tls_where_there_is_none(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    patient_for(monkeypatch, 20.0)
    with listening(answering("400 Bad Request", b"plain HTTP")) as port:
        logged_in_at(f"https://127.0.0.1:{port}")
        said = cli("node", "list")
    assert said.code == 5
    assert "does not speak TLS: try http:// instead of https://" in said.error


def test_a_tls_server_that_never_shakes_hands(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    patient_for(monkeypatch, 0.5)
    with listening(silent) as port:
        logged_in_at(f"https://127.0.0.1:{port}")
        said = cli("node", "list")
    assert said.code == 5
    assert "did not answer within 0.5 s" in said.error


def test_nothing_listens(cli: CommandLine, free_port: Callable[[], int]) -> None:
    port = free_port()
    logged_in_at(f"http://127.0.0.1:{port}")
    for command in (("node", "list"), ("top", "--once"), ("events", "-f"), ("deploy", "-")):
        said = cli(*command, stdin='{"applications": []}')
        assert said.code == 5, command
        assert (
            said.error
            == f"Error: nothing listens on http://127.0.0.1:{port}: is it running, and is the address right?\n"
        )


def test_a_password_is_sent_to_no_one_who_does_not_answer_as_a_root(cli: CommandLine) -> None:
    heard: list[bytes] = []

    def behave(connection: socket.socket, over: threading.Event) -> None:
        heard.append(connection.recv(65536))
        body = json.dumps({"program": "cluster", "software": "0.1.0"}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with listening(behave) as port:
        said = cli("login", f"127.0.0.1:{port}", "--password-stdin", stdin="secret")
    assert said.code == 5
    assert "is a cluster of Mangrove, not a root: give the root's address" in said.error
    assert heard
    assert all(b"secret" not in each for each in heard)


def test_a_list_that_goes_round_in_circles_has_an_end(cli: CommandLine) -> None:
    body = json.dumps({"items": [], "next": "here"}).encode()
    with listening(answering("200 OK", body)) as port:
        logged_in_at(f"http://127.0.0.1:{port}")
        said = cli("node", "list")
    assert said.code == 5
    assert "gives the same page of nodes again and again" in said.error


def patient_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let clients wait so long for an answer."""
    defaults = session.SignedIn.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", seconds)


def logged_in_at(root: str) -> None:
    with contexts.changing() as held:
        held[0] = held[0].with_("here", contexts.Context(root, "Admin", "token", "refresh"), current=True)
