from __future__ import annotations

import logging
from dataclasses import dataclass, field

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from mangrove import __version__
from mangrove.base.errors import (
    Conflict,
    CorruptFile,
    Forbidden,
    InvalidInput,
    MangroveError,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from mangrove.identity.messages import JoinReply, LeaveRequest, leave_proof
from mangrove.roles.routes import read_body, register
from mangrove.roles.web import JOIN_FAILURES, MAX_BODY, common_routes, install_error_handlers
from mangrove.store.interface import Gap, RevisionConflict, StaleLease, StoreUnavailable
from tests.unit.identity.house import House, asking


@dataclass
class Site:
    """A parent's app. reasons: why it is not ready."""

    house: House = field(default_factory=House)
    app: Flask = field(default_factory=lambda: Flask("parent"))
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        install_error_handlers(self.app)
        house = self.house
        routes = common_routes(
            house.store,
            house.clock,
            house.secret,
            house.parent,
            reasons_not_ready=lambda: self.reasons,
            on_joined=house.on_joined,
            on_left=house.on_left,
        )
        register(self.app, routes, lambda route: None)

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, path: str, body: object, address: str = "192.0.2.7") -> tuple[int, bytes]:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        answer = self.client.post(path, data=content, environ_base={"REMOTE_ADDR": address})
        return answer.status_code, answer.get_data()


@pytest.fixture
def site() -> Site:
    return Site()


def message(answer: bytes) -> str:
    content = msgspec.json.decode(answer, type=dict[str, str])
    return content["message"]


def farewell(reply: JoinReply) -> LeaveRequest:
    return LeaveRequest(reply.child, reply.generation, leave_proof(bytes.fromhex(reply.link_key), reply.child))


# Joining and leaving


def test_a_child_joins_and_leaves(site: Site) -> None:
    status, answer = site.post("/api/v1/join", asking(site.house.token()))
    assert status == 200
    reply = msgspec.json.decode(answer, type=JoinReply)
    assert site.house.accounts == [reply.child]
    status, answer = site.post("/api/v1/leave", farewell(reply))
    assert (status, message(answer)) == (200, "reef has left mainland")
    assert site.house.accounts == []
    assert site.post("/api/v1/leave", farewell(reply))[0] == 200


def test_an_answer_with_keys_is_kept_by_nobody(site: Site) -> None:
    answer = site.client.post("/api/v1/join", data=msgspec.json.encode(asking(site.house.token())))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.mimetype == "application/json"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param(b"", 400, "the body is not JSON", id="empty"),
        pytest.param(b"{", 400, "the body is not JSON", id="malformed"),
        pytest.param(b"\xff\xfe", 400, "the body is not JSON", id="no text"),
        pytest.param(b"[" * 100_000, 400, "nested too deeply", id="deep"),
        pytest.param(b'{"x":' + b"[" * 100_000, 400, "nested too deeply", id="deep in an unknown field"),
        pytest.param(b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", 422, "nested deeper", id="deeper than allowed"),
        pytest.param(b"{}", 422, "token: is missing", id="empty object"),
        pytest.param(b'{"token":7}', 422, "token: must be a string", id="wrong type"),
        pytest.param(b'{"token":"t","name":"n","kind":"ship","protocols":[1]}', 422, "kind: ", id="wrong kind"),
        pytest.param(b'{"token":"t","name":"n","kind":"node","protocols":["1"]}', 422, "protocols[0]: ", id="path"),
        pytest.param(asking("garbage"), 401, "this is not a join token", id="garbage"),
        pytest.param(asking("garbage", kind="node"), 403, "mainland is a root", id="not a child of this parent"),
        pytest.param(asking("garbage", protocols=(9,)), 403, "protocol 1, the cluster speaks 9", id="protocol"),
        pytest.param(asking("garbage", "no name"), 422, "name: must be", id="name"),
        pytest.param(b" " * (MAX_BODY + 1), 413, "at most 1048576 bytes", id="too large"),
    ],
)
def test_a_bad_join_is_told_why(site: Site, body: object, status: int, said: str) -> None:
    before = site.house.store.revision()
    got, answer = site.post("/api/v1/join", body)
    assert (got, said in message(answer)) == (status, True), answer
    assert site.house.store.revision() == before


def test_a_name_that_is_taken_is_a_conflict(site: Site) -> None:
    token = site.house.token(uses=2)
    assert site.post("/api/v1/join", asking(token))[0] == 200
    status, answer = site.post("/api/v1/join", asking(token))
    assert status == 409
    assert "--name" in message(answer)


def test_a_forged_farewell_is_refused(site: Site) -> None:
    reply = msgspec.json.decode(site.post("/api/v1/join", asking(site.house.token()))[1], type=JoinReply)
    assert site.post("/api/v1/leave", LeaveRequest(reply.child, 1, "0" * 64))[0] == 401
    assert site.house.accounts == [reply.child]


