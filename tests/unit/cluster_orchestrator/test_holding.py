"""The operator's part of a cluster's local API: what it lists, and what it holds and releases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask import Flask

from cluster_orchestrator import holding
from cluster_orchestrator.local import guard
from mangrove.base.clock import VirtualClock
from mangrove.model.attempt import Status
from mangrove.model.documents import EVENTS, HOLDS, SLOTS, SPECIFICATIONS, Event, Hold, Slot
from mangrove.model.phases import Phase
from mangrove.model.specification import Specification
from mangrove.roles.routes import register
from mangrove.roles.web import install_error_handlers
from mangrove.store.interface import Put
from mangrove.store.memory import MemoryStore

WEB = Specification("shop.test.web.test")


OPERATOR = "o" * 32


class Site:
    """A cluster with its local API. said: statuses by slot."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.said: dict[str, Status] = {}
        app = Flask("cluster")
        install_error_handlers(app)
        routes = holding.routes(self.store, VirtualClock(), "alpha", self.said.get)
        register(app, routes, guard(OPERATOR))
        self.client = app.test_client()
        self.store.apply([Put(SPECIFICATIONS, WEB.digest, msgspec.to_builtins(WEB))])

    def slot(self, id: str, number: int, desired: str = "run", phase: Phase = Phase.RUNNING) -> None:
        document = {**msgspec.to_builtins(Slot(id, "s" * 24, number, WEB.digest)), "desired": desired}
        self.store.apply([Put(SLOTS, id, document)])
        self.said[id] = Status(id, phase, node_name="n1")

    def ask(self, method: str, path: str, body: Any = None, token: str = OPERATOR) -> tuple[int, Any]:
        answer = self.client.open(
            f"/api/v1/{path}", method=method, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        return answer.status_code, answer.get_json()

    def held(self) -> dict[str, str]:
        return {stored.id: stored.read(Hold).text for stored in self.store.load(HOLDS)}


@pytest.fixture
def site() -> Site:
    return Site()


def test_instances_are_listed_by_the_names_that_users_know(site: Site) -> None:
    site.slot("b" * 24, 10)
    site.slot("a" * 24, 9)
    status, listed = site.ask("GET", "instances")
    assert status == 200
    assert [(each["name"], each["phase"], each["node"]) for each in listed] == [
        ("shop.web.9", "running", "n1"),
        ("shop.web.10", "running", "n1"),
    ]


def test_an_instance_is_held_with_a_reason_and_released(site: Site) -> None:
    site.slot("a" * 24, 0)
    assert site.ask("PUT", f"instances/{'a' * 24}/hold", {"reason": "the arm is open"})[0] == 200
    assert site.held() == {"a" * 24: "held at cluster alpha by an operator: the arm is open"}
    assert site.ask("PUT", f"instances/{'a' * 24}/hold", {})[0] == 200
    assert site.held() == {"a" * 24: "held at cluster alpha by an operator"}
    assert site.ask("DELETE", f"instances/{'a' * 24}/hold")[0] == 200
    assert site.held() == {}
    assert site.ask("DELETE", f"instances/{'a' * 24}/hold")[0] == 404


@pytest.mark.parametrize(
    ("instance", "body", "status"),
    [
        ("b", {}, 404),  # being removed
        ("c", {}, 409),  # has completed
        ("d", {}, 404),  # never there
        ("a", {"reason": "x" * 201}, 422),
        ("a", {"reason": "two\nlines"}, 422),
        ("a", {"why": "no such field"}, 422),
    ],
)
def test_what_cannot_be_held_is_refused_and_changes_nothing(
    site: Site, instance: str, body: dict[str, str], status: int
) -> None:
    site.slot("a" * 24, 0)
    site.slot("b" * 24, 1, desired="stop")
    site.slot("c" * 24, 2, phase=Phase.COMPLETED)
    answered, said = site.ask("PUT", f"instances/{instance * 24}/hold", body)
    assert (answered, site.held()) == (status, {}), said


@pytest.mark.parametrize(("method", "path"), [("GET", "instances"), ("PUT", "instances/a/hold"), ("GET", "events")])
def test_only_who_has_the_operators_token_may(site: Site, method: str, path: str) -> None:
    assert site.ask(method, path, token="wrong")[0] == 401


def test_the_newest_events_are_listed(site: Site) -> None:
    for number in range(103):
        id = f"{number:024x}"
        site.store.apply([Put(EVENTS, id, msgspec.to_builtins(Event(id, 1.0, "placed", "s.0", f"text {number}")))])
    texts = [event["text"] for event in site.ask("GET", "events")[1]]
    assert (len(texts), texts[0], texts[-1]) == (100, "text 3", "text 102")
