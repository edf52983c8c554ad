"""What is lost on the way is sent again, within bounds, and never done twice."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from mangrove.base.errors import MangroveError, NotFound, Unavailable
from mangrove.client.http import Address, HttpClient, UnexpectedAnswer

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
LATER = b'HTTP/1.1 503 X\r\nRetry-After: %d\r\nContent-Length: 19\r\n\r\n{"message":"later"}'
BROKEN = b""


@contextmanager
def answering(*answers: bytes, repeats: int = 2, timeout: float = 5.0) -> Iterator[tuple[HttpClient, list[bytes]]]:
    """A client of a server that gives each connection the next answer and closes it; and the requests it has seen."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):  # the client went, or this is over
                for answer in answers:
                    connection, _ = listening.accept()
                    with connection:
                        seen.append(connection.recv(65536))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield HttpClient(Address("http", *listening.getsockname()), timeout=timeout, repeats=repeats), seen
        finally:
            # A thread left behind would fail in the middle of the next test, or take the connections of its socket.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def keys(seen: list[bytes]) -> list[str]:
    return [key.decode() for request in seen for key in re.findall(rb"Idempotency-Key: (\S+)", request)]


def test_a_post_that_was_lost_is_sent_again_with_the_same_key() -> None:
    with answering(BROKEN, BROKEN, OK) as (client, seen):
        assert client.request("POST", "/x", {"a": 1}) == {}
    assert len(seen) == 3
    assert len(keys(seen)) == 3
    assert len(set(keys(seen))) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", keys(seen)[0])


def test_each_post_has_a_key_of_its_own_unless_one_is_given() -> None:
    with answering(OK, OK, OK, OK) as (client, seen):
        client.request("POST", "/x")
        client.request("POST", "/x")
        client.request("POST", "/x", key="mine")
        client.request("GET", "/x")
    assert len(set(keys(seen))) == 3
    assert keys(seen)[2:] == ["mine"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_may_be_repeated_is(method: str) -> None:
    with answering(BROKEN, OK) as (client, seen):
        assert client.request(method, "/x") == {}
    assert len(seen) == 2


def test_a_delete_that_was_lost_is_not_sent_again() -> None:
    with answering(BROKEN, OK) as (client, seen), pytest.raises(Unavailable, match="broke the connection off"):
        client.request("DELETE", "/x")
    assert len(seen) == 1


def test_repeating_has_an_end() -> None:
    with answering(BROKEN, BROKEN, BROKEN, OK) as (client, seen), pytest.raises(Unavailable, match="broke"):
        client.request("GET", "/x")
    assert len(seen) == 3
    with answering(BROKEN, OK, repeats=0) as (client, seen), pytest.raises(Unavailable, match="broke"):
        client.request("GET", "/x")
    assert len(seen) == 1


def test_who_is_asked_to_come_later_does() -> None:
    with answering(LATER % 0, OK) as (client, seen):
        assert client.request("DELETE", "/x") == {}
    assert len(seen) == 2


def test_later_than_there_is_time_for_is_said_at_once() -> None:
    begun = monotonic()
    with answering(LATER % 3600, OK) as (client, seen), pytest.raises(Unavailable, match="later"):
        client.request("GET", "/x")
    assert monotonic() - begun < 4
    assert len(seen) == 1


def test_a_failure_that_says_what_it_is_is_not_repeated() -> None:
    gone = b'HTTP/1.1 404 X\r\nX-Request-ID: r-7\r\nContent-Length: 18\r\n\r\n{"message":"gone"}'
    with answering(gone, OK) as (client, seen), pytest.raises(NotFound) as caught:
        client.request("GET", "/x")
    assert len(seen) == 1
    assert caught.value.request_id == "r-7"
    assert MangroveError("x").request_id == ""


def drip(connection: socket.socket, until: threading.Event) -> None:
    """One byte of an endless head after the other."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not until.wait(0.02):
        connection.sendall(b"x")


def test_a_head_that_drips_has_an_end_too() -> None:
    until = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                drip(connection, until)

        thread = threading.Thread(target=serve)
        thread.start()
        begun = monotonic()
        with pytest.raises(Unavailable, match=r"did not answer within 0\.3 s"):
            HttpClient(Address("http", *listening.getsockname()), timeout=0.3).request("GET", "/")
        assert monotonic() - begun < 5
        until.set()
        thread.join(10)


# -- answers that last


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"


def test_lines_come_as_they_are_sent() -> None:
    with answering(STREAM + b"a\r\nb\nc") as (client, _):
        assert list(client.lines("/logs")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b'HTTP/1.1 404 X\r\nContent-Length: 18\r\n\r\n{"message":"gone"}', NotFound, "gone"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>", UnexpectedAnswer, "as text/html instead of text"),
        (STREAM + b"x" * (1024 * 1024 + 1), UnexpectedAnswer, "a line of more than"),
        (BROKEN, Unavailable, "broke the connection off"),
        (b"SSH-2.0\r\n", UnexpectedAnswer, "does not speak HTTP"),
    ],
)
def test_a_stream_that_cannot_be_had_is_explained(answer: bytes, error: type[MangroveError], message: str) -> None:
    with answering(answer) as (client, _), pytest.raises(error, match=message):
        list(client.lines("/logs"))


def test_a_silent_stream_is_given_up() -> None:
    until = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(STREAM + b"first\n")
                until.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        lines = HttpClient(Address("http", *listening.getsockname()), timeout=5).lines("/logs", silence=0.2)
        assert next(lines) == b"first"
        with pytest.raises(Unavailable, match="fell silent"):
            next(lines)
        until.set()
        thread.join(10)
