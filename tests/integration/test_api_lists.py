"""Lists of our own API: pages, filters, and who sees what."""

from __future__ import annotations

from typing import Any

import pytest

from mangrove.model.phases import Phase
from mangrove.store.interface import Store
from root_orchestrator.api import paging
from tests.root_api import CLUSTER, RootApi, microservice


@pytest.fixture(scope="module")
def root(common_store: Store) -> RootApi:
    """Two users: Admin has five services with two instances each, ann one with one."""
    root = RootApi(common_store)
    root.add_user("ann", "Application_Provider")
    root.add_cluster("alpha", CLUSTER)
    root.add_cluster("beta", "b" * 24, state="silent")
    for number in range(7):
        root.add_node(f"node{number}", f"{number}" * 24, state="silent" if number == 3 else "live")
    root.add_node("node0", "a" * 24, "b" * 24)
    for number, service in enumerate(root.create("shop", *(microservice(f"s{n}") for n in range(5)))["microservices"]):
        root.deploy(service)
        root.deploy(service)
        root.run(f"{service}.0")
        if number == 0:
            root.observe(root.place(f"{service}.1"), Phase.BACKING_OFF)
    [own] = root.create("blog", user="ann")["microservices"]
    root.deploy(own, user="ann")
    return root


def everything(root: RootApi, path: str, limit: int, user: str = "Admin") -> list[list[Any]]:
    """All pages."""
    pages, after = [], ""
    while True:
        joint = "&" if "?" in path else "?"
        answer = root.get(f"{path}{joint}limit={limit}&after={after}", user=user)
        pages.append(answer["items"])
        if answer["next"] is None:
            return pages
        after = answer["next"]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/api/v1/applications", 2),
        ("/api/v1/services", 6),
        ("/api/v1/instances", 11),
        ("/api/v1/clusters", 2),
        ("/api/v1/nodes", 8),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_pages_are_all_of_it_once_and_none_is_too_long(root: RootApi, path: str, count: int, limit: int) -> None:
    pages = everything(root, path, limit)
    assert max(len(page) for page in pages) <= limit
    ids = [(item["id"], str(item.get("cluster"))) for page in pages for item in page]
    assert len(ids) == len(set(ids)) == count
    assert len(everything(root, path, count)) == 1, "a page that is just full is the last one"


@pytest.mark.parametrize("path", ["/api/v1/services", "/api/v1/instances", "/api/v1/nodes", "/api/v1/applications"])
def test_few_documents_are_read_at_a_time(root: RootApi, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = everything(root, path, 1000)
    monkeypatch.setattr(paging, "CHUNK", 2)
    assert everything(root, path, 1000) == whole
    monkeypatch.setattr(paging, "EXAMINED", 3)
    pieces = everything(root, path, 1000)
    assert [item for page in pieces for item in page] == whole[0]
    assert max(len(page) for page in pieces) <= 3


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/api/v1/applications?name=shop", ["shop"]),
        ("/api/v1/applications?namespace=none", []),
        ("/api/v1/services?name=s2", ["s2"]),
        ("/api/v1/services?phase=backing_off", ["s0"]),
        ("/api/v1/services?phase=running", ["s0", "s1", "s2", "s3", "s4"]),
        ("/api/v1/services?application=none", []),
        ("/api/v1/clusters?name=beta", ["beta"]),
        ("/api/v1/clusters?state=live", ["alpha"]),
        ("/api/v1/nodes?cluster=beta", ["node0"]),
        (f"/api/v1/nodes?cluster={CLUSTER}&state=silent", ["node3"]),
        ("/api/v1/nodes?name=node0", ["node0", "node0"]),
    ],
)
def test_filters(root: RootApi, path: str, names: list[str]) -> None:
    assert sorted(item["name"] for item in root.get(path)["items"]) == names


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("phase=running", 5),
        ("phase=backing_off", 1),
        ("phase=pending", 5),
        ("cluster=alpha", 6),
        (f"cluster={CLUSTER}&phase=running", 5),
        ("cluster=beta", 0),
        ("node=node1", 5),
        ("node=", 0),
        ("service=none", 0),
    ],
)
def test_filters_of_instances(root: RootApi, query: str, count: int) -> None:
    assert len(root.get(f"/api/v1/instances?{query}")["items"]) == count


def test_instances_of_a_service_and_of_an_application(root: RootApi) -> None:
    shop = root.get("/api/v1/applications?name=shop")["items"][0]
    service = shop["services"][2]
    of_service = [item["id"] for page in everything(root, f"/api/v1/instances?service={service}", 1) for item in page]
    assert of_service == [f"{service}.0", f"{service}.1"]
    pages = everything(root, f"/api/v1/instances?application={shop['id']}", 3)
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert len({item["id"] for page in pages for item in page}) == 10


def test_everybody_sees_their_own_and_admin_all(root: RootApi) -> None:
    for path, count in (("applications", 1), ("services", 1), ("instances", 1), ("nodes", 8)):
        assert sum(len(page) for page in everything(root, f"/api/v1/{path}", 2, user="ann")) == count
    blog = root.get("/api/v1/applications", user="ann")["items"][0]
    assert root.get(f"/api/v1/applications/{blog['id']}")["name"] == "blog"
    shop = root.get("/api/v1/applications?name=shop")["items"][0]
    assert root.call("GET", f"/api/v1/applications/{shop['id']}", user="ann").status_code == 404
    assert root.get(f"/api/v1/instances?application={shop['id']}", user="ann")["items"] == []


def test_one_node_and_one_cluster(root: RootApi) -> None:
    assert root.get(f"/api/v1/nodes/{'3' * 24}")["name"] == "node3"
    assert root.get(f"/api/v1/clusters/{CLUSTER}")["nodes"] == 7
    for path in ("nodes", "clusters"):
        for id in ("0" * 23, "f" * 24, "x"):
            assert root.call("GET", f"/api/v1/{path}/{id}").status_code == 404


def test_who_am_i(root: RootApi) -> None:
    me = root.get("/api/v1/me", user="ann")
    assert (me["name"], me["organization"]["name"], me["roles"]) == ("ann", "root", ["Application_Provider"])
    assert root.request("GET", "/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("phase=happy", "phase"),
        ("after=" + "a" * 201, "after"),
    ],
)
def test_a_bad_query_is_named(root: RootApi, query: str, field: str) -> None:
    answer = root.call("GET", f"/api/v1/instances?{query}")
    assert (answer.status_code, answer.json["field"]) == (422, field)
