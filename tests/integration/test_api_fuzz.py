"""Requests made up from the API's own description, right ones and wrong ones, by somebody who may do everything.

Nothing may be the server's fault, and every answer must be as the description says (tests/described.py checks that).
The same requests go to each kind of store. With MANGROVE_SOAK=1 there are many more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet
from schemathesis.core.result import Ok

from mangrove.model.attempt import Attempt
from mangrove.model.documents import ADOPTED, IDENTITIES, Adopted, Identity
from mangrove.model.resources import Resources
from mangrove.roles.routes import OPEN, Route, routes_of
from mangrove.store.memory import MemoryStore
from mangrove.store.mongo import MongoStore
from mangrove.store.sqlite import SqliteStore
from tests.mongo_server import database
from tests.root_api import CLUSTER, NODE, Answer, RootApi

SOAK = os.environ.get("MANGROVE_SOAK") == "1"

#: Requests of each kind for each route.
EXAMPLES = 200 if SOAK else 5

#: The generator draws texts and lists up to the limits that are described; for 128 KiB that takes minutes, and finds no
#: more than short ones (tests/integration/test_api_bad_input.py has long ones).
LONGEST_TEXT, LONGEST_LIST = 30, 2


class Target:
    """A root with something of everything, and what stands for it in a path."""

    def __init__(self, root: RootApi) -> None:
        self.root = root
        root.add_cluster()
        root.add_node()
        root.put(IDENTITIES, CLUSTER, Identity(CLUSTER, "alpha"))
        tokens = root.login().json
        self._headers = {
            "access": {"Authorization": f"Bearer {tokens['token']}"},
            "refresh": {"Authorization": f"Bearer {tokens['refresh_token']}"},
        }
        self._names = iter(range(10**9))

    def known(self) -> dict[str, str]:
        """By argument. What a request may have removed is made anew."""
        root = self.root
        application = root.create(f"a{next(self._names)}")
        [service] = application["microservices"]
        root.run(f"{service}.{root.deploy(service)}")
        if not root.store.query("users", "name", "ada"):
            root.add_user("ada")
        [home] = root.store.query("organizations", "name", "root")
        attempt = Attempt("b" * 24, service, 7, 1, "0" * 32)
        root.put(ADOPTED, attempt.id, Adopted(attempt, CLUSTER, "alpha", "shop.web.7", Resources(), 0.0))
        return {
            "application": application["applicationID"],
            "service": service,
            "instance": f"{service}.0",
            "number": "0",
            "user": "ada",
            "user_id": root.get("/api/user/Admin")["_id"]["$oid"],
            "organization": home.id,
            "cluster": CLUSTER,
            "node": NODE,
            "adopted": attempt.id,
            "token": "0" * 24,
            "file": "start.js",
        }

    def ask(self, route: Route, path: str, **more: Any) -> Answer:
        headers = self._headers[route.access.token] if route.access is not OPEN else {}
        answer = self.root.request(route.method, path, headers={**headers, **more.pop("headers", {})}, **more)
        asked = f"{route.method} {path} {str(more)[:500]}: {answer.status_code} {answer.text[:500]}"
        assert answer.status_code < 500, asked
        if answer.status_code >= 400:
            assert answer.json["message"], asked
        return answer


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Target]]:
    """One on each kind of store, MongoDB the last."""
    with ExitStack() as ending:
        sqlite = ending.enter_context(closing(SqliteStore(tmp_path_factory.mktemp("fuzz") / "root.db")))
        mongo = ending.enter_context(closing(MongoStore(ending.enter_context(database()))))
        yield [Target(RootApi(store)) for store in (MemoryStore(), sqlite, mongo)]


ROUTES = {route.name.replace("<", "{").replace(">", "}"): route for route in routes_of(RootApi().app)}


def bounded(schema: Any) -> Any:
    """A description with short texts and lists."""
    if isinstance(schema, list):
        return [bounded(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: bounded(each) for name, each in schema.items()}
    if found.get("type") == "string":
        found["maxLength"] = min(found.get("maxLength", LONGEST_TEXT), LONGEST_TEXT)
    if found.get("type") == "array":
        found["maxItems"] = min(found.get("maxItems", LONGEST_LIST), LONGEST_LIST)
    return found


DESCRIPTION = schemathesis.openapi.from_dict(bounded(RootApi().request("GET", "/docs/openapi.json").json))
#: Headers that are described; the generator makes up others too, as the one of the token, which `ask` has right.
NAMED = {"Idempotency-Key", "Last-Event-ID"}
OPERATIONS = {each.ok().label: each.ok() for each in DESCRIPTION.get_all_operations() if isinstance(each, Ok)}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", ROUTES)
def test_what_the_description_allows_and_what_it_does_not(
    targets: list[Target], name: str, mode: GenerationMode
) -> None:
    route, operation = ROUTES[name], OPERATIONS[name]
    if mode is GenerationMode.NEGATIVE and not SOAK:
        targets = targets[:-1]  # most of it never comes to a store, and MongoDB is slow
    known = [target.known() for target in targets]

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        headers = {name: value for name, value in (case.headers or {}).items() if name in NAMED}
        more: dict[str, Any] = {"query_string": dict(case.query or {}), "headers": headers}
        if not isinstance(case.body, NotSet):
            more["data"] = (
                case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode("utf-8", "surrogatepass")
            )
            more["content_type"] = case.media_type
        for target, names in zip(targets, known, strict=True):
            for path in {case.formatted_path, operation.path.format(**names)}:
                target.ask(route, path, **more)

    try:
        ask()
    except Unsatisfiable:
        # Of a route without parameters nothing is wrong, and the generator says so.
        assert mode is GenerationMode.NEGATIVE
        assert not route.arguments
        assert route.body is route.query is None


def test_every_operation_is_tried() -> None:
    assert set(OPERATIONS) == set(ROUTES)


#: What a database might take for a question, were it handed on.
OPERATORS: list[Any] = [{"$ne": None}, {"$gt": ""}, {"$where": "sleep(1000)"}, {"$regex": ".*"}, {"$oid": "0" * 24}]


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route.example is not None])
def test_operators_of_databases_are_no_values(targets: list[Target], name: str) -> None:
    route = ROUTES[name]
    example = json.loads(json.dumps(route.example))
    for target in targets:
        before = target.root.store.revision()
        path = OPERATIONS[name].path.format(**target.known())
        for field in example:
            for operator in OPERATORS:
                answer = target.ask(route, path, json={**example, field: operator})
                assert answer.status_code in (422, 429), (field, operator, answer.text)
        assert before <= target.root.store.revision()


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route.arguments])
def test_odd_names_are_not_found(targets: list[Target], name: str) -> None:
    route, path = ROUTES[name], OPERATIONS[name].path
    names = (
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "$ne",
        "[$ne]",
        "%ff",
        "x" * 5000,
        "a%0d%0ab",
        "'--",
        "{}",
    )
    for target in targets:
        known = target.known()
        for odd in names:
            for argument in route.arguments:
                answer = target.ask(route, path.format(**{**known, argument: odd}), json=route.example or {})
                assert answer.status_code in (400, 403, 404, 405, 422), (odd, argument, answer.text)


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route.query is not None])
def test_odd_questions_are_refused(targets: list[Target], name: str) -> None:
    route, path = ROUTES[name], OPERATIONS[name].path
    for target in targets:
        url = path.format(**target.known())
        fields = [parameter["name"] for parameter in OPERATIONS[name].definition.raw["parameters"]]
        for query in [f"{field}[$ne]=1" for field in fields] + ["no_such=1", "%ff=1", "limit=-1", "limit=1e400"]:
            answer = target.ask(route, f"{url}?{query}", **({"json": route.example} if route.example else {}))
            assert answer.status_code in (404, 422), (query, answer.status_code, answer.text)


@pytest.mark.parametrize(
    "kind", ["application/yaml", "text/plain", "multipart/form-data; boundary=x", "application/xml"]
)
def test_other_types_than_json_are_refused(targets: list[Target], kind: str) -> None:
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"b%d: &b%d [*a,*a,*a,*a]\n" % (n, n) for n in range(20))
    for target in targets:
        known = target.known()
        for name, route in ROUTES.items():
            if route.body is not None:
                path = OPERATIONS[name].path.format(**known)
                answer = target.ask(route, path, data=bomb, content_type=kind)
                assert answer.status_code in (415, 429), (name, answer.status_code)
