"""Events are followed across connections that break, each once."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest

from mangrove.base.errors import NotFound, Unavailable
from mangrove.client import root as module
from mangrove.client.http import UnexpectedAnswer
from mangrove.client.root import RootClient, Session

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(id: str) -> bytes:
    data = {"id": id, "time": 1.5, "kind": "placed", "subject": "s.0", "text": f"event {id}"}
    return b"id: %s\ndata: %s\n\n" % (id.encode(), json.dumps(data).encode())


@contextmanager
def serving(*answers: bytes) -> Iterator[tuple[RootClient, list[str]]]:
    """A client of a server that gives each connection the next answer and ends it; and what was asked."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    asked.append(connection.recv(65536).decode())
                    connection.sendall(answer)
            listening.close()

        threading.Thread(target=serve, daemon=True).start()
        host, port = listening.getsockname()
        yield RootClient(f"{host}:{port}", session=Session("me", "t", "r"), repeats=0, timeout=5), asked


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.02)


def resumed(asked: str) -> str:
    found = re.search(r"Last-Event-ID: (\S+)", asked)
    return found[1] if found else ""


def test_it_goes_on_behind_the_last_event_that_came() -> None:
    broken = event("3")[:-10]
    with serving(HEAD + event("1") + b":\n\n" + event("2") + broken, b"", HEAD + event("3") + event("4")) as (
        root,
        asked,
    ):
        found = [each.text for each in islice(root.follow_events(after="0", kind="placed"), 4)]
    assert found == [f"event {n}" for n in (1, 2, 3, 4)]
    assert "GET /api/v1/events?kind=placed&after=0 " in asked[0]
    assert [resumed(each) for each in asked] == ["", "2", "2"]
    assert "Accept: text/event-stream" in asked[0]


def test_a_root_that_stays_away_is_said_after_a_while() -> None:
    with serving(HEAD + event("1")) as (root, _):
        events = root.follow_events(patience=0.05)
        assert next(events).id == "1"
        with pytest.raises(Unavailable, match="nothing listens"):
            next(events)


def test_what_cannot_get_better_is_said_at_once() -> None:
    gone = b'HTTP/1.1 404 X\r\nContent-Length: 18\r\n\r\n{"message":"gone"}'
    with serving(gone) as (root, _), pytest.raises(NotFound, match="gone"):
        next(root.follow_events())
    with (
        serving(HEAD + b"data: {}\n\n") as (root, _),
        pytest.raises(UnexpectedAnswer, match="another form than expected"),
    ):
        next(root.follow_events())
