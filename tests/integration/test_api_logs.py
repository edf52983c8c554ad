"""The route of an instance's logs: who is asked for what, and what is said when nobody can answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mangrove.base.errors import Conflict, Unavailable
from mangrove.model.documents import CHILDREN, PLACEMENTS, USERS, Child, Past, Placement
from mangrove.model.phases import Phase
from mangrove.store.interface import Delete, StoreUnavailable
from root_orchestrator.api.fleet import Apology
from root_orchestrator.auth.users import Caller, Users
from tests.root_api import CLUSTER, FakeFleet, RootApi


class Prepared:
    """A source of these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def next(self, timeout: float) -> bytes | None:
        return self.pieces.pop(0) if self.pieces else None

    def close(self) -> None:
        """Nothing to give back."""


class Streaming(FakeFleet):
    """asked: for which streams; gives: what each gets, or the error."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.gives: Prepared | Exception = Prepared(b"one\n", b"two\n")
        self.apology: Apology = lambda why: b""

    def stream(self, child: str, method: str, params: dict[str, Any], apology: Apology) -> Prepared:
        self.asked.append((child, method, params))
        self.apology = apology
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


class World:
    """A root with one instance that runs as the attempt `attempt`."""

    def __init__(self) -> None:
        self.fleet = Streaming()
        self.root = RootApi(fleet=self.fleet)
        self.root.add_cluster()
        self.service = self.root.create()["microservices"][0]
        self.root.call("POST", f"/api/service/{self.service}/instance")
        self.instance = f"{self.service}.0"
        self.attempt = self.root.run(self.instance)

    def get(self, query: str = "", accept: str = "text/plain", user: str = "Admin") -> Any:
        path = f"/api/v1/instances/{self.instance}/logs{query}"
        return self.root.request("GET", path, headers={**self.root.as_user(user), "Accept": accept})

    def change(self, collection: str, id: str, form: type[Any], **changes: Any) -> None:
        stored = self.root.store.get(collection, id)
        assert stored is not None
        self.root.put(collection, id, msgspec.structs.replace(msgspec.convert(stored.document, form), **changes))


@pytest.fixture
def world() -> World:
    return World()


def test_the_cluster_that_has_it_is_asked_and_its_answer_passed_on(world: World) -> None:
    answer = world.get()
    assert (answer.status_code, answer.text) == (200, "one\ntwo\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert world.fleet.asked == [(CLUSTER, "logs", {"attempt": world.attempt, "follow": False, "form": "text"})]
    assert world.fleet.apology("it broke") == "… the logs broke off: it broke\n".encode()


def test_as_json_lines_when_asked_for(world: World) -> None:
    assert world.get(accept="application/x-ndjson").headers["Content-Type"] == "application/x-ndjson"
    assert world.fleet.asked[0][2]["form"] == "json"
    assert msgspec.json.decode(world.fleet.apology("it broke")) == {
        "time": world.root.clock.wall(),
        "stream": "mangrove",
        "line": "… the logs broke off: it broke",
        "position": "",
    }


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("?tail=5&follow=true", {"tail": 5, "follow": True}),
        ("?since=p1a2b3c4d-77", {"position": "p1a2b3c4d-77"}),
        ("?since=p1a2b3c4d-1795370000123456789.2", {"position": "p1a2b3c4d-1795370000123456789.2"}),
        ("?since=1795370000.5", {"since": 1795370000.5}),
    ],
)
def test_where_to_begin(world: World, query: str, params: dict[str, Any]) -> None:
    assert world.get(query).status_code == 200
    assert world.fleet.asked[0][2] == {"attempt": world.attempt, "follow": False, "form": "text"} | params


def test_so_long_ago(world: World) -> None:
    for text, seconds in (("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("3d", 259200)):
        assert world.get(f"?since={text}").status_code == 200
        assert world.fleet.asked[-1][2]["since"] == world.root.clock.wall() - seconds


@pytest.mark.parametrize(
    ("query", "field"),
    [("?since=yesterday", "since"), ("?since=p", "since"), ("?tail=-1", "tail"), ("?tail=x", "tail"), ("?foo=1", "")],
)
def test_bad_queries_are_told(world: World, query: str, field: str) -> None:
    answer = world.get(query)
    assert answer.status_code == 422
    assert answer.json.get("field", "") in (field, "foo")
    assert world.fleet.asked == []


def test_only_who_may_see_it_may_read_it(world: World) -> None:
    world.root.add_user("bob")
    assert world.get(user="bob").status_code == 404
    assert world.root.request("GET", f"/api/v1/instances/{world.instance}/logs").status_code == 401
    assert world.fleet.asked == []


def test_who_is_gone_reads_no_further(world: World) -> None:
    world.root.add_user("ann", "Organization_Admin")
    pieces = iter((b"one\n", b"two\n"))

    def next_one(timeout: float) -> bytes | None:
        piece = next(pieces, None)
        if piece == b"one\n":
            user = world.root.store.query(USERS, "name", "ann")[0]
            world.root.store.apply([Delete(USERS, user.id)])
        return piece

    source = Prepared()
    source.next = next_one  # type: ignore[method-assign]  # somebody removes her while she reads
    world.fleet.gives = source
    said = world.get("?follow=true", user="ann").text
    assert said == world.fleet.apology("your account was changed; sign in again").decode().join(("one\n", ""))


def test_logs_go_on_while_the_store_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(users: Users, caller: Caller) -> bool:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(Users, "is_as_it_was", unavailable)
    assert world.get().text == "one\ntwo\n"


def test_what_runs_nowhere(world: World) -> None:
    world.root.leave_pending(world.instance, "needs arm64: 2 nodes are amd64")
    answer = world.get()
    assert (answer.status_code, answer.json["message"]) == (
        409,
        "this instance runs nowhere yet: needs arm64: 2 nodes are amd64",
    )


def test_a_cluster_that_is_away_and_a_node_that_is_silent(world: World) -> None:
    world.root.observe(world.attempt, Phase.RUNNING, "not heard for 12 s", node_name="node1", silent=True)
    answer = world.get()
    assert (answer.status_code, answer.json["message"]) == (503, "its node node1 is silent: not heard for 12 s")
    world.change(CHILDREN, CLUSTER, Child, state="silent", heard=1_795_370_000.0)
    answer = world.get()
    assert answer.status_code == 503
    assert answer.json["message"].endswith("is not connected: it was last heard at 2026-11-22 17:53:20 UTC")
    assert "Retry-After" in answer.headers
    assert world.fleet.asked == []


@pytest.mark.parametrize(("error", "status"), [(Conflict("nothing is kept"), 409), (Unavailable("no answer"), 503)])
def test_what_the_cluster_says_no_to(world: World, error: Conflict | Unavailable, status: int) -> None:
    world.fleet.gives = error
    answer = world.get()
    assert (answer.status_code, answer.json["message"]) == (status, error.message)
    for _ in range(20):
        assert world.get().status_code == status, "and its place is free again"


def test_an_earlier_attempt_and_the_last_one_when_there_is_none(world: World) -> None:
    past = Past("b" * 24, "e" * 24, "", Phase.FAILED)
    world.change(PLACEMENTS, world.instance, Placement, history=(past,))
    assert world.get(f"?attempt={'b' * 24}").status_code == 200
    assert world.get().status_code == 200
    world.change(PLACEMENTS, world.instance, Placement, current=None)
    assert world.get().status_code == 200
    assert [(child, params["attempt"]) for child, _, params in world.fleet.asked] == [
        ("e" * 24, "b" * 24),
        (CLUSTER, world.attempt),
        ("e" * 24, "b" * 24),
    ]
    answer = world.get("?attempt=nosuch")
    assert answer.status_code == 404
    assert "there is no attempt" in answer.json["message"]
