"""The real server on a real port, and what a client sees that does not behave."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, request

from mangrove.base.errors import Unavailable
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.wait import wait_until
from mangrove.roles.http_server import Server, serve
from mangrove.roles.web import MAX_BODY, install_error_handlers


@pytest.fixture
def app() -> Flask:
    app = Flask("served")
    install_error_handlers(app)

    @app.post("/size")
    def size() -> dict[str, int]:
        return {"size": len(request.get_data())}

    return app


@pytest.fixture
def server(app: Flask) -> Iterator[Server]:
    server = serve(app, "127.0.0.1", 0, threads=2)
    yield server
    server.stop()


def raw(server: Server, *pieces: bytes) -> bytes:
    """All that comes back when `pieces` are sent as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return all_of(connection)


def all_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def client(server: Server) -> HttpClient:
    return HttpClient(parse_address(f"127.0.0.1:{server.port}", 1))


def listens(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=10).close()
    except OSError:
        return False
    return True


def test_it_answers_several_at_once(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: client(server).request("POST", "/size", "x" * number), range(40)))
    assert [answer["size"] for answer in answers] == [number + 2 for number in range(40)]


def test_it_does_not_log_that_requests_wait(server: Server, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: client(server).request("POST", "/size"), range(64)))
    assert not caplog.records


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: ".ljust(64 * 1024, b"a"), b"431"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: what\r\n\r\n", b"501"),
    ],
)
def test_what_never_reaches_the_app_is_answered_in_json_too(server: Server, sent: bytes, status: bytes) -> None:
    answer = raw(server, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert body.startswith(b'{"message": "')
    assert b"waitress" not in answer
    assert client(server).request("POST", "/size")["size"] == 0


def test_a_body_that_is_too_large_is_refused_after_it_was_read(server: Server) -> None:
    body = b"x" * (MAX_BODY + 1)
    request_head = b"POST /size HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = raw(server, request_head + b"Content-Length: %d\r\n\r\n" % len(body), body)
    assert answer.split()[1] == b"413"
    assert b"at most 1048576 bytes are read" in answer
    chunked = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    answer = raw(server, request_head + b"Transfer-Encoding: chunked\r\n\r\n", chunked)
    assert answer.split()[1] == b"413"


def test_a_port_that_is_taken_is_named_and_leaves_nothing_behind(server: Server, app: Flask) -> None:
    threads = threading.active_count()
    with pytest.raises(Unavailable, match=rf"port {server.port} is in use: choose another with --port"):
        serve(app, "127.0.0.1", server.port)
    assert threading.active_count() == threads


@pytest.mark.parametrize("host", ["198.51.100.77", "a..b", "300.300.300.300"])
def test_an_address_that_is_not_ours_is_named(app: Flask, host: str) -> None:
    with pytest.raises(Unavailable, match=f"cannot listen on '?{host}"):
        serve(app, host, 0)


def test_it_listens_on_ipv6_and_ipv4(app: Flask) -> None:
    server = serve(app, "::", 0)
    try:
        for host in ("127.0.0.1", "[::1]"):
            address = parse_address(f"{host}:{server.port}", 1)
            assert HttpClient(address).request("POST", "/size")["size"] == 0
    finally:
        server.stop()


def test_stop_lets_a_running_request_end(app: Flask, free_port: Callable[[], int]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> dict[str, str]:
        begun.set()
        go_on.wait(10)
        return {"message": "x" * 3_000_000}  # more than a socket takes at once

    server = serve(app, "127.0.0.1", free_port(), threads=1)
    with ThreadPoolExecutor(1) as pool, socket.socket() as connection:
        connection.settimeout(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert begun.wait(10)
        stopping = pool.submit(server.stop)
        wait_until(lambda: not listens(server), 10, what="the port to be closed")
        go_on.set()
        assert len(all_of(connection)) > 3_000_000
        stopping.result(10)


def test_stop_ends_all_threads_and_frees_the_port(app: Flask, free_port: Callable[[], int]) -> None:
    before = set(threading.enumerate())
    port = free_port()
    for _ in range(2):
        server = serve(app, "127.0.0.1", port)
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        assert client(server).request("POST", "/size")["size"] == 0
        server.stop()
        server.stop()
        assert idle.recv(1) == b""
        idle.close()
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
        assert set(threading.enumerate()) <= before
