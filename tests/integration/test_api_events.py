"""What happened, through the API: pages, filters, whose it is, and as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from mangrove.base.clock import VirtualClock
from mangrove.model.documents import EVENTS, SERVICES, USERS, Event
from mangrove.roles.streams import BEAT, Streams
from mangrove.store.interface import Delete
from root_orchestrator.api import paging
from root_orchestrator.api.v1 import events as route
from tests.root_api import CLUSTER, NODE, RootApi


class World:
    """Two users with a service each; events are numbered in the order in which they are told."""

    def __init__(self) -> None:
        self.stream_clock = VirtualClock()
        self.streams = Streams(self.stream_clock, places=2)
        self.root = RootApi(streams=self.streams)
        for name in ("ann", "bob"):
            self.root.add_user(name, "Application_Provider")
        [self.anns] = self.root.create("blog", user="ann")["microservices"]
        [self.bobs] = self.root.create("shop", user="bob")["microservices"]
        self.count = 0

    def tell(self, kind: str, subject: str) -> str:
        self.count += 1
        id = f"{self.count:024x}"
        self.root.put(EVENTS, id, Event(id, self.root.clock.wall(), kind, subject, f"text {self.count}"))
        return id

    def texts(self, query: str = "", user: str = "Admin") -> list[str]:
        return [event["text"] for event in self.root.get(f"/api/v1/events{query}", user=user)["items"]]

    @contextmanager
    def following(self, query: str = "", user: str = "Admin", **headers: str) -> Iterator[Reader]:
        headers = {**self.root.as_user(user), "Accept": "text/event-stream", **headers}
        reader = Reader(self.root.app, EnvironBuilder(f"/api/v1/events{query}", headers=Headers(headers)).get_environ())
        try:
            yield reader
        finally:
            reader.close()


class Reader:
    """A reader of a stream."""

    def __init__(self, app: Flask, environ: dict[str, Any]) -> None:
        self.status, self.headers = "", Headers()
        answer: Any = app.wsgi_app(environ, self._begin)  # the test client would wait for the first piece
        self._answer = answer
        self._pieces: Iterator[bytes] = iter(self._answer)

    def _begin(self, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        self.status, self.headers = status, Headers(headers)
        return lambda piece: None

    def close(self) -> None:
        self._answer.close()

    def read(self) -> str:
        """The next piece that is not empty."""
        return next(piece for piece in self._pieces if piece).decode()

    def events(self) -> list[tuple[str, Any]]:
        """Id and content of the next piece's events."""
        found = []
        for block in self.read().strip().split("\n\n"):
            id, data = block.splitlines()
            found.append((id.removeprefix("id: "), json.loads(data.removeprefix("data: "))))
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_the_newest_come_first_in_their_order_then_what_is_behind_a_cursor(world: World) -> None:
    ids = [world.tell("placed", f"{world.anns}.0") for _ in range(7)]
    assert world.texts("?limit=3") == ["text 5", "text 6", "text 7"]
    first = world.root.get(f"/api/v1/events?limit=2&after={ids[2]}")
    assert [event["text"] for event in first["items"]] == ["text 4", "text 5"]
    rest = world.root.get(f"/api/v1/events?limit=2&after={first['next']}")
    assert ([event["text"] for event in rest["items"]], rest["next"]) == (["text 6", "text 7"], None)
    assert rest["items"][0] == {
        "id": ids[5],
        "time": world.root.clock.wall(),
        "kind": "placed",
        "subject": f"{world.anns}.0",
        "text": "text 6",
        "cluster": "",
    }


def test_filters(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "CHUNK", 2)
    for _ in range(3):
        world.tell("placed", f"{world.anns}.0")
        world.tell("failed", f"{world.anns}.0")
        world.tell("failed", f"{world.anns}.1")
        last = world.tell("node-silent", NODE)
    assert world.texts("?kind=failed") == [f"text {n}" for n in (2, 3, 6, 7, 10, 11)]
    assert world.texts(f"?subject={world.anns}.0&kind=failed") == ["text 2", "text 6", "text 10"]
    assert world.texts(f"?subject={NODE}&after={2:024x}") == ["text 4", "text 8", "text 12"]
    assert world.texts(f"?after={last}") == []
    assert world.root.call("GET", "/api/v1/events?knd=failed").status_code == 422


def test_who_sees_what_follows_whose_it_is(world: World) -> None:
    world.tell("placed", f"{world.anns}.0")
    world.tell("rollout-begun", world.anns)
    world.tell("placed", f"{world.bobs}.0")
    world.tell("cluster-silent", CLUSTER)
    world.tell("node-joined", NODE)
    assert world.texts(user="ann") == ["text 1", "text 2", "text 4", "text 5"]
    assert world.texts(user="bob") == ["text 3", "text 4", "text 5"]
    assert world.texts(f"?subject={world.anns}", user="bob") == []
    assert len(world.texts()) == 5
    world.root.store.apply([Delete(SERVICES, world.anns)])
    assert world.texts(user="ann") == ["text 4", "text 5"]
    assert len(world.texts()) == 5, "Admin sees also of what is gone"


def test_following_begins_now_and_tells_what_comes(world: World) -> None:
    world.tell("placed", f"{world.anns}.0")
    with world.following(user="ann") as reader:
        assert reader.status == "200 OK"
        assert reader.headers["Content-Type"].startswith("text/event-stream")
        world.tell("placed", f"{world.bobs}.0")
        id = world.tell("failed", f"{world.anns}.0")
        [(told, event)] = reader.events()
        assert (told, event["text"], event["kind"]) == (id, "text 3", "failed")
        world.tell("cluster-silent", CLUSTER)
        assert reader.events()[0][1]["text"] == "text 4"
    assert world.streams.taken == 0


def test_following_goes_on_behind_the_last_one_read(world: World) -> None:
    ids = [world.tell("placed", f"{world.anns}.{number % 2}") for number in range(500)]
    query = f"?subject={world.anns}.1"
    with world.following(query, **{"Last-Event-ID": ids[3]}) as reader:
        texts: list[str] = []
        while len(texts) < 248:
            texts += [event["text"] for _, event in reader.events()]
    assert texts == [f"text {number}" for number in range(6, 501, 2)]
    with world.following(f"?after={ids[497]}") as reader:
        assert [id for id, _ in reader.events()] == ids[498:]


def test_a_stream_beats_and_ends_after_its_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mangrove.roles.streams._LOOK", 0.01)
    with world.following() as reader:
        world.stream_clock.advance_to(BEAT)
        assert reader.read() == ":\n\n"
        world.root.clock.advance_to(world.root.clock.now() + route.LASTING)
        with pytest.raises(StopIteration):
            reader.read()


def test_who_is_gone_reads_no_further(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mangrove.roles.streams._LOOK", 0.01)
    with world.following(user="ann") as reader:
        world.tell("placed", f"{world.anns}.0")
        assert reader.events()
        user = world.root.store.query(USERS, "name", "ann")[0]
        world.root.store.apply([Delete(USERS, user.id)])
        world.tell("placed", f"{world.anns}.0")
        with pytest.raises(StopIteration):
            reader.read()


def test_there_are_only_so_many_streams(world: World) -> None:
    with world.following(), world.following(), world.following() as late:
        assert late.status.startswith("503")
    assert world.root.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream"}).status_code == 401
