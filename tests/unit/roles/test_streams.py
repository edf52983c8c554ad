"""Streams on the real server: they come at once, end with their reader or the program, and keep nobody waiting."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import NoReturn

import pytest
from flask import Flask, Response, request
from waitress.channel import ClientDisconnected

from mangrove.base.clock import VirtualClock
from mangrove.base.errors import NotFound
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.wait import wait_until
from mangrove.roles import http_server
from mangrove.roles.http_server import Server, serve
from mangrove.roles.streams import BEAT, Streams
from mangrove.roles.web import install_error_handlers

#: Seconds for what should happen at once.
PATIENCE = 30.0


class Pipe:
    """A source that the test fills; `None` is its end."""

    def __init__(self) -> None:
        self.pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.asked = 0
        self.closed = 0

    def next(self, timeout: float) -> bytes | None:
        self.asked += 1
        try:
            return self.pieces.get(timeout=min(timeout, 0.02))
        except queue.Empty:
            return b""

    def close(self) -> None:
        self.closed += 1


class World:
    """One ordinary thread, three places for streams of which one asker may have two."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.streams = Streams(self.clock, places=3, places_of_one=2)
        self.pipes: list[Pipe] = []
        app = Flask("streaming")
        install_error_handlers(app)

        def opened() -> Pipe:
            if "none" in request.args:
                raise NotFound("there is nothing to read")
            self.pipes.append(Pipe())
            return self.pipes[-1]

        @app.get("/stream/<asker>")
        def stream(asker: str) -> Response:
            return self.streams.answer(asker, opened, "text/plain", beat=b"beat\n")

        @app.get("/quick")
        def quick() -> dict[str, str]:
            return {"message": "ok"}

        self.server: Server = serve(app, "127.0.0.1", 0, threads=1, streams=self.streams)

    def open(self, asker: str = "ann", query: str = "", buffer: int = 0) -> socket.socket:
        connection = socket.socket()
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", self.server.port))
        connection.sendall(f"GET /stream/{asker}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection

    def wait_until_ended(self) -> None:
        """Until all places are free, and then all sources closed."""
        wait_until(lambda: self.streams.taken == 0, PATIENCE, what="the places to be free")
        wait_until(lambda: all(pipe.closed for pipe in self.pipes), PATIENCE, what="the sources to be closed")

    def quick(self) -> str:
        address = parse_address(f"127.0.0.1:{self.server.port}", 1)
        message: str = HttpClient(address).request("GET", "/quick")["message"]
        return message


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.server.stop()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    found = b""
    while end not in found:
        piece = connection.recv(65536)
        assert piece, f"it ended with {found[-200:]!r}"
        found += piece
    return found


def status(connection: socket.socket) -> bytes:
    return read_until(connection, b"\r\n\r\n").split()[1]


def test_the_head_comes_before_there_is_anything_to_say_and_pieces_as_they_are_made(world: World) -> None:
    with closing(world.open()) as connection:
        assert status(connection) == b"200"
        for piece in (b"one\n", b"two\n"):
            world.pipes[0].pieces.put(piece)
            assert read_until(connection, piece)
        world.pipes[0].pieces.put(None)
        assert read_until(connection, b"0\r\n\r\n")
    world.wait_until_ended()
    assert world.pipes[0].closed == 1


def test_it_beats_when_there_is_nothing_to_say(world: World) -> None:
    with closing(world.open()) as connection:
        assert status(connection) == b"200"
        world.clock.advance_to(1000.0 + BEAT)
        assert b"beat\n" in read_until(connection, b"beat\n")


def test_ordinary_requests_do_not_wait_for_streams_and_those_beyond_the_places_are_refused(world: World) -> None:
    connections = [world.open(asker) for asker in ("ann", "bob", "eve")]
    try:
        assert [status(each) for each in connections] == [b"200"] * 3
        with closing(world.open("joe")) as late:
            assert b"503" in (answer := read_until(late, b"}"))
            assert b"all 3 places for streams are taken" in answer
            assert b"Retry-After" in answer
        assert world.quick() == "ok"
    finally:
        for each in connections:
            each.close()
    world.wait_until_ended()
    with closing(world.open("joe")) as next_one:
        assert status(next_one) == b"200"


def test_nobody_takes_all_places_alone(world: World) -> None:
    with closing(world.open("ann")) as one, closing(world.open("ann")) as two, closing(world.open("ann")) as three:
        assert [status(each) for each in (one, two)] == [b"200"] * 2
        assert b"you have 2 streams open already" in read_until(three, b"}")
        with closing(world.open("bob")) as another:
            assert status(another) == b"200"


def test_what_cannot_be_opened_is_answered_and_takes_no_place(world: World) -> None:
    with closing(world.open(query="?none=1")) as connection:
        assert b"there is nothing to read" in read_until(connection, b"}")
    assert world.streams.taken == 0


def test_it_ends_at_once_when_the_reader_went_away(world: World) -> None:
    with closing(world.open()) as connection:
        assert status(connection) == b"200"
    world.wait_until_ended()
    assert world.pipes[0].closed == 1


def test_a_reader_that_stops_reading_is_asked_for_no_more_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "_STALLED", 2)
    world = World()
    try:
        with closing(world.open(buffer=4096)) as connection:
            assert status(connection) == b"200"
            for _ in range(2000):
                world.pipes[0].pieces.put(b"x" * 65536)
            wait_until(lambda: world.streams.taken == 0, 60, what="the kernel to give up")
            assert world.pipes[0].asked < 500
    finally:
        world.server.stop()


def test_a_reader_that_goes_before_the_head_is_out_leaves_no_place_taken() -> None:
    streams, pipe = Streams(), Pipe()

    def start_response(*args: object) -> NoReturn:
        raise ClientDisconnected

    with Flask("streaming").test_request_context():
        answer = streams.answer("ann", lambda: pipe, "text/plain")
        with pytest.raises(ClientDisconnected):
            answer(request.environ, start_response)
    assert (streams.taken, pipe.closed) == (0, 1)


def test_stopping_the_server_ends_streams_soon(world: World) -> None:
    before = set(threading.enumerate())
    with closing(world.open()) as connection:
        assert status(connection) == b"200"
        world.server.stop()
        assert read_until(connection, b"0\r\n\r\n")
    assert world.pipes[0].closed == 1
    assert world.streams.taken == 0
    assert set(threading.enumerate()) < before


def test_a_source_that_breaks_frees_its_place(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with closing(world.open()) as connection:
        assert status(connection) == b"200"
        world.pipes[0].next = _break  # type: ignore[method-assign]
        world.wait_until_ended()
        assert connection.recv(10) == b""
    assert world.quick() == "ok"
    assert "broken" in caplog.text


def _break(timeout: float) -> bytes:
    raise RuntimeError("broken")
