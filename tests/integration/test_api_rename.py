"""Applications are renamed and described anew; what runs of them goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mangrove.model.documents import APPLICATIONS
from mangrove.store.interface import Operation
from mangrove.store.memory import MemoryStore
from tests.root_api import RootApi, microservice

ZERO = "0" * 24


@pytest.fixture
def root() -> RootApi:
    return RootApi()


def test_a_new_name_keeps_services_and_what_runs(root: RootApi) -> None:
    before = root.create("demo", microservice("web"), microservice("db"))
    id, [web, db] = before["applicationID"], before["microservices"]
    root.deploy(web)
    slots = root.slots()
    sent = {**before, "application_name": "fresh", "application_desc": "new words", "microservices": []}
    answer = root.call("PUT", f"/api/application/{id}/", json=sent)
    assert (answer.status_code, answer.json) == (200, {"message": "Application is updated"})
    after = root.get(f"/api/application/{id}")
    assert after == {**before, "application_name": "fresh", "application_desc": "new words"}
    assert root.slots() == slots
    for service in (web, db):
        shown = root.get(f"/api/service/{service}")
        assert shown["application_name"] == "fresh"
        assert shown["job_name"] == f"fresh.test.{shown['microservice_name']}.test"
    root.deploy(web)
    first, second = (root.slots()[f"{web}.{number}"].specification for number in (0, 1))
    assert first != second
    assert root.create("demo")["applicationID"] != id  # the old name is free


def test_what_is_not_sent_stays(root: RootApi) -> None:
    before = root.create("demo")
    path = f"/api/application/{before['applicationID']}"
    for nothing in ({}, {"application_name": None, "application_namespace": None, "application_desc": None}):
        assert root.call("PUT", path, json=nothing).status_code == 200
        assert root.get(path) == before
    assert root.call("PUT", path, json={"application_namespace": "other"}).status_code == 200
    assert root.get(path) == {**before, "application_namespace": "other"}


def test_a_taken_name_is_refused(root: RootApi) -> None:
    root.create("taken")
    root.add_user("bob")
    root.create("bobs", user="bob")
    path = f"/api/application/{root.create('demo')['applicationID']}"
    answer = root.call("PUT", path, json={"application_name": "taken"})
    assert answer.status_code == 409
    assert '"taken"' in answer.json["message"]
    for free in ("bobs", "demo"):
        assert root.call("PUT", path, json={"application_name": free}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"application_name": ""}, "application_name"),
        ({"application_name": "no spaces"}, "application_name"),
        ({"application_name": 1}, "application_name"),
        ({"application_name": {"$ne": ""}}, "application_name"),
        ({"application_namespace": "x" * 31}, "application_namespace"),
        ({"application_desc": "\0"}, "application_desc"),
        ({"userId": "bob"}, "userId"),
        ({"applicationID": ZERO}, "applicationID"),
        ({"_id": {"$oid": ZERO}}, "_id"),
        ({"owner": "bob"}, "owner"),
    ],
)
def test_bad_changes_name_their_field(root: RootApi, body: dict[str, Any], field: str) -> None:
    path = f"/api/application/{root.create()['applicationID']}"
    before = root.store.revision()
    answer = root.call("PUT", path, json=body)
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert root.store.revision() == before


def test_only_its_owner_and_admin_may(root: RootApi) -> None:
    for name in ("ada", "bob"):
        root.add_user(name)
    path = f"/api/application/{root.create(user='ada')['applicationID']}"
    assert root.call("PUT", path, user="bob", json={"application_name": "mine"}).status_code == 404
    assert root.call("PUT", f"/api/application/{ZERO}", json={}).status_code == 404
    assert root.call("PUT", path, user="ada", json={"application_name": "hers"}).status_code == 200
    assert root.call("PUT", path, json={"application_desc": "by Admin"}).status_code == 200
    [application] = root.get("/api/applications")
    assert (application["userId"], application["application_name"]) == ("ada", "hers")


def test_two_that_want_one_name_at_once_do_not_both_get_it() -> None:
    class Beaten(MemoryStore):
        """Another copy of the API takes the name just before this one writes it."""

        beaten = False

        def apply(self, operations: Sequence[Operation], **more: Any) -> int:
            if armed.is_set() and not self.beaten and any(one.collection == APPLICATIONS for one in operations):
                self.beaten = True
                other.create("wanted")
            return super().apply(operations, **more)

    armed = threading.Event()
    store = Beaten()
    root, other = RootApi(store), RootApi(store)
    path = f"/api/application/{root.create('demo')['applicationID']}"
    other.as_user()
    armed.set()
    assert root.call("PUT", path, json={"application_name": "wanted"}).status_code == 409
    assert sorted(each["application_name"] for each in root.get("/api/applications")) == ["demo", "wanted"]
