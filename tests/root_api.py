"""A root's API on a store in memory, with the controller and the link played by the test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from werkzeug.datastructures import Headers

from mangrove.base.clock import VirtualClock
from mangrove.base.ids import new_id
from mangrove.model.attempt import Status, Usage
from mangrove.model.child import Capacity, NodeView
from mangrove.model.documents import (
    CHILDREN,
    NODES,
    OBSERVED,
    ORGANIZATIONS,
    PLACEMENTS,
    SLOTS,
    USERS,
    Child,
    Given,
    Member,
    Observed,
    Organization,
    Placement,
    Refusal,
    Slot,
    User,
)
from mangrove.model.phases import Phase
from mangrove.model.position import Position
from mangrove.model.resources import Resources
from mangrove.model.specification import Specification
from mangrove.placement.engine import Judgement, judge
from mangrove.placement.fleet import Fleet as PlacementFleet
from mangrove.placement.trial import Trial, try_out
from mangrove.roles.rebalancing import Moved
from mangrove.roles.streams import Source
from mangrove.roles.system_services import Without
from mangrove.store.interface import Put, Store
from mangrove.store.memory import MemoryStore
from root_orchestrator.api.app import create_app
from root_orchestrator.api.fleet import Apology
from root_orchestrator.auth.passwords import Passwords
from root_orchestrator.auth.rules import APPLICATION_PROVIDER
from root_orchestrator.auth.users import ROOT_ORGANIZATION, ensure_admin
from tests.described import check_answer

#: One round, since tests sign in often and have nothing to hide.
CHEAP = Passwords("pbkdf2:sha256:1")

CLUSTER = "c" * 24
NODE = "d" * 24


@cache
def signing_key() -> rsa.RSAPrivateKey:
    """One key for all tests: making one takes a tenth of a second and more."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


#: What a cluster says to whatever it is asked: that it was done, and a join token.
ANSWERED = {"message": "ok", "id": "0" * 24, "token": "the text", "expires": 2000.0}


