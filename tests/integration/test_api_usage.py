"""Usage of the past over the API: of instances, nodes and clusters, for those who may see it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mangrove.base.clock import VirtualClock
from mangrove.model.attempt import Usage
from mangrove.store.memory import MemoryStore
from root_orchestrator.history.history import History
from tests.root_api import CLUSTER, NODE, RootApi


@dataclass
class Site:
    """A root's API with a history. measured: what was measured last, by subject."""

    measured: dict[str, list[Usage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        store, self.clock = MemoryStore(), VirtualClock(1000.0)
        self.history = History(store, self.clock, lambda: self.measured.items())
        self.api = RootApi(store, history=self.history)
        self.api.add_cluster()
        self.api.add_node()
        self.service = self.api.create()["microservices"][0]
        self.api.deploy(self.service)
        self.instance = f"{self.service}.0"

    def live(self, minutes: int, cpu: float) -> None:
        """Everything uses so much for so long."""
        for _ in range(minutes):
            now = self.clock.wall()
            for subject in (self.instance, CLUSTER, NODE):
                self.measured[subject] = [Usage(cpu=cpu, memory=2**20, gpu=0.5, measured=now)]
            operations = self.history.sample({}, now)
            if operations:
                self.api.store.apply(operations)
            self.clock.advance_to(self.clock.now() + 60)
            self.api.clock.advance_to(self.clock.now())
        self.api.forget_tokens()  # which have expired meanwhile


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("kind", ["instances", "nodes", "clusters"])
def test_usage_is_answered_for_each_kind_of_thing(site: Site, kind: str) -> None:
    id = {"instances": site.instance, "nodes": NODE, "clusters": CLUSTER}[kind]
    empty = site.api.get(f"/api/v1/{kind}/{id}/usage")
    assert empty == {"items": [], "step": 60}
    site.live(90, 3.0)
    answer = site.api.get(f"/api/v1/{kind}/{id}/usage")
    assert answer["step"] == 60
    assert 59 <= len(answer["items"]) <= 61
    assert answer["items"][0].keys() == {
        *("time", "cpu", "memory", "memory_percent", "disk", "gpu", "vram", "rx", "tx"),
    }
    assert (answer["items"][0]["cpu"], answer["items"][0]["memory"], answer["items"][0]["gpu"]) == (3.0, 2**20, 0.5)
    times = [item["time"] for item in answer["items"]]
    assert times == sorted(times)
    coarse = site.api.get(f"/api/v1/{kind}/{id}/usage?since=0&step=900")
    assert coarse["step"] == 900
    assert 5 <= len(coarse["items"]) <= 6


@pytest.mark.parametrize(
    "path",
    [
        "nodes/eeeeeeeeeeeeeeeeeeeeeeee",
        "clusters/eeeeeeeeeeeeeeeeeeeeeeee",
        "instances/eeeeeeeeeeeeeeeeeeeeeeee.0",
        "nodes/x",
        "clusters/..",
        "instances/x",
        "instances/{service}",
        "instances/{service}.",
        "instances/{service}.1",
        "instances/{service}.x",
        "instances/{service}.²",
    ],
)
def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    answer = site.api.call("GET", f"/api/v1/{path.format(service=site.service)}/usage")
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    "query", ["since=x", "step=-1", "step=1e9", "step=nan", "since=inf", "until=3", "step=1&step=2"]
)
def test_a_window_that_is_none_is_refused_by_name(site: Site, query: str) -> None:
    answer = site.api.call("GET", f"/api/v1/nodes/{NODE}/usage?{query}")
    assert answer.status_code == 422
    assert answer.json["field"] == query.partition("=")[0]


def test_times_beyond_what_is_kept_are_no_error(site: Site) -> None:
    site.live(3, 1.0)
    for since in ("-1e300", "-1e18", "0", "1e18", "1e300"):
        answer = site.api.call("GET", f"/api/v1/nodes/{NODE}/usage?since={since}")
        assert answer.status_code == 200, answer.text


def test_an_instance_of_somebody_else_is_not_there(site: Site) -> None:
    site.live(2, 1.0)
    site.api.add_user("ann")
    assert site.api.call("GET", f"/api/v1/instances/{site.instance}/usage", user="ann").status_code == 404
    assert site.api.call("GET", f"/api/v1/nodes/{NODE}/usage", user="ann").status_code == 200
