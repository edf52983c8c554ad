"""Rebalancing by the API: between clusters and within them, or only said."""

from __future__ import annotations

import msgspec
import pytest

from mangrove.base.errors import Unavailable
from mangrove.roles.rebalancing import Moved
from tests.root_api import CLUSTER, RootApi

PATH = "/api/v1/rebalance"


@pytest.fixture
def root() -> RootApi:
    root = RootApi()
    root.add_cluster("alpha")
    return root


def test_moves_between_clusters_and_within_them_are_told(root: RootApi) -> None:
    service = root.create()["microservices"][0]
    root.fleet.moves = [Moved(f"{service}.0", service, 0, "alpha", "beta")]
    within = Moved("a" * 24, service, 1, "node1", "node2")
    root.fleet.answer = {"moves": [msgspec.to_builtins(within)]}
    told = root.call("POST", PATH, json={"dry_run": True}).json
    move = {"service": service, "name": "web", "number": 0, "cluster": None, "source": "alpha", "target": "beta"}
    assert told == {"dry_run": True, "unasked": {}, "moves": [move]}
    assert root.fleet.calls == [], "what is about to leave a cluster need not move within it"
    root.fleet.moves = []
    told = root.call("POST", PATH, json={"dry_run": True}).json
    move = {"service": service, "name": "web", "number": 1, "cluster": "alpha", "source": "node1", "target": "node2"}
    assert told == {"dry_run": True, "unasked": {}, "moves": [move]}
    assert root.fleet.calls == [(CLUSTER, "rebalance", {"dry_run": True})]
    told = root.call("POST", PATH, json={"cluster": CLUSTER}).json
    assert [move["cluster"] for move in told["moves"]] == ["alpha"]
    assert root.fleet.calls[-1] == (CLUSTER, "rebalance", {"dry_run": False})


def test_a_cluster_that_does_not_answer_is_named(root: RootApi) -> None:
    root.fleet.answer = Unavailable("alpha: no answer in time")
    assert root.call("POST", PATH, json={}).json["unasked"] == {"alpha": "alpha: no answer in time"}
    assert root.call("POST", PATH, json={"cluster": CLUSTER}).status_code == 503
    root.fleet.answer = {"message": "ok"}
    assert "of an older version" in root.call("POST", PATH, json={}).json["unasked"]["alpha"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"dry_run": "yes"}, 422, "dry_run"),
        ({"dry-run": True}, 422, "dry-run"),
        ({"cluster": "b" * 24}, 404, "there is no cluster"),
        ({"cluster": "../x"}, 404, "there is no cluster"),
        ({"cluster": 7}, 422, "cluster"),
    ],
)
def test_what_is_asked_wrongly_is_refused(root: RootApi, body: object, status: int, words: str) -> None:
    answer = root.call("POST", PATH, json=body)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert root.fleet.calls == []


def test_only_an_admin_may(root: RootApi) -> None:
    root.add_user("eve")
    assert root.call("POST", PATH, user="eve", json={}).status_code == 403
