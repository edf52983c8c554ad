"""The page about the root's REST API, made from its routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from docs.reference.tables import table
from mangrove.base.clock import SystemClock
from mangrove.identity.join import Parent
from mangrove.identity.secret import KEY_SIZE, MasterSecret
from mangrove.link.messages import PROTOCOL
from mangrove.roles.routes import Route, routes_of
from mangrove.roles.web import common_routes
from mangrove.store.memory import MemoryStore
from root_orchestrator.api.app import create_app

_BEGIN = """# REST API

What the root answers at its HTTP port. Each root describes its own API at `/docs/openapi.json` (OpenAPI 3.1, with the
form of every body and answer), and shows it as a page to try at `/api/docs/`. Paths under `/api/v1` are Mangrove's own,
the others are Oakestra's; each is served with and without a slash at its end.

Send the token of `POST /api/auth/login` as `Authorization: Bearer …`. Bodies are JSON. A failed answer has a `message`
for people, and `field` where one field was wrong. Every POST may have an `Idempotency-Key`: sent again with the same
key, it is done once, and answered the same; or with 409 when the answer was too large to be kept. Every answer has an
`X-Request-ID`, by which the logs of root, clusters and nodes can be searched.

Lists under `/api/v1` come in pages: `{"items": […], "next": …}`, where `next` is what to send as `after` for the page
behind it.
"""


def page() -> str:
    """The page in Markdown."""
    routes = sorted(_routes(), key=lambda route: (route.path, route.method))
    parts = {
        "Mangrove's own": [route for route in routes if route.path.startswith("/api/v1")],
        "Oakestra's, and what is beside": [route for route in routes if not route.path.startswith("/api/v1")],
    }
    return _BEGIN + "".join(f"\n## {title}\n\n{_table(part)}" for title, part in parts.items())


def _table(routes: Iterable[Route]) -> str:
    return table(("request", "what it does", "sends", "who may"), map(_row, routes))


def _row(route: Route) -> tuple[str, ...]:
    return f"`{route.name}`", route.summary, _sends(route), route.access.words


def _sends(route: Route) -> str:
    query = f"`?{'&'.join(f'{field}=' for field in route.query.__struct_fields__)}`" if route.query else ""
    return " ".join(filter(None, (query, _fields(route.body_form))))


def _fields(form: Any) -> str:
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        return ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(form))
    return "" if form is None else "a document"


def _routes() -> tuple[Route, ...]:
    """All routes of a root that is never asked anything."""
    store, clock = MemoryStore(), SystemClock()
    common = common_routes(
        store,
        clock,
        MasterSecret(bytes(KEY_SIZE)),
        Parent("root", "cluster", (PROTOCOL,), list, 0.0),
        reasons_not_ready=tuple,
        on_joined=lambda identity: None,
        on_left=lambda identity: None,
    )
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return routes_of(create_app(store, clock, key, more_routes=common))
