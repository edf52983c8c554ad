"""A request with an idempotency key is done once, however often it comes and whatever happens in between."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mangrove.model.documents import CLAIMS, CLAIMS_KEPT, SLOTS, TOKENS
from mangrove.roles.housekeeping import old_claims
from mangrove.store.interface import Lease, Operation, RevisionConflict, Store
from mangrove.store.memory import MemoryStore
from mangrove.store.sqlite import SqliteStore
from root_orchestrator.api import once
from tests.root_api import RootApi, microservice, sla


def post(root: RootApi, path: str, key: str = "k1", user: str = "Admin", **more: Any) -> Any:
    return root.call("POST", path, user=user, headers={"Idempotency-Key": key}, **more)


@pytest.fixture
def root() -> RootApi:
    root = RootApi()
    root.add_user("ann", "Application_Provider")
    return root


@pytest.fixture
def path(root: RootApi) -> str:
    return f"/api/service/{root.create()['microservices'][0]}/instance"


def test_the_same_request_is_done_once_and_answered_the_same(root: RootApi, path: str) -> None:
    first = post(root, path)
    assert first.json["instance_number"] == 0
    assert "Idempotency-Replayed" not in first.headers
    revision = root.store.revision()
    for _ in range(3):
        again = post(root, path)
        assert (again.status_code, again.text, again.headers["Content-Type"]) == (
            first.status_code,
            first.text,
            first.headers["Content-Type"],
        )
        assert again.headers["Idempotency-Replayed"] == "true"
    assert root.store.revision() == revision
    assert post(root, path, "k2").json["instance_number"] == 1
    assert root.call("POST", path).json["instance_number"] == 2, "without a key each one counts"


def test_another_request_with_the_same_key_is_refused(root: RootApi, path: str) -> None:
    post(root, path)
    before = root.store.revision()
    for answer in (post(root, path, json={"x": 1}), post(root, path + "?a=b"), post(root, "/api/v1/cluster-tokens")):
        assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")
        assert "take a new one" in answer.json["message"]
    assert root.store.revision() == before


def test_keys_belong_to_who_sent_them(root: RootApi, path: str) -> None:
    post(root, path)
    assert post(root, "/api/application", user="ann", json=sla("anns")).status_code == 200
    assert post(root, "/api/application", user="ann", json=sla("anns")).status_code == 200
    assert len(root.get("/api/v1/applications", user="ann")["items"]) == 1


def test_an_answer_that_shows_what_was_just_made_is_complete(root: RootApi) -> None:
    answer = post(root, "/api/application", json=sla("demo", microservice("a"), microservice("b")))
    [application] = answer.json
    assert application["application_name"] == "demo"
    assert len(application["microservices"]) == 2
    added = post(
        root, "/api/service", "k2", json=sla("x", microservice("c"), applicationID=application["applicationID"])
    )
    assert added.json["job_id"]
    assert len(root.get("/api/v1/services")["items"]) == 3


def test_what_failed_was_not_done_and_its_key_is_as_new(root: RootApi) -> None:
    body = sla("demo")
    root.create("demo")
    assert post(root, "/api/application", json=body).status_code == 409
    assert root.store.load(CLAIMS) == []
    root.call("DELETE", f"/api/application/{root.get('/api/v1/applications')['items'][0]['id']}")
    assert post(root, "/api/application", json=body).status_code == 200


def test_a_key_counts_for_a_day(root: RootApi, path: str) -> None:
    post(root, path)
    wall = root.clock.wall()
    assert old_claims({CLAIMS: root.store.load(CLAIMS)}, wall + CLAIMS_KEPT - 1) == []
    assert len(old_claims({CLAIMS: root.store.load(CLAIMS)}, wall + CLAIMS_KEPT)) == 1
    root.clock.advance_to(root.clock.now() + CLAIMS_KEPT)
    root = RootApi(root.store)
    root.clock.advance_to(1000.0 + CLAIMS_KEPT)
    assert post(root, path).json["instance_number"] == 1
    assert post(root, path).json["instance_number"] == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel"])
def test_what_is_no_key_is_refused(root: RootApi, path: str, key: str) -> None:
    answer = post(root, path, key.encode().decode("latin-1"))
    assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")
    assert root.store.load(SLOTS) == []


def test_a_secret_in_an_answer_is_answered_again_and_stands_nowhere(root: RootApi) -> None:
    token = post(root, "/api/v1/cluster-tokens").json["token"]
    assert post(root, "/api/v1/cluster-tokens").json["token"] == token
    assert len(root.store.load(TOKENS)) == 1
    kept = "".join(str(stored.document) for name in (CLAIMS, TOKENS) for stored in root.store.load(name))
    assert token not in kept


def test_what_is_kept_of_a_request_tries_no_passwords(root: RootApi) -> None:
    """Whoever reads the store knows everything of a registration but its password; a plain hash would tell it."""
    for key in ("k1", "k2"):
        post(root, "/api/v1/cluster-tokens", key, json={"uses": 1})
    first, second = (stored.document["asked"] for stored in root.store.load(CLAIMS))
    assert first != second


def test_a_large_answer_is_not_kept_but_the_request_is_done_once(
    root: RootApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers all applications: claims that keep them would grow with each creation."""
    monkeypatch.setattr(once, "LARGEST", 1000)
    bodies = {"k1": sla("small"), "k2": sla("large", *(microservice(f"s{number}") for number in range(100)))}
    for key, body in bodies.items():
        assert post(root, "/api/application", key, json=body).status_code == 200
    assert all(len(stored.document["answer"]) <= 1000 for stored in root.store.load(CLAIMS))
    revision = root.store.revision()
    assert post(root, "/api/application", "k1", json=bodies["k1"]).status_code == 200
    again = post(root, "/api/application", "k2", json=bodies["k2"])
    assert (again.status_code, root.store.revision()) == (409, revision)
    assert "done before" in again.json["message"]
    assert post(root, "/api/application", "k2", json=bodies["k1"]).status_code == 422


