"""What a restored store did not know is listed, kept as an instance, or dropped: by Admin alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mangrove.model.attempt import Attempt
from mangrove.model.documents import (
    ADOPTED,
    APPLICATIONS,
    SERVICES,
    SLOTS,
    SPECIFICATIONS,
    Adopted,
    Application,
    Service,
    Slot,
)
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.store.interface import Delete, Lease, Operation
from tests.root_api import CLUSTER, RootApi

ATTEMPT, SERVICE = "b" * 24, "5" * 24
WEB = Specification("shop.test.web.test")


@pytest.fixture
def api() -> RootApi:
    api = RootApi()
    api.add_cluster("alpha")
    api.put(SPECIFICATIONS, WEB.digest, WEB)
    attempt = Attempt(ATTEMPT, SERVICE, 7, 2, WEB.digest)
    api.put(ADOPTED, ATTEMPT, Adopted(attempt, CLUSTER, "alpha", "shop.web.7", Resources(), 5.0))
    return api


def add_service(api: RootApi) -> None:
    api.put(SERVICES, SERVICE, Service(SERVICE, "a" * 24, "Admin", "web", "test", WEB.digest, {}, 3))


def test_it_is_listed(api: RootApi) -> None:
    assert api.get("/api/v1/adopted") == [
        {
            "id": ATTEMPT,
            "name": "shop.web.7",
            "child": "alpha",
            "service": SERVICE,
            "number": 7,
            "since": 5.0,
            "dropped": False,
        }
    ]


def test_what_is_kept_is_wanted_from_then_on_and_its_number_is_not_given_again(api: RootApi) -> None:
    add_service(api)
    assert api.call("PUT", f"/api/v1/adopted/{ATTEMPT}").status_code == 200
    stored, service = api.store.get(SLOTS, f"{SERVICE}.7"), api.store.get(SERVICES, SERVICE)
    assert stored is not None
    assert service is not None
    slot = stored.read(Slot)
    assert (slot.number, slot.specification, slot.desired) == (7, WEB.digest, "run")
    assert service.read(Service).next_number == 8
    assert api.call("PUT", f"/api/v1/adopted/{ATTEMPT}").status_code == 409, "it is there already"


def test_what_is_of_no_service_that_is_known_has_one_again(api: RootApi) -> None:
    second = "9" * 24
    api.put(
        ADOPTED,
        second,
        Adopted(Attempt(second, SERVICE, 2, 1, WEB.digest), CLUSTER, "alpha", "shop.web.2", Resources(), 5.0),
    )
    for attempt in (ATTEMPT, second):
        assert api.call("PUT", f"/api/v1/adopted/{attempt}").status_code == 200
    found = api.get(f"/api/service/{SERVICE}")
    assert (found["microservice_name"], found["application_name"], found["application_namespace"]) == (
        "web",
        "shop",
        "test",
    )
    assert sorted(each["instance_number"] for each in found["instance_list"]) == [2, 7]
    assert found["next_instance_progressive_number"] == 8
    [application] = api.get("/api/applications/")
    assert application["microservices"] == [SERVICE]
    assert api.get(f"/api/v1/services/{SERVICE}")["name"] == "web"


def test_an_application_that_is_there_has_its_service_again(api: RootApi) -> None:
    api.put(APPLICATIONS, "a" * 24, Application("a" * 24, "shop", "test", "", "Admin", ("b" * 24,)))
    assert api.call("PUT", f"/api/v1/adopted/{ATTEMPT}").status_code == 200
    stored = api.store.get(APPLICATIONS, "a" * 24)
    assert stored is not None
    assert stored.read(Application).services == ("b" * 24, SERVICE)


def test_what_was_deployed_again_meanwhile_is_not_there_twice(api: RootApi) -> None:
    other = "6" * 24
    api.put(APPLICATIONS, "a" * 24, Application("a" * 24, "shop", "test", "", "Admin", (other,)))
    api.put(SERVICES, other, Service(other, "a" * 24, "Admin", "web", "test", WEB.digest, {}, 3))
    answer = api.call("PUT", f"/api/v1/adopted/{ATTEMPT}")
    assert answer.status_code == 409
    assert "another service web by now" in answer.json["message"]
    assert api.store.load(SLOTS) == []


def test_what_is_dropped_is_marked_and_cannot_be_kept(api: RootApi) -> None:
    add_service(api)
    assert api.call("DELETE", f"/api/v1/adopted/{ATTEMPT}").status_code == 200
    stored = api.store.get(ADOPTED, ATTEMPT)
    assert stored is not None
    assert stored.read(Adopted).dropped
    assert api.call("PUT", f"/api/v1/adopted/{ATTEMPT}").status_code == 409
    assert api.call("DELETE", f"/api/v1/adopted/{ATTEMPT}").status_code == 409
    assert api.call("DELETE", f"/api/v1/adopted/{'0' * 24}").status_code == 404


def test_what_has_just_become_an_instance_is_not_dropped(api: RootApi, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = api.store.apply

    def later(operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        apply([Delete(ADOPTED, ATTEMPT)])
        return apply(operations, lease=lease)

    monkeypatch.setattr(api.store, "apply", later)
    answer = api.call("DELETE", f"/api/v1/adopted/{ATTEMPT}")
    assert answer.status_code == 409
    assert "has just become an instance" in answer.json["message"]
    assert api.store.get(ADOPTED, ATTEMPT) is None


def test_only_admin_may(api: RootApi) -> None:
    api.add_user("ann", "Application_Provider")
    for method in ("GET", "PUT", "DELETE"):
        path = "/api/v1/adopted" if method == "GET" else f"/api/v1/adopted/{ATTEMPT}"
        assert api.call(method, path, user="ann").status_code == 403