def test_an_address_that_fails_often_has_to_wait(site: Site) -> None:
    good = asking(site.house.token(uses=2))
    for _ in range(JOIN_FAILURES):
        assert site.post("/api/v1/join", asking("garbage"))[0] == 401
    answer = site.client.post("/api/v1/join", data=msgspec.json.encode(good), environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert "too many failed joins from 192.0.2.7: try again in 60 s" in message(answer.get_data())
    assert site.post("/api/v1/join", good, address="192.0.2.8")[0] == 200
    site.house.clock.advance_to(60)
    assert site.post("/api/v1/join", good)[0] == 200


def test_malformed_joins_count_as_failures_too(site: Site) -> None:
    statuses = [site.post("/api/v1/join", b"{")[0] for _ in range(JOIN_FAILURES + 1)]
    assert statuses == [400] * JOIN_FAILURES + [429]


def test_joins_that_succeed_or_fail_by_our_fault_are_not_counted(site: Site) -> None:
    request = asking(site.house.token())
    for _ in range(JOIN_FAILURES + 1):
        assert site.post("/api/v1/join", request)[0] == 200
    site.house.accounts.clear()
    site.house.store.close()
    for _ in range(JOIN_FAILURES + 1):
        assert site.post("/api/v1/join", request)[0] == 503


def test_nothing_secret_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    request = asking(site.house.token())
    reply = msgspec.json.decode(site.post("/api/v1/join", request)[1], type=JoinReply)
    site.post("/api/v1/join", asking(request.token, "other"))
    site.post("/api/v1/leave", farewell(reply))
    assert f"cluster reef joined from 192.0.2.7 as {reply.child}" in caplog.text
    hidden = (request.token[-32:], request.key, reply.link_key, reply.brokers[0].password)
    assert not [secret for secret in hidden if secret in caplog.text]


# Health and version


def test_health(site: Site) -> None:
    assert site.client.get("/livez").status_code == 200
    assert site.client.get("/readyz").get_json() == {"message": "ready", "reasons": []}
    site.reasons += ["the broker is away", "the store is not loaded"]
    answer = site.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {
        "message": "not ready: the broker is away; the store is not loaded",
        "reasons": ["the broker is away", "the store is not loaded"],
    }
    assert site.client.get("/livez").status_code == 200


def test_version(site: Site) -> None:
    answer = site.client.get("/api/v1/version").get_json()
    assert answer == {"program": "root", "name": "mainland", "software": __version__, "protocols": [1]}


# Errors


@pytest.fixture
def bare() -> Flask:
    """An app with nothing but error handlers."""
    app = Flask("bare")
    install_error_handlers(app)
    return app


class Odd(MangroveError):
    """Of no known kind."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("a.b", "is wrong"), 422),
        (NotFound("no such thing"), 404),
        (Conflict("taken"), 409),
        (RevisionConflict("services", "x"), 409),
        (Unauthorized("who are you"), 401),
        (Forbidden("not yours"), 403),
        (Refused("no"), 403),
        (Unavailable("not now"), 503),
        (StoreUnavailable("disk full"), 503),
        (StaleLease("not ours"), 503),
        (Gap("load anew"), 503),
    ],
)
def test_each_error_has_its_status_and_keeps_its_message(bare: Flask, error: MangroveError, status: int) -> None:
    @bare.get("/fail")
    def fail() -> str:
        raise error

    answer = bare.test_client().get("/fail")
    assert (answer.status_code, answer.get_json()["message"]) == (status, error.message)
    assert answer.get_json().get("field") == ("a.b" if status == 422 else None)
    assert answer.headers.get("Retry-After") == ("2" if status == 503 else None)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), CorruptFile("secret"), Odd("secret"), OSError("secret")]
)
def test_what_is_unexpected_is_logged_and_not_told(
    bare: Flask, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    @bare.get("/fail")
    def fail() -> str:
        raise error

    answer = bare.test_client().get("/fail")
    assert answer.status_code == 500
    assert message(answer.get_data()).startswith("internal error")
    assert "GET /fail failed" in caplog.text
    assert "Traceback" in caplog.text


def test_http_errors_are_json_too(site: Site) -> None:
    assert "not found" in message(site.client.get("/nowhere").get_data())
    answer = site.client.get("/api/v1/join")
    assert answer.status_code == 405
    assert "not allowed" in message(answer.get_data())
    assert "POST" in answer.headers["Allow"]


def test_a_redirect_stays_one(bare: Flask) -> None:
    @bare.get("/folder/")
    def folder() -> str:
        return ""

    answer = bare.test_client().get("/folder")
    assert answer.status_code == 308
    assert answer.headers["Location"].endswith("/folder/")


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Outer(msgspec.Struct):
    items: list[Inner]


def test_a_body_names_its_wrong_field(bare: Flask) -> None:
    @bare.post("/body")
    def take() -> str:
        return str(read_body(Outer).items[0].size)

    assert bare.test_client().post("/body", data=b'{"items":[{"size":3}]}').data == b"3"
    for body, field_path in (
        (b'{"items":[{"size":"3"}]}', "items[0].size"),
        (b'{"items":[{}]}', "items[0].size"),
        (b'{"items":[{"size":1,"colour":2}]}', "items[0].colour"),
        (b"{}", "items"),
    ):
        answer = bare.test_client().post("/body", data=body)
        assert (answer.status_code, answer.get_json()["field"]) == (422, field_path)
        assert answer.get_json()["message"].startswith(f"{field_path}: ")
