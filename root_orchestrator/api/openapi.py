"""The description of the API, OpenAPI 3.1, made of its routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NotRequired, TypedDict

import msgspec

from mangrove import __version__
from mangrove.roles.routes import TOKENS, Route
from root_orchestrator.api.once import HEADER, LONGEST, takes_key

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"

#: What stands for an argument of a path.
_ARGUMENTS = {
    "adopted": "Id of what is adopted: of the attempt that runs.",
    "application": "Id of an application.",
    "cluster": "Id of a cluster.",
    "file": "Name of a file.",
    "instance": "Id of an instance: `<service>.<number>`.",
    "node": "Id of a node.",
    "number": "Number of an instance; -1 stands for all.",
    "organization": "Id of an organization.",
    "service": "Id of a service.",
    "token": "Id of a join token.",
    "user": "Name of a user.",
    "user_id": "Id of the caller's own user.",
}

_ABOUT = """\
A hierarchical edge orchestrator: declare an application once, run it in the right places, keep it running.

Paths under `/api/v1` are Mangrove's own; the others are Oakestra's. Each is served with and without a slash at its end.
Send the token of `POST /api/auth/login` as `Authorization: Bearer …`. A failure has a `message` for people. Beside the
statuses that are named at a path, 405 answers a method that is not served there, and 500 a fault of the server's own.
"""


class Problem(TypedDict):
    """Why a request failed. field: path of what was wrong in the body or query, where it was one field.

    reasons: why the program is not ready, where that was asked.
    """

    message: str
    field: NotRequired[str]
    reasons: NotRequired[list[str]]


def describe(routes: Iterable[Route]) -> Json:
    """The OpenAPI document of `routes`."""
    routes = sorted(routes, key=lambda route: (route.path, route.method))
    schemas = _Schemas(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        path = route.path.replace("<", "{").replace(">", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mangrove",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted({_tag(route) for route in routes})],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                kind: {"type": "http", "scheme": "bearer", "description": TOKENS[kind]}
                for kind in sorted({route.access.token for route in routes} - {""})
            },
        },
    }


class _Schemas:
    """JSON schemas of all types that routes name. components: those with a name of their own."""

    def __init__(self, routes: Sequence[Route]) -> None:
        types: dict[str, Any] = {repr(Problem): Problem}
        for route in routes:
            for form in (route.body_form, route.query, route.answer, *route.media.values()):
                if form is not None:
                    types[repr(form)] = form
        found, self.components = msgspec.json.schema_components(types.values(), ref_template=_REFERENCE)
        self._found = dict(zip(types, found, strict=True))
        _mend(self.components)
        _mend(found)

    def of(self, form: Any) -> Json:
        """The schema of a type, as a reference where it has a name."""
        return self._found[repr(form)]

    def properties(self, form: type[msgspec.Struct]) -> Mapping[str, Json]:
        """The schema of each field of a struct."""
        name = self.of(form)["$ref"].rpartition("/")[2]
        properties: Mapping[str, Json] = self.components[name]["properties"]
        return properties


def _operation(route: Route, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": "_".join([route.method.lower(), *route.path.replace("<", "").replace(">", "").split("/")[1:]]),
        "tags": [_tag(route)],
        "summary": route.summary,
        "description": f"For {route.access.words}.",
        "parameters": [*_path_parameters(route), *_query_parameters(route, schemas), *_headers(route)],
        "responses": _responses(route, schemas),
        "security": [{route.access.token: []}] if route.access.token else [],
    }
    if route.body is not None:
        content: Json = {"schema": schemas.of(route.body_form)}
        if route.example is not None:
            content["example"] = msgspec.to_builtins(route.example)
        operation["requestBody"] = {
            "required": not route.body_is_optional,
            "content": {"application/json": content},
        }
    return operation


def _path_parameters(route: Route) -> list[Json]:
    return [
        {
            "name": argument,
            "in": "path",
            "required": True,
            "description": _ARGUMENTS.get(argument, ""),
            "schema": {"type": "string"},
        }
        for argument in route.arguments
    ]


def _query_parameters(route: Route, schemas: _Schemas) -> list[Json]:
    if route.query is None:
        return []
    needed = {field.encode_name for field in msgspec.structs.fields(route.query) if field.required}
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": schema}
        for name, schema in schemas.properties(route.query).items()
    ]


def _headers(route: Route) -> list[Json]:
    """Not `Accept`, which the media types of the answer say: as a parameter OpenAPI passes it over."""
    found: dict[str, tuple[str, Json]] = {name: (text, {"type": "string"}) for name, text in route.headers.items()}
    if takes_key(route):
        text = "Any text of your own: the same request with the same key is done once a day, and answered the same"
        found[HEADER] = (text, {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[ -~]+$"})
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in found.items()
    ]


def _responses(route: Route, schemas: _Schemas) -> Json:
    content = {media: {"schema": schemas.of(form)} for media, form in route.media.items()}
    if route.answer is not None:
        content["application/json"] = {"schema": schemas.of(route.answer)}
    statuses = sorted({*route.failures, *((422,) if takes_key(route) else ())})
    problem = {"application/json": {"schema": schemas.of(Problem)}}
    return {
        str(route.status): {"description": HTTPStatus(route.status).phrase, "content": content},
        **{str(status): {"description": HTTPStatus(status).phrase, "content": problem} for status in statuses},
    }


def _tag(route: Route) -> str:
    """The module of the handler, for people."""
    return route.handler.__module__.rpartition(".")[2].replace("_", " ")


def _mend(schema: Any) -> None:
    """Patterns are Python's in the code and JavaScript's in JSON schemas, where `$` is only the end of the text."""
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.replace(r"\Z", "$")
        for inner in schema.values():
            _mend(inner)
    elif isinstance(schema, list | tuple):
        for inner in schema:
            _mend(inner)
