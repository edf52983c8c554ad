"""The client against the root's real API, served on a real port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mangrove.base.clock import VirtualClock
from mangrove.base.errors import Conflict, InvalidInput, NotFound, Unauthorized, Unavailable
from mangrove.client.root import RootClient, Session
from mangrove.identity import tokens
from mangrove.model.attempt import Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import CHILDREN, NODES, Child
from mangrove.model.phases import Phase
from mangrove.model.resources import Resources
from mangrove.roles.http_server import serve
from mangrove.store.interface import Put
from mangrove.store.memory import MemoryStore
from root_orchestrator.api.app import create_app
from root_orchestrator.api.fleet import NoFleet
from root_orchestrator.auth.passwords import Passwords
from root_orchestrator.auth.users import ensure_admin


def sla(name: str = "tide", version: str = "v2.0") -> dict[str, Any]:
    """An application of one service."""
    service = {
        "microservice_name": "gauge",
        "microservice_namespace": "test",
        "virtualization": "container",
        "code": "gauge:1",
        "memory": 64,
        "vcpus": 1,
    }
    application = {
        "application_name": name,
        "application_namespace": "test",
        "application_desc": "measures",
        "microservices": [service],
    }
    return {"sla_version": version, "customerID": "Admin", "applications": [application]}


CLUSTER = "c" * 24


class OneCluster(NoFleet):
    """A fleet of which cluster `CLUSTER` answers."""

    def ages(self) -> Mapping[str, float]:
        return {CLUSTER: 1.5}

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        assert (child, method, params) == (CLUSTER, "node_token", {"ttl": 60.0, "uses": 3})
        return {"id": "n" * 24, "token": "mgv-n", "expires": 61.0}


@dataclass
class Root:
    """sessions: all that clients were told to keep, in order."""

    address: str
    store: MemoryStore
    clock: VirtualClock
    sessions: list[Session] = field(default_factory=list)

    def client(self, session: Session | None = None) -> RootClient:
        return RootClient(self.address, repeats=0, session=session, on_session=self.sessions.append)

    def admin(self) -> RootClient:
        client = self.client()
        client.login("Admin", "Admin")
        return client


@pytest.fixture(scope="module")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def root(signing_key: rsa.RSAPrivateKey) -> Iterator[Root]:
    store, clock = MemoryStore(), VirtualClock()
    quick = Passwords("pbkdf2:sha256:1")
    ensure_admin(store, clock, allow_default=True, passwords=quick)
    app = create_app(store, clock, signing_key, fleet=OneCluster(), allow_default_admin=True, passwords=quick)
    server = serve(app, "127.0.0.1", 0, threads=4)
    yield Root(f"127.0.0.1:{server.port}", store, clock)
    server.stop()


def test_an_application_from_start_to_end(root: Root) -> None:
    client = root.admin()
    (application,) = client.create_applications(sla())
    assert (application.name, application.namespace, application.description) == ("tide", "test", "measures")
    assert list(client.applications()) == [client.application(application.id)] == [application]
    (summary,) = client.services(application.id)
    assert list(client.services(name="gauge")) == [summary]
    assert list(client.services(name="other")) == []
    assert (summary.id, summary.name, summary.application) == (*application.services, "gauge", application.id)

    assert [client.deploy(summary.id) for _ in range(3)] == [0, 1, 2]
    service = client.service(summary.id)
    assert [(each.number, each.phase) for each in service.instances] == [(n, Phase.PENDING) for n in range(3)]
    assert service.specification["image"] == "gauge:1"
    assert [each.id for each in client.instances(service=summary.id)] == [f"{summary.id}.{n}" for n in range(3)]
    assert client.instance(f"{summary.id}.1").service == summary.id
    assert [each.phases for each in client.services()] == [{"pending": 3}]
    client.undeploy(summary.id, 1)
    assert [each.number for each in client.service(summary.id).instances] == [0, 2]
    client.undeploy(summary.id)
    assert client.service(summary.id).instances == ()
    scaled = client.scale(summary.id, 2)
    assert (scaled.instances, scaled.added, scaled.removed) == (2, (3, 4), ())
    assert client.scale(summary.id, 2).added == ()
    assert client.scale(summary.id, 0).removed == (3, 4)

    client.delete_service(summary.id)
    assert list(client.services(application.id)) == []
    client.delete_application(application.id)
    assert list(client.applications()) == []


def test_only_what_was_made_is_answered(root: Root) -> None:
    client = root.admin()
    client.create_applications(sla())
    assert [each.name for each in client.create_applications(sla("ebb"))] == ["ebb"]
    assert len(list(client.applications())) == 2


def test_errors_carry_what_the_root_says(root: Root) -> None:
    client = root.admin()
    client.create_applications(sla())
    with pytest.raises(Conflict, match="tide"):
        client.create_applications(sla())
    with pytest.raises(NotFound):
        client.service("0" * 24)
    with pytest.raises(NotFound):
        client.application("a/../../b?c")
    with pytest.raises(InvalidInput, match="sla_version"):
        client.create_applications(sla(version="v9"))


def test_clusters_and_nodes(root: Root) -> None:
    client = root.admin()
    assert (list(client.clusters()), list(client.nodes())) == ([], [])
    capacity = Capacity(allocatable=Resources(cpu=4000, memory=1024), runtimes=("docker",))
    child = Child(id=CLUSTER, name="reef", state="live", capacity=capacity, software="0.1.0")
    node = NodeView(id="n1", name="pi", state="live", capacity=capacity, instances=2, usage=Usage(cpu=12.5))
    root.store.apply(
        [
            Put(CHILDREN, CLUSTER, msgspec.to_builtins(child)),
            Put(NODES, f"{CLUSTER}/n1", msgspec.to_builtins(node)),
        ]
    )
    (cluster,) = client.clusters()
    assert (cluster.name, cluster.state, cluster.age, cluster.nodes) == ("reef", "live", 1.5, 1)
    assert cluster.capacity == capacity
    (found,) = client.nodes()
    assert (found.name, found.instances, found.usage.cpu, found.cluster.name) == ("pi", 2, 12.5, "reef")
    made = client.node_token(CLUSTER, ttl=60.0, uses=3)
    assert (made.id, made.token, made.expires) == ("n" * 24, "mgv-n", 61.0)
    with pytest.raises(NotFound, match="no cluster"):
        client.node_token("0" * 24, ttl=60.0)


def test_cluster_tokens(root: Root) -> None:
    client = root.admin()
    made = client.cluster_token(ttl=60, uses=2)
    assert tokens.verify(root.store, root.clock, made.token).token.uses == 2
    assert made.expires == root.clock.wall() + 60
    assert made.token not in repr(made)
    client.revoke_cluster_token(made.id)
    with pytest.raises(Unauthorized, match="revoked"):
        tokens.verify(root.store, root.clock, made.token)


def test_a_token_that_expired_is_renewed_once(root: Root) -> None:
    client = root.admin()
    root.clock.advance_to(root.clock.now() + 24 * 3600)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: list(client.clusters()), range(8))) == [[]] * 8
    first, second = root.sessions
    assert first.token != second.token
    assert list(root.client(second).clusters()) == []
    assert len(root.sessions) == 2


def test_a_login_ends(root: Root) -> None:
    client = root.admin()
    root.clock.advance_to(root.clock.now() + 365 * 24 * 3600)
    with pytest.raises(Unauthorized, match=r"the login as Admin has ended \(.+\): log in again"):
        list(client.clusters())
    client.login("Admin", "Admin")
    assert list(client.clusters()) == []


def test_without_a_login_nothing_is_asked(root: Root) -> None:
    with pytest.raises(Unauthorized, match=f"not logged in to http://{root.address}: log in first"):
        list(root.client().clusters())
    with pytest.raises(Unauthorized, match="wrong username or password"):
        root.client().login("Admin", "guess")
    with pytest.raises(NotFound, match="organization_name"):
        root.client().login("Admin", "Admin", organization="nobody")
    assert root.sessions == []


def test_a_session_shows_no_token(root: Root) -> None:
    root.admin()
    (session,) = root.sessions
    assert repr(session) == "Session(user='Admin')"


def test_a_root_whose_store_is_away(root: Root) -> None:
    client = root.admin()
    root.store.close()
    with pytest.raises(Unavailable):
        list(client.clusters())
