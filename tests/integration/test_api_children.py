"""Removing clusters and nodes that will not come back."""

from __future__ import annotations

import msgspec

from mangrove.model.documents import IDENTITIES, Identity
from tests.root_api import CLUSTER, NODE, RootApi


def test_a_removed_cluster_may_speak_no_more() -> None:
    told: list[Identity] = []
    api = RootApi(on_revoked=told.append)
    api.add_cluster("alpha")
    api.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha"))
    answer = api.call("DELETE", f"/api/v1/clusters/{CLUSTER}")
    assert answer.status_code == 200
    stored = api.store.get(IDENTITIES, CLUSTER)
    assert stored is not None
    assert msgspec.convert(stored.document, Identity).revoked
    assert [identity.id for identity in told] == [CLUSTER]


def test_a_node_is_removed_by_its_cluster() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    api.fleet.answer = {"message": "ok"}
    assert api.call("DELETE", f"/api/v1/clusters/{CLUSTER}/nodes/{NODE}").status_code == 200
    assert api.fleet.calls[-1] == (CLUSTER, "remove_node", {"node": NODE})


def test_what_is_not_there_is_not_removed() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    for path in ("/api/v1/clusters/nonsense", f"/api/v1/clusters/{'0' * 24}", f"/api/v1/clusters/{CLUSTER}/nodes/x"):
        answer = api.call("DELETE", path)
        assert answer.status_code == 404
        assert "there is no" in answer.json["message"] or "has joined" in answer.json["message"]


def test_only_admin_removes() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    api.add_user("ann", "Application_Provider")
    for path in (f"/api/v1/clusters/{CLUSTER}", f"/api/v1/clusters/{CLUSTER}/nodes/{NODE}"):
        assert api.call("DELETE", path, user="ann").status_code == 403


def test_a_cordoned_cluster_is_marked_so_and_freed_again() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    api.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha"))
    for cordoned in (True, False):
        assert api.call("PUT", f"/api/v1/clusters/{CLUSTER}/cordon", json={"cordoned": cordoned}).status_code == 200
        stored = api.store.get(IDENTITIES, CLUSTER)
        assert stored is not None
        assert msgspec.convert(stored.document, Identity).cordoned is cordoned
    assert api.call("PUT", "/api/v1/clusters/nonsense/cordon", json={}).status_code == 404
    assert api.call("PUT", f"/api/v1/clusters/{CLUSTER}/cordon", json={"cordoned": "yes"}).status_code == 422


def test_a_node_is_cordoned_by_its_cluster() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    api.fleet.answer = {"message": "ok"}
    path = f"/api/v1/clusters/{CLUSTER}/nodes/{NODE}/cordon"
    assert api.call("PUT", path, json={"cordoned": True}).status_code == 200
    assert api.fleet.calls[-1] == (CLUSTER, "cordon_node", {"node": NODE, "cordoned": True, "drain": False})


def test_draining_is_cordoning_and_more() -> None:
    api = RootApi()
    api.add_cluster("alpha")
    api.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha"))
    path = f"/api/v1/clusters/{CLUSTER}/cordon"

    def state() -> tuple[bool, bool]:
        stored = api.store.get(IDENTITIES, CLUSTER)
        assert stored is not None
        identity = msgspec.convert(stored.document, Identity)
        return identity.cordoned, identity.drained

    answer = api.call("PUT", path, json={"drain": True})
    assert (answer.status_code, state()) == (200, (True, True))
    assert "what runs there moves elsewhere" in answer.json["message"]
    refused = api.call("PUT", path, json={"cordoned": False, "drain": True})
    assert (refused.status_code, refused.json["field"], state()) == (422, "drain", (True, True))
    api.call("PUT", path, json={"cordoned": True})
    assert state() == (True, False)
    api.call("PUT", path, json={"drain": True})
    api.call("PUT", path, json={"cordoned": False})
    assert state() == (False, False), "it is over with the cordon"
    api.fleet.answer = {"message": "ok"}
    api.call("PUT", f"/api/v1/clusters/{CLUSTER}/nodes/{NODE}/cordon", json={"drain": True})
    assert api.fleet.calls[-1] == (CLUSTER, "cordon_node", {"node": NODE, "cordoned": True, "drain": True})
