"""The real server on a real port, and what a client sees that does not behave."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flask import Flask, Response, request

from mangrove.base.errors import Unavailable
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.wait import wait_until
from mangrove.roles import http_channel
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
    assert not [record for record in caplog.records if record.name.startswith("waitress")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: ".ljust(64 * 1024, b"a"), b"431"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_BODY), b"413"),
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


class Watch:
    """Seconds as the server's connections measure them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(http_channel, "monotonic", watch)
    return watch


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET /size HTTP/1.1\r\nHost: x\r\nA: ", b"a"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"a"),
        (b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"\r\n\r\n", b"\r\n\r\n"),
    ],
    ids=["head", "body", "chunks", "blank lines"],
)
def test_who_drips_a_request_is_cut_off(server: Server, watch: Watch, begin: bytes, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as connection:
        connection.sendall(begin)

        def cut_off() -> bool:
            watch.now += 20
            try:
                connection.sendall(drip)
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        while not cut_off():
            assert watch.now < 100 * http_channel.RECEIVED_WITHIN
        assert watch.now >= http_channel.RECEIVED_WITHIN


def test_an_answer_may_last_and_so_may_a_connection(app: Flask, watch: Watch) -> None:
    go_on = threading.Event()

    @app.get("/long")
    def long() -> Response:
        def pieces() -> Iterator[bytes]:
            yield b"begin"
            go_on.wait(10)
            yield b"end"

        return Response(pieces(), headers={"Content-Length": "8"})

    server = serve(app, "127.0.0.1", 0, threads=2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        # With half of the next request, which has its time only once this one is answered.
        connection.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\n")
        got = connection.recv(65536)
        for _ in range(100):
            watch.now += 50
            assert client(server).request("POST", "/size")["size"] == 0  # the server's thread has looked around
        go_on.set()
        connection.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
        got += all_of(connection)
    server.stop()
    assert b"beginend" in got
    assert b"404" in got


def test_one_address_has_only_its_share(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_channel, "sharing", lambda address: address)
    monkeypatch.setattr(http_channel, "OF_ONE_ADDRESS", 3)
    there = ("127.0.0.1", server.port)
    with ExitStack() as stack:
        mine = [stack.enter_context(socket.create_connection(there, timeout=10)) for _ in range(3)]
        for _ in range(5):
            with socket.create_connection(there, timeout=10) as more:
                assert more.recv(1) == b""
        other = stack.enter_context(socket.create_connection(there, timeout=10, source_address=("127.0.0.2", 0)))
        for connection in (*mine, other):
            connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"404" in all_of(connection)
    wait_until(lambda: b"404" in raw(server, b"GET /a HTTP/1.0\r\n\r\n"), 10, what="a place")
    assert [record.getMessage() for record in caplog.records if record.name == http_channel.__name__] == [
        "closing connections of 127.0.0.1: it has 3 open, which is the limit"
    ]


@pytest.mark.parametrize(
    ("address", "shared"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_who_shares_a_limit(address: str, shared: str | None) -> None:
    assert http_channel.sharing(address) == shared


def test_a_port_that_is_taken_is_named_and_leaves_nothing_behind(server: Server, app: Flask) -> None:
    threads = set(threading.enumerate())
    with pytest.raises(Unavailable, match=rf"port {server.port} is in use: choose another with --port"):
        serve(app, "127.0.0.1", server.port)
    assert set(threading.enumerate()) <= threads


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
