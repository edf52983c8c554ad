"""Routes as data: what does not fit together cannot be declared, and what is not declared cannot be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from mangrove.base.errors import Unauthorized
from mangrove.roles.routes import OPEN, Access, Route, register
from mangrove.roles.web import install_error_handlers

CLOSED = Access("closed", "nobody")


class Size(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    width: int
    height: int = 1


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: int = 100
    since: float = 0.0


_ONE = Size(1)


def show(thing: str) -> str:
    return thing


def take(body: Size) -> int:
    return body.width * body.height


def served(*routes: Route, guard: Callable[[Route], None] = lambda route: None) -> FlaskClient:
    app = Flask("served")
    install_error_handlers(app)
    register(app, routes, guard)
    return app.test_client()


def test_path_arguments_bodies_and_queries_come_as_declared() -> None:
    def page(query: Page) -> list[Any]:
        return [query.limit, query.since]

    client = served(
        Route("GET", "/things/<thing>", show, OPEN, "Show"),
        Route("GET", "/things", page, OPEN, "List"),
        Route("POST", "/things", take, OPEN, "Take", status=201),
    )
    for slash in ("", "/"):
        assert client.get(f"/things/a%20b{slash}").json == "a b"
        assert client.get(f"/things{slash}?limit=5&since=1.5").json == [5, 1.5]
        answer = client.post(f"/things{slash}", json={"width": 3, "height": 2})
        assert (answer.status_code, answer.json, answer.mimetype) == (201, 6, "application/json")
        assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/things").json == [100, 0.0]
    assert client.post("/things", data=b"").status_code == 400
    assert client.post("/things", json={"width": "3"}).json == {
        "message": 'width: must be a whole number, but is "3"',
        "field": "width",
    }
    for query, field in (("limit=x", "limit"), ("limit=1&limit=2", "limit"), ("since=nan", "since"), ("no=1", "no")):
        answer = client.get(f"/things?{query}")
        assert (answer.status_code, answer.get_json()["field"]) == (422, field)
    assert client.delete("/things").status_code == 405
    assert set(client.options("/things").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_body_with_a_default_may_be_left_out() -> None:
    def take_some(body: Size = _ONE) -> int:
        return body.width

    client = served(Route("POST", "/things", take_some, OPEN, "Take"))
    assert client.post("/things").json == 1
    assert client.post("/things", json={"width": 7}).json == 7
    assert client.post("/things", json={}).status_code == 422


def test_a_body_may_be_read_as_it_comes_and_described_otherwise() -> None:
    def keep(body: Annotated[object, Size]) -> Any:
        return body

    route = Route("POST", "/things", keep, OPEN, "Keep")
    assert served(route).post("/things", json={"more": [1]}).json == {"more": [1]}
    assert route.body_form is Size


def test_a_stream_goes_out_as_it_is() -> None:
    def lines() -> Response:
        return Response(iter(["a\n", "b\n"]), mimetype="text/plain")

    def either(thing: str) -> Size | Response:
        return Size(1) if thing == "size" else Response("none", 404)

    client = served(
        Route("GET", "/lines", lines, OPEN, "Lines", media={"text/plain": str}),
        route := Route("GET", "/things/<thing>", either, OPEN, "Show"),
    )
    assert client.get("/lines").text == "a\nb\n"
    assert client.get("/things/size").json == {"width": 1, "height": 1}
    assert client.get("/things/x").status_code == 404
    assert route.answer is Size


def test_nobody_gets_past_the_guard_and_nothing_is_read_before_it() -> None:
    asked: list[str] = []

    def guard(route: Route) -> None:
        asked.append(route.name)
        if route.access is not OPEN:
            raise Unauthorized("no")

    client = served(Route("POST", "/things", take, CLOSED, "Take"), guard=guard)
    assert client.post("/things", data=b"{").status_code == 401
    assert client.post("/things/", json={"width": 1}).status_code == 401
    assert asked == ["POST /things"] * 2


def test_what_is_not_declared_cannot_be_reached() -> None:
    app = Flask("served")
    install_error_handlers(app)

    @app.get("/before")
    def before() -> str:
        return "secret"

    register(app, [Route("GET", "/things/<thing>", show, OPEN, "Show")], lambda route: None)

    @app.get("/after")
    def after() -> str:
        return "secret"

    assert [app.test_client().get(path).status_code for path in ("/before", "/after", "/things/x")] == [403, 403, 200]


def test_what_is_around_a_request_sees_it_fail() -> None:
    seen: list[str] = []

    @contextmanager
    def within() -> Iterator[None]:
        try:
            yield
        except Exception as error:
            seen.append(type(error).__name__)
            raise

    client = served(Route("POST", "/things", take, OPEN, "Take", within=within))
    assert client.post("/things", data=b"{").status_code == 400
    assert seen == ["BadRequest"]


def untyped(thing) -> str:  # type: ignore[no-untyped-def]
    return ""


def silent(thing: str):  # type: ignore[no-untyped-def]
    return ""


def numbered(thing: int) -> str:
    return str(thing)


def blind() -> Response:
    return Response()


def greedy(thing: str, more: str) -> str:
    return thing + more


@pytest.mark.parametrize(
    ("path", "handler", "words"),
    [
        ("/things", show, "differ in thing"),
        ("/things/<thing>/<part>", show, "differ in part"),
        ("/things/<thing>", greedy, "differ in more"),
        ("/things/<thing>", untyped, "type of thing"),
        ("/things/<thing>", silent, "type of return"),
        ("/things/<thing>", numbered, "thing must be of type str"),
        ("/things/<thing>/", show, "without a slash"),
        ("things/<thing>", show, "without a slash"),
        ("/things/<int:thing>", show, "without a slash"),
        ("/things", blind, "in `media`"),
    ],
)
def test_what_does_not_fit_together_cannot_be_declared(path: str, handler: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Route("GET", path, handler, OPEN, "Show")


def test_a_route_is_declared_once() -> None:
    with pytest.raises(TypeError, match="GET /things/<thing> is declared twice"):
        served(*[Route("GET", "/things/<thing>", show, OPEN, "Show")] * 2)