def test_many_at_once_are_one(root: RootApi, path: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: post(root, path, f"k{number % 3}"), range(24)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted({answer.json["instance_number"] for answer in answers}) == [0, 1, 2]
    assert len(root.store.load(SLOTS)) == 3


def test_many_that_change_the_same_thing_take_turns(root: RootApi, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would otherwise read, be overtaken, and begin again: the more come at once, the slower it gets."""
    apply, met = root.store.apply, []

    def slow(operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        threading.Event().wait(0.002)  # as a disk does: meanwhile others read what is about to change
        try:
            return apply(operations, lease=lease)
        except RevisionConflict as conflict:
            met.append(conflict)
            raise

    monkeypatch.setattr(root.store, "apply", slow)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: post(root, path, f"k{number}"), range(24)))
    assert sorted(answer.json["instance_number"] for answer in answers) == list(range(24))
    assert met == []


class Crashed(BaseException):
    """The process was killed here."""


class Killed:
    """A store whose process is killed at its next write: before it is done, or right behind it."""

    def __init__(self, store: Store, when: str) -> None:
        self._store = store
        self._when = when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(self, operations: Sequence[Operation], *, lease: Lease | None = None) -> int:
        if self._when == "behind":
            self._store.apply(operations, lease=lease)
        raise Crashed


@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_root_that_is_killed_in_the_midst_has_done_all_or_nothing(tmp_path: Path, when: str) -> None:
    store = SqliteStore(tmp_path / "root.db")
    root = RootApi(store)
    path = f"/api/service/{root.create()['microservices'][0]}/instance"
    killed: Any = Killed(store, when)
    with pytest.raises(Crashed):
        post(RootApi(killed), path)
    store.close()
    store = SqliteStore(tmp_path / "root.db")
    after = RootApi(store)
    assert len(store.load(SLOTS)) == (when == "behind")
    for _ in range(2):
        assert post(after, path).json["instance_number"] == 0
    assert len(store.load(SLOTS)) == 1
    store.close()


def test_what_is_gathered_is_seen_by_its_own_reads_alone() -> None:
    from mangrove.store.interface import ABSENT, Delete, Put, RevisionConflict
    from root_orchestrator.api.gathering import GatheringStore

    inner = MemoryStore()
    store = GatheringStore(inner)
    store.apply([Put("services", "a", {"owner": "x"}), Put("services", "b", {"owner": "x"})])
    with store.gather() as gathered:
        store.apply([Put("services", "c", {"owner": "x"}, ABSENT), Delete("services", "a")])
        new = store.get("services", "c")
        assert new is not None
        store.apply([Put("services", "c", {"owner": "x", "n": 2}, new.revision)])
        with pytest.raises(RevisionConflict):
            store.apply([Put("services", "c", {}, ABSENT)])
        assert store.get("services", "a") is None
        assert [one.id for one in store.load("services")] == ["b", "c"]
        assert [one.id for one in store.query("services", "owner", "x", after="b")] == ["c"]
        assert [one.id for one in store.page("services", limit=1)] == ["b"]
        assert [one.id for one in inner.load("services")] == ["a", "b"]
    assert [one.id for one in store.load("services")] == ["a", "b"]
    inner.apply(gathered.operations)
    assert [(one.id, one.document.get("n")) for one in store.load("services")] == [("b", None), ("c", 2)]
