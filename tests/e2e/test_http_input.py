"""Bad requests at the real HTTP servers of a root and a cluster: a 4xx with a message, and everything goes on."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from mangrove.base.errors import MangroveError, NotFound
from mangrove.client.cluster import operator_token_in
from mangrove.client.http import HttpClient, parse_address
from mangrove.client.root import RootClient
from mangrove.roles.web import MAX_BODY
from tests.e2e.conftest import MakeTree
from tests.e2e.programs import Parent
from tests.e2e.tree import Tree, process
from tests.root_api import RootApi

ZERO = "0" * 24

#: Routes that a parent adds to its own.
COMMON = [("POST", "/api/v1/join"), ("POST", "/api/v1/leave"), ("GET", "/readyz"), ("GET", "/api/v1/version")]
CLUSTER = [
    ("POST", "/api/v1/node-tokens"),
    ("DELETE", f"/api/v1/node-tokens/{ZERO}"),
    ("DELETE", f"/api/v1/nodes/{ZERO}"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/cluster/status"),
]

#: What may stand where a path names something.
NAMES = (ZERO, "-1", "..%2f..", "%00", quote("Größe "), "x" * 5000, "%ff%fe", "None")

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"applications": [',
    "no text": b'{"name": "\xff\xfe"}',
    "half a surrogate pair": b'{"username": "\\ud800", "password": "\\ud800"}',
    "a number": b"17",
    "a list": b"[[], {}, null]",
    "an object": b'{"no such field": 1}',
    "null": b"null",
    "deep": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "wrong types": b'{"username":1,"password":[],"token":{},"name":null,"kind":7,"uses":"many","ttl":{}}',
    "out of bounds": b'{"uses":-1,"ttl":-1e300,"token":"","name":"","kind":"node","protocols":[0]}',
    "enormous": b'{"uses":%d,"ttl":1e308}' % 10**100,
    "too large": b'"' + b"x" * (MAX_BODY + 1) + b'"',
}


@pytest.fixture(scope="module")
def tree(plant: MakeTree) -> Tree:
    """One cluster with one node."""
    return plant().start(alpha=["n1"])


@pytest.fixture(autouse=True)
def all_goes_on(tree: Tree) -> Iterator[None]:
    service = tree.deploy()
    before, pids = tree.wait_running(service), tree.pids()
    yield
    assert tree.pids() == pids
    assert tree.wait_running(service) == before
    for parent in (tree.root, tree.clusters["alpha"]):
        assert HttpClient(parse_address(parent.address, 1)).request("GET", "/readyz")["message"] == "ready"
        assert "Traceback" not in parent.log.read_text()
    tree.client.delete_service(service)
    tree.wait_gone(service)


def endpoints() -> list[tuple[str, str]]:
    """Method and path of all that a root serves; `<>` where something is named."""
    found = set()
    for rule in RootApi().app.url_map.iter_rules():
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(f"<{argument}>", "<>")
        found |= {(method, path) for method in rule.methods or () if method not in ("HEAD", "OPTIONS")}
    return sorted(found)


class Asker:
    """Asks one parent, on one connection as long as that lasts."""

    def __init__(self, parent: Parent, bearer: str) -> None:
        self._host, _, port = parent.address.partition(":")
        self._port = int(port)
        self._headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=30)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status; a failed answer must be JSON with a message, and never our own fault (501: not built here)."""
        try:
            self._connection.request(method, path, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            # The server has closed it after the request before, as it may.
            self._connection.close()
            self._connection.request(method, path, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
        content = answer.read()
        asked = f"{method} {path[:80]} {body[:60]!r}: {answer.status} {content[:300]!r}"
        assert answer.status < 500 or answer.status == 501, asked
        if answer.status >= 400:
            assert json.loads(content)["message"], asked
        return answer.status

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def admin_token(tree: Tree) -> str:
    login = {"username": "Admin", "password": "Admin"}
    answer = HttpClient(parse_address(tree.root.address, 1)).request("POST", "/api/auth/login", login)
    token: str = answer["token"]
    return token


def test_bad_bodies_everywhere(tree: Tree) -> None:
    with Asker(tree.root, admin_token(tree)) as asker:
        for method, path in [*endpoints(), *COMMON]:
            for body in BODIES.values():
                asker.ask(method, path.replace("<>", ZERO), body)
    cluster = tree.clusters["alpha"]
    with Asker(cluster, operator_token_in(cluster.data)) as asker:
        for method, path in [*CLUSTER, *COMMON]:
            for body in BODIES.values():
                asker.ask(method, path, body)


def test_what_is_not_there(tree: Tree) -> None:
    with Asker(tree.root, admin_token(tree)) as asker:
        for method, path in endpoints():
            for name in NAMES if "<>" in path else ():
                status = asker.ask(method, path.replace("<>", name), b"{}")
                assert status >= 400, f"{method} {path} with {name!r} was accepted"
        for path in ("/", "/api", "/nothing", "//api//clusters", "/api/clusters/%2e%2e/secrets", "/" + "x" * 20_000):
            assert asker.ask("GET", path) in (404, 405, 431), path
        for method in ("PATCH", "TRACE", "BREW"):
            assert asker.ask(method, "/api/application") in (404, 405, 501), method


def test_who_is_nobody_changes_nothing(tree: Tree) -> None:
    before = [application.id for application in tree.client.applications()]
    open_to_all = {("POST", "/api/auth/login"), ("POST", "/api/user"), ("PUT", "/api/user")}
    open_to_all |= {("GET", "/docs/openapi.json"), ("GET", "/api/docs"), ("GET", "/api/docs/<>")}
    closed = [endpoint for endpoint in endpoints() if endpoint not in open_to_all]
    for bearer in ("", "x", "a.b.c", "Ü", "x" * 10_000):
        with Asker(tree.root, bearer.encode().decode("latin-1")) as asker:
            for method, path in closed:
                assert asker.ask(method, path.replace("<>", ZERO), b"{}") == 401, f"{method} {path}"
    assert [application.id for application in tree.client.applications()] == before


RAW = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing": b"\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a wrong length": b"POST /api/application HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    "a negative length": b"POST /api/application HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n{}",
    "a wrong chunk": b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n",
    "huge headers": b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 300_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % each for each in range(20_000)) + b"\r\n",
    "a line feed in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\n b\x00c\r\n\r\n",
    "an enormous body": b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n{}",
    "half a request": b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("parent", ["root", "alpha"])
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
def test_what_is_no_request(tree: Tree, parent: str, raw: bytes) -> None:
    asked = {"root": tree.root, **tree.clusters}[parent]
    host, _, port = asked.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return  # cut off while sending
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status < 500 or status == 501, answer[:300]


def test_a_stream_without_end_is_cut_off(tree: Tree) -> None:
    host, _, port = tree.root.address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with pytest.raises(OSError):
            connection.sendall(chunk * (64 * MAX_BODY // 65536))


def test_other_peoples_things_are_not_there(tree: Tree) -> None:
    admin = tree.client
    for name in ("alice", "bob"):
        user = {"name": name, "password": f"password of {name}", "roles": ["Application_Provider"]}
        _as_admin(tree, "POST", "/api/auth/register", user)
    alice, bob = (RootClient(tree.root.address) for _ in range(2))
    alice.login("alice", "password of alice")
    bob.login("bob", "password of bob")
    sla = {
        "sla_version": "v2.0",
        "customerID": "alice",
        "applications": [
            {
                "applicationID": "",
                "application_name": "hers",
                "application_namespace": "test",
                "application_desc": "",
                "microservices": [process()],
            }
        ],
    }
    [application] = alice.create_applications(sla)
    [service] = application.services
    number = alice.deploy(service)
    tree.wait_running(service)
    before = tree.running(service)
    tries: dict[str, Any] = {
        "show": lambda: bob.application(application.id),
        "list": lambda: bob.request("GET", f"/api/services/{application.id}", form=list),
        "look": lambda: bob.service(service),
        "deploy": lambda: bob.deploy(service),
        "undeploy": lambda: bob.undeploy(service, number),
        "delete a service": lambda: bob.delete_service(service),
        "delete": lambda: bob.delete_application(application.id),
        "a token": lambda: bob.cluster_token(ttl=60),
        "a node's token": lambda: bob.node_token(tree.cluster_id("alpha"), ttl=60),
        "a cluster": lambda: bob.remove_cluster(tree.cluster_id("alpha")),
    }
    for what, attempt in tries.items():
        with pytest.raises(MangroveError) as refused:
            attempt()
        assert refused.value.message, what
    with pytest.raises(NotFound):
        bob.service(service)
    assert list(bob.applications()) == []
    assert list(bob.services()) == []
    assert alice.service(service).instances[0].number == number
    assert tree.running(service) == before
    admin.delete_application(application.id)
    tree.wait_gone(service)


def _as_admin(tree: Tree, method: str, path: str, body: Any) -> Any:
    client = HttpClient(parse_address(tree.root.address, 1))
    return client.request(method, path, body, bearer=admin_token(tree))
