"""Bad input: a 4xx that says what was wrong, and nothing changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mangrove.roles.web import MAX_BODY
from tests.root_api import RootApi, microservice, sla

JSON = "application/json"
ZERO = "0" * 24


@pytest.fixture(scope="module")
def root() -> RootApi:
    root = RootApi()
    root.create()
    return root


def sla_with(**fields: Any) -> bytes:
    return json.dumps(sla("bad", microservice("web", **fields))).encode()


BODIES: list[tuple[str, bytes, str, int, str]] = [
    ("nothing", b"", JSON, 400, "not JSON"),
    ("half", b'{"sla_version":', JSON, 400, "not JSON"),
    ("not UTF-8", b'{"sla_version": "\xff\xfe"}', JSON, 400, "not JSON"),
    ("half a surrogate pair", b'{"sla_version": "\\ud800"}', JSON, 400, "not JSON"),
    ("NaN", b'{"sla_version": NaN}', JSON, 400, "not JSON"),
    ("very deep", b"[" * 100_000, JSON, 400, "nested too deeply"),
    ("deep", b"[" * 100 + b"]" * 100, JSON, 422, "nested deeper than"),
    ("deep in an unknown field", sla_with(extra=json.loads("[" * 50 + "]" * 50)), JSON, 422, "nested deeper than"),
    ("huge", b'"' + b"x" * MAX_BODY + b'"', JSON, 413, "too large"),
    ("a form", b"sla_version=v2.0", "application/x-www-form-urlencoded", 415, "application/json"),
    ("text", b"{}", "text/plain", 415, "application/json"),
    ("a string", b'"v2.0"', JSON, 422, "must be an object"),
    ("null", b"null", JSON, 422, "must be an object"),
    ("no version", b"{}", JSON, 422, "sla_version: is missing"),
    ("an old version", b'{"sla_version":"v1.0"}', JSON, 422, '"v2.0"'),
    ("a number too large", b'{"sla_version":1e999}', JSON, 400, "out of range"),
    ("a wrong type", sla_with(memory="many"), JSON, 422, "applications[0].microservices[0].memory"),
    ("a negative amount", sla_with(vcpus=-1), JSON, 422, "applications[0].microservices[0].vcpus"),
    ("an enormous amount", sla_with(memory=10**40), JSON, 422, "applications[0].microservices[0].memory"),
    ("a stop between two beats", sla_with(disconnect={"stop_on_child_after": 5}), JSON, 422, "at least 6.9 s"),
    ("what is not built yet", sla_with(constraints=[{"type": "geo"}]), JSON, 422, "LATITUDE,LONGITUDE"),
]


@pytest.mark.parametrize("path", ["/api/application", "/api/service/"])
@pytest.mark.parametrize(
    ("body", "kind", "status", "words"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES]
)
def test_bad_bodies(root: RootApi, path: str, body: bytes, kind: str, status: int, words: str) -> None:
    before = root.store.revision()
    answer = root.call("POST", path, data=body, content_type=kind)
    assert answer.status_code == status, answer.text
    assert words in answer.json["message"]
    assert root.store.revision() == before


REQUESTS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/", None, 404, ""),
    ("GET", "/api", None, 404, ""),
    ("GET", "/api/nothing", None, 404, ""),
    ("GET", "//api//clusters", None, 404, ""),
    ("GET", "/api/../api/clusters", None, 404, ""),
    ("POST", "/api/clusters", None, 405, ""),
    ("PATCH", f"/api/application/{ZERO}", None, 405, ""),
    ("TRACE", "/api/clusters", None, 405, ""),
    ("GET", f"/api/application/{ZERO}", None, 404, ZERO),
    ("GET", "/api/application/demo", None, 404, "demo"),
    ("GET", "/api/application/%00", None, 404, ""),
    ("GET", "/api/application/%ff%fe", None, 404, ""),
    ("GET", "/api/application/" + "a" * 10_000, None, 404, ""),
    ("DELETE", f"/api/application/{ZERO}", None, 404, ZERO),
    ("GET", f"/api/services/{ZERO}", None, 404, ZERO),
    ("GET", "/api/services/x.y", None, 404, "x.y"),
    ("GET", f"/api/service/{ZERO}", None, 404, ZERO),
    ("DELETE", f"/api/service/{ZERO}", None, 404, ZERO),
    ("PUT", f"/api/service/{ZERO}", sla(), 404, ZERO),
    ("POST", f"/api/service/{ZERO}/instance", None, 404, ZERO),
    ("DELETE", f"/api/service/{ZERO}/instance/0", None, 404, ZERO),
    ("DELETE", "/api/service/{service}/instance/7", None, 404, "no instance 7"),
    ("DELETE", "/api/service/{service}/instance/-2", None, 422, "-1 for all"),
    ("DELETE", "/api/service/{service}/instance/one", None, 422, '"one"'),
    ("DELETE", "/api/service/{service}/instance/1.0", None, 422, "instance number"),
    ("DELETE", "/api/service/{service}/instance/%D9%A3", None, 422, "instance number"),
    ("DELETE", "/api/service/{service}/instance/" + "9" * 5000, None, 422, "instance number"),
    ("POST", "/api/service", sla("demo"), 404, "application"),
    ("POST", "/api/service", {**sla(), "applications": []}, 422, "applications"),
    ("POST", "/api/service", {**sla(), "applications": [*sla()["applications"], *sla("b")["applications"]]}, 422, "2"),
    ("POST", "/api/auth/login", {}, 422, "username: is missing"),
    ("POST", "/api/auth/login", [], 422, "must be an object"),
    ("POST", "/api/auth/login", {"username": "Admin"}, 422, "password: is missing"),
    ("POST", "/api/auth/login", {"username": 1, "password": "x"}, 422, "username: must be a string"),
    ("POST", "/api/auth/login", {"username": "a" * 300, "password": "x"}, 422, "username"),
    ("POST", "/api/auth/login", {"username": "a", "password": "x" * 2000}, 422, "password"),
    ("POST", "/api/auth/login", {"username": "\0", "password": "\0"}, 401, ""),
    ("POST", "/api/auth/login", {"username": {"$ne": ""}, "password": {"$ne": ""}}, 422, "username"),
    ("POST", "/api/v1/cluster-tokens", {"uses": 0}, 422, "uses"),
    ("POST", "/api/v1/cluster-tokens", {"uses": "1"}, 422, "uses: must be a whole number"),
    ("POST", "/api/v1/cluster-tokens", {"ttl": -1}, 422, "ttl"),
    ("POST", "/api/v1/cluster-tokens", {"ttl": 10**12}, 422, "ttl"),
    ("POST", "/api/v1/cluster-tokens", [], 422, "must be an object"),
    ("DELETE", "/api/v1/cluster-tokens/x", None, 404, "x"),
    ("POST", "/api/v1/clusters/x/node-tokens", None, 404, "x"),
    ("GET", "/api/v1/services/x", None, 404, "x"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), REQUESTS)
def test_bad_requests(root: RootApi, method: str, path: str, body: Any, status: int, words: str) -> None:
    [service] = [each["microserviceID"] for each in root.get("/api/services")]
    before = root.store.revision()
    more = {} if body is None else {"json": body}
    answer = root.call(method, path.replace("{service}", service), **more)
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json["message"], str)
    assert answer.json["message"]
    assert words in answer.json["message"]
    assert len(answer.json["message"]) < 500
    assert root.store.revision() == before


def test_a_login_without_json_is_told_how(root: RootApi) -> None:
    answer = root.request("POST", "/api/auth/login", data={"username": "Admin", "password": "Admin"})
    assert answer.status_code == 415
    assert "application/json" in answer.json["message"]


def test_the_field_is_named_apart_from_the_message(root: RootApi) -> None:
    answer = root.call("POST", "/api/application", data=sla_with(port=80), content_type=JSON)
    assert answer.json["field"] == "applications[0].microservices[0].port"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values, st.text(max_size=10))
def test_no_body_and_no_path_makes_an_error_of_ours(root: RootApi, body: Any, name: str) -> None:
    extra = {"sla_version": "v2.0", "customerID": "", "applications": [], **(body if isinstance(body, dict) else {})}
    for sent in (body, extra):
        answer = root.call("POST", "/api/application", json=sent)
        assert answer.status_code in (200, 400, 409, 422), answer.text
    for method, path in (
        ("POST", "/api/auth/register"),
        ("POST", "/api/organization"),
        ("PUT", "/api/user/Admin"),
        ("POST", "/api/user/Admin"),
    ):
        for sent in (body, {"name": body, "member": body}, {"name": "x", "password": body, "roles": body}):
            answer = root.call(method, path, json=sent)
            assert answer.status_code in (200, 400, 409, 422), (method, path, answer.text)
    for path in ("/api/service/", "/api/application/", "/api/user/", "/api/applications/", "/api/users/"):
        answer = root.call("GET", path + _quoted(name))
        assert answer.status_code in (200, 403, 404, 405), (path, name, answer.text)


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass"))
