"""`/metrics` on a parent's HTTP server, for who has the token of this program's metrics."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from flask import Response, request

from mangrove.base.errors import InvalidInput, Unauthorized
from mangrove.base.files import write_atomically
from mangrove.roles.exposition import CONTENT_TYPE, Exposition
from mangrove.roles.routes import Access, Route

#: Metrics name clusters, nodes and services, and say what is broken: they are not for everybody. A token of their own,
#: since Prometheus keeps one for long, and it should open nothing else.
METRICS = Access("metrics", "who has the metrics token of this program", "metrics")

#: In the data folder, where nothing else is said.
TOKEN_FILE = "metrics.token"  # noqa: S105 - a name of a file

_TOKEN = re.compile(r"[!-~]{16,256}")


def token_in(path: Path) -> str:
    """The token that a file holds; made at random when there is no such file. Raises InvalidInput, OSError."""
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32).encode())
    token = path.read_text(errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        raise InvalidInput("--metrics-token-file", f"{path} must hold 16 to 256 letters, digits and signs, no space")
    return token


def metrics_route(exposition: Exposition, token: str) -> Route:
    """The route; it checks the token itself."""

    @contextmanager
    def checked() -> Iterator[None]:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise Unauthorized(f"this needs the metrics token, which is in {TOKEN_FILE} of the program's data folder")
        yield

    def page() -> Response:
        return Response(exposition.page(), content_type=CONTENT_TYPE)

    def within() -> AbstractContextManager[None]:
        return checked()

    media = {"text/plain": str}
    return Route("GET", "/metrics", page, METRICS, "Figures for Prometheus", within=within, media=media)