class FakeFleet:
    """What a link would know. calls: those made; answer: what each of them gets. lacking: nodes without a service."""

    def __init__(self) -> None:
        self.measured: dict[str, list[Usage]] = {}
        self.heard: dict[str, float] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.answer: dict[str, Any] | Exception = dict(ANSWERED)
        self.table = PlacementFleet("cluster")
        self.lacking: list[Without] = []
        self.moves: list[Moved] = []

    def soonest_stop(self) -> float:
        return 6.9

    def usage(self, ids: Iterable[str]) -> Mapping[str, Sequence[Usage]]:
        return {id: self.measured[id] for id in ids if id in self.measured}

    def ages(self) -> Mapping[str, float]:
        return self.heard

    def judge(self, specification: Specification, refused: Mapping[str, Refusal]) -> Judgement:
        return judge(self.table, specification, refused=refused)

    def without(self, service: str) -> Sequence[Without]:
        return self.lacking

    def try_out(self, wanted: Sequence[tuple[Specification, int]]) -> Sequence[Trial]:
        return try_out(self.table.snapshot(), wanted)

    def rebalance(self, dry_run: bool) -> Sequence[Moved]:
        return self.moves

    def call(self, child: str, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        self.calls.append((child, method, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def stream(self, child: str, method: str, params: dict[str, Any], apology: Apology) -> Source:
        self.calls.append((child, method, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return OneLine()


class OneLine:
    """What a child streams: one line of text."""

    def __init__(self) -> None:
        self._pieces = [b"hello\n"]

    def next(self, timeout: float) -> bytes | None:
        return self._pieces.pop() if self._pieces else None

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered; json is None when it is none."""

    status_code: int
    headers: Headers
    text: str
    json: Any


class RootApi:
    """The API behind Flask's test client, signed in as Admin unless told otherwise."""

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self.store: Store = store or MemoryStore()
        self.clock = VirtualClock(1000.0)
        self.fleet = FakeFleet()
        ensure_admin(self.store, self.clock, allow_default=True, passwords=CHEAP)
        options = {"allow_default_admin": True, "fleet": self.fleet, **options}
        self.app = create_app(self.store, self.clock, signing_key(), passwords=CHEAP, **options)
        self._headers: dict[str, dict[str, str]] = {}

    # Users

    def login(self, name: str = "Admin", password: str | None = None, **more: Any) -> Answer:
        body = {"username": name, "password": name if password is None else password, **more}
        return self.request("POST", "/api/auth/login", json=body)

    def as_user(self, name: str = "Admin") -> dict[str, str]:
        """Headers of that user, whose password is the name."""
        if name not in self._headers:
            self._headers[name] = {"Authorization": f"Bearer {self.login(name).json['token']}"}
        return self._headers[name]

    def forget_tokens(self) -> None:
        """Sign in anew at the next request."""
        self._headers.clear()

    def add_user(self, name: str, *roles: str) -> User:
        """A user whose password is the name, member of the organization `root` with these roles.

        Without any, one who has applications.
        """
        return self.add_member(name, ROOT_ORGANIZATION, *(roles or (APPLICATION_PROVIDER,)))

    def add_member(self, name: str, organization: str, *roles: str) -> User:
        """A user whose password is the name, member of the organization of that name with exactly these roles."""
        user = User(new_id(), name, f"{name}@example.org", CHEAP.hash(name), self.clock.wall())
        found = self.store.query(ORGANIZATIONS, "name", organization)[0]
        home = msgspec.convert(found.document, Organization)
        home = msgspec.structs.replace(home, members=(*home.members, Member(user.id, roles)))
        self.put(USERS, user.id, user)
        self.put(ORGANIZATIONS, home.id, home)
        return user

    # Requests

    def request(self, method: str, path: str, **more: Any) -> Answer:
        """A request without a token, but for what `headers` say. json: what to send as such, in its own order.

        Every answer is held to the description of the API.
        """
        if "json" in more:
            more = {"data": msgspec.json.encode(more.pop("json")), "content_type": "application/json", **more}
        response = self.app.test_client().open(path, method=method, **more)
        check_answer(self.app, method, path, response)
        return Answer(response.status_code, response.headers, response.text, response.get_json(silent=True))

    def call(self, method: str, path: str, *, user: str = "Admin", **more: Any) -> Answer:
        """A request by a user."""
        return self.request(method, path, headers={**self.as_user(user), **more.pop("headers", {})}, **more)

    def get(self, path: str, *, user: str = "Admin") -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.call("GET", path, user=user)
        assert answer.status_code == 200, answer.text
        return answer.json

    def create(self, name: str = "demo", *services: dict[str, Any], user: str = "Admin") -> dict[str, Any]:
        """A new application, as it is answered."""
        answer = self.call("POST", "/api/application", user=user, json=sla(name, *services))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = next(app for app in answer.json if app["application_name"] == name)
        return found

    def deploy(self, service: str, user: str = "Admin") -> int:
        answer = self.call("POST", f"/api/service/{service}/instance", user=user)
        assert answer.status_code == 200, answer.text
        number: int = answer.json["instance_number"]
        return number

    # What the controller and the link would write

    def put(self, collection: str, id: str, document: msgspec.Struct, **more: Any) -> None:
        self.store.apply([Put(collection, id, {**msgspec.to_builtins(document), **more})])

    def add_cluster(self, name: str = "alpha", id: str = CLUSTER, **more: Any) -> Child:
        room = Resources(cpu=4000, memory=4096, disk=10_000)
        capacity = Capacity(
            room, nodes=2, architectures=("amd64",), runtimes=("docker",), position=Position(48.1, 11.5, 100)
        )
        fields: dict[str, Any] = {"state": "live", "address": "127.0.0.1", "heard": self.clock.wall(), **more}
        cluster = Child(id, name, capacity=fields.pop("capacity", capacity), **fields)
        self.put(CHILDREN, id, cluster)
        return cluster

    def add_node(self, name: str = "node1", id: str = NODE, cluster: str = CLUSTER, **more: Any) -> NodeView:
        room = Resources(cpu=2000, memory=2048)
        fields: dict[str, Any] = {"state": "live", "capacity": Capacity(room, architectures=("arm64",)), **more}
        node = NodeView(id, name, **fields)
        self.put(NODES, f"{cluster}/{id}", node, cluster=cluster)
        return node

    def slots(self) -> dict[str, Slot]:
        return {stored.id: msgspec.convert(stored.document, Slot) for stored in self.store.load(SLOTS)}

    def leave_pending(self, slot: str, reason: str, failures: int = 0) -> None:
        self.put(PLACEMENTS, slot, Placement(slot, reason=reason, failures=failures))

    def place(self, slot: str, cluster: str = CLUSTER) -> str:
        """Give a slot to a cluster; the attempt's id."""
        given = Given(new_id(), cluster, 1, self.slots()[slot].specification, Resources())
        self.put(PLACEMENTS, slot, Placement(slot, 1, given))
        return given.attempt

    def observe(self, attempt: str, phase: Phase, reason: str = "", **more: Any) -> None:
        status = Status(attempt, phase, reason, since=self.clock.wall(), **more)
        self.put(OBSERVED, attempt, Observed(attempt, CLUSTER, status, self.clock.wall()))

    def run(self, slot: str) -> str:
        """Place a slot and let it run on the node; the attempt's id."""
        attempt = self.place(slot)
        self.observe(attempt, Phase.RUNNING, node=NODE, node_name="node1", address="127.0.0.1")
        return attempt


def microservice(name: str = "web", **fields: Any) -> dict[str, Any]:
    """A microservice as a user writes it."""
    return {
        "microserviceID": "",
        "microservice_name": name,
        "microservice_namespace": "test",
        "virtualization": "container",
        "memory": 100,
        "vcpus": 1,
        "code": "docker.io/library/nginx:latest",
        "port": "8080:80",
        **fields,
    }


def sla(name: str = "demo", *services: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An SLA with one application, with one service when none is given."""
    application = {
        "applicationID": "",
        "application_name": name,
        "application_namespace": "test",
        "application_desc": "a demo",
        "microservices": list(services) if services else [microservice()],
        **fields,
    }
    return {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
