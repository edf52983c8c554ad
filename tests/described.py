"""Answers held to the description of the API: a status that is named there, and a body of the form that is said."""

from __future__ import annotations

from types import CodeType
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from mangrove.roles.routes import Route, routes_of
from root_orchestrator.api.openapi import describe

#: Documents that carry what users declared, beside what is said of them.
OPEN = {"ServiceDocument"}

#: What any request may meet, said once in the description's introduction: a wrong method, and our own fault.
ANYWHERE = {405, 500}


def check_answer(app: Flask, method: str, url: str, answer: TestResponse) -> None:
    """Fails when `answer` to a request is not as the description says. Unknown paths are nothing to it."""
    try:
        endpoint, _ = app.url_map.bind("").match(urlsplit(url).path, method)
    except (HTTPException, UnicodeError):
        return
    if method == "OPTIONS" or answer.status_code in ANYWHERE:
        return
    described = _described(next(route for route in routes_of(app) if route.name == endpoint))
    asked = f"{method} {url[:200]}: {answer.status_code} {answer.text[:500]}"
    said = described.responses.get(str(answer.status_code))
    assert said is not None, f"{asked}\nis a status that the description does not name: add it to the route's errors"
    assert answer.mimetype in said["content"], f"{asked}\nis of type {answer.mimetype}, which is not described"
    if answer.mimetype == "application/json" and method != "HEAD":
        try:
            described.validator(said["content"]["application/json"]["schema"]).validate(answer.get_json())
        except jsonschema_rs.ValidationError as error:
            raise AssertionError(f"{asked}\nis not of the form that is described: {error}") from None


class Described:
    """What is said of one route. responses: by status."""

    def __init__(self, route: Route) -> None:
        document = describe([route])
        [path] = document["paths"].values()
        self.responses: dict[str, Any] = path[route.method.lower()]["responses"]
        self._components: dict[str, Any] = document["components"]["schemas"]
        for name, component in self._components.items():
            if "properties" in component and name not in OPEN:
                component.setdefault("additionalProperties", False)  # what is not described is not answered
        self._validators: dict[str, jsonschema_rs.Validator] = {}

    def validator(self, schema: dict[str, Any]) -> jsonschema_rs.Validator:
        """Of a schema of this route."""
        found = self._validators.get(key := repr(schema))
        if found is None:
            found = jsonschema_rs.validator_for({**schema, "components": {"schemas": self._components}})
            self._validators[key] = found
        return found


#: By handler: each app makes routes of its own from the same code.
_seen: dict[tuple[str, CodeType], Described] = {}


def _described(route: Route) -> Described:
    key = route.name, route.handler.__code__
    if key not in _seen:
        _seen[key] = Described(route)
    return _seen[key]
