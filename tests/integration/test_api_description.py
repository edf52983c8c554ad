"""The description of the API: that it is there, whole, sound, and can be browsed without the Internet.

Whether answers are as it says is checked at every request of the API's tests (tests/described.py).
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from mangrove.roles.routes import OPEN, Route, register, routes_of
from mangrove.roles.web import Message
from root_orchestrator.api.once import takes_key
from root_orchestrator.api.openapi import describe
from tests.described import check_answer
from tests.root_api import RootApi


@pytest.fixture(scope="module")
def root() -> RootApi:
    return RootApi()


@pytest.fixture(scope="module")
def description(root: RootApi) -> dict[str, Any]:
    """Asked for by nobody in particular, as its readers do."""
    answer = root.request("GET", "/docs/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


def test_it_is_sound(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(description).validate()


def test_every_route_is_described_and_nothing_else(root: RootApi, description: dict[str, Any]) -> None:
    served = {route.name.replace("<", "{").replace(">", "}"): route for route in routes_of(root.app)}
    described = operations(description)
    assert set(described) == set(served)
    assert len({operation["operationId"] for operation in described.values()}) == len(described)
    for name, operation in described.items():
        route = served[name]
        assert operation["summary"], name
        assert all(parameter["description"] for parameter in operation["parameters"] if parameter["in"] == "path"), name
        assert operation["security"] == ([{route.access.token: []}] if route.access is not OPEN else []), name
        assert ("requestBody" in operation) == (route.body is not None), name
        assert str(route.status) in operation["responses"], name


def test_every_answer_has_a_form(root: RootApi, description: dict[str, Any]) -> None:
    for name, operation in operations(description).items():
        for status, response in operation["responses"].items():
            for schema in [content["schema"] for content in response["content"].values()]:
                form = schema not in ({}, {"type": "object"}) or name == "GET /docs/openapi.json"
                assert form, f"{name}: the answer {status} may be anything; let its handler say the type"


def test_headers_that_count_are_named(root: RootApi, description: dict[str, Any]) -> None:
    headers = {
        name: [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"]
        for name, operation in operations(description).items()
    }
    keyed = {name for name, found in headers.items() if found == ["Idempotency-Key"]}
    posts = {route.name for route in routes_of(root.app) if takes_key(route)}
    assert {"POST /api/application", "POST /api/service"} < posts
    assert "POST /api/v1/explain" not in posts
    assert keyed == {name.replace("<", "{").replace(">", "}") for name in posts}
    assert {name: found for name, found in headers.items() if found and name not in keyed} == {
        "GET /api/v1/events": ["Last-Event-ID"]
    }
    events = operations(description)["GET /api/v1/events"]["responses"]["200"]["content"]
    assert set(events) == {"application/json", "text/event-stream"}, "what it may be asked for as"


def test_a_phase_and_a_state_are_one_of_a_few(description: dict[str, Any]) -> None:
    forms = description["components"]["schemas"]
    for form, field in [("SlotAnswer", "phase"), ("InstanceWithHistory", "phase"), ("PastAttempt", "phase")]:
        assert forms[form]["properties"][field] == {"$ref": "#/components/schemas/Phase"}, form
    assert forms["Phase"]["enum"]
    for form in ("RolloutAnswer", "ClusterAnswer", "ClusterSaid", "NodeAnswer"):
        assert len(forms[form]["properties"]["state"]["enum"]) == 3, form


def test_patterns_are_javascripts(description: dict[str, Any]) -> None:
    assert "^[a-zA-Z0-9]{1,30}$" in str(description)
    assert r"\Z" not in str(description)


def test_what_is_not_described_is_found() -> None:
    def answer_with_more() -> Message:
        return {"message": "ok", "more": 1}  # type: ignore[typeddict-unknown-key]

    app = Flask("odd")

    register(app, [Route("GET", "/more", answer_with_more, OPEN, "More", status=201)], lambda route: None)
    answer = app.test_client().get("/more")
    with pytest.raises(AssertionError, match="'more' was unexpected"):
        check_answer(app, "GET", "/more", answer)
    answer.status_code = 200
    with pytest.raises(AssertionError, match="a status that the description does not name"):
        check_answer(app, "GET", "/more", answer)


def test_a_description_of_no_routes_is_one_too() -> None:
    OpenAPIV31SpecValidator(describe([])).validate()


def test_it_can_be_browsed_without_the_internet(root: RootApi) -> None:
    for path in ("/api/docs", "/api/docs/"):
        page = root.request("GET", path)
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'; script-src 'self'" in page.headers["Content-Security-Policy"]
        loaded = re.findall(r'(?:href|src)="([^"]*)"', page.text)
        assert len(loaded) == 4
        for each in loaded:
            assert each.startswith("/api/docs/")
            file = root.app.test_client().get(each)
            assert file.status_code == 200
            assert len(file.data) > 50
            assert "max-age" in file.headers["Cache-Control"]
    assert '"/docs/openapi.json"' in root.app.test_client().get("/api/docs/start.js").text


@pytest.mark.parametrize("file", ["LICENSE", "..", "%2e%2e", "..%2fflask_swagger_ui.py", "%00", "index.html"])
def test_no_other_file_is_given_away(root: RootApi, file: str) -> None:
    assert root.request("GET", f"/api/docs/{file}").status_code == 404
