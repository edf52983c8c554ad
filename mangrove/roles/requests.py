"""What every HTTP request of a parent gets, whatever becomes of it: an id, a line in the log, a count for the metrics.

A layer around the WSGI application, so that it also sees what is refused before any handler is reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask, request

from mangrove.base.ids import new_id
from mangrove.base.log import about, is_request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)

HEADER = "X-Request-ID"

#: Characters of a path in a log line: our longest has two ids and is half as long.
_SHOWN = 200

#: In the WSGI environment: the template of the route (`/api/v1/services/<id>`), for metrics.
_ROUTE = "mangrove.route"

#: Told of each request: method, template of the route (empty: none fits), status, seconds until the answer began.
OnAnswered = Callable[[str, str, int, float], None]


def install_requests(app: Flask, on_answered: OnAnswered = lambda method, route, status, seconds: None) -> None:
    """Give each request of `app` an id: the client's own (`X-Request-ID`) if it is well formed, else a new one.

    It stands in the answer's headers and in every line that is logged on the way. What changes something, and what
    fails by our fault, is logged at INFO, the rest at DEBUG: method, path, status, time and user; never the query, a
    header or a body, which may hold secrets.
    """
    app.before_request(_note_route)
    app.wsgi_app = _Layer(app.wsgi_app, on_answered)  # type: ignore[method-assign]  # as Flask's documentation does it


class _Layer:
    def __init__(self, inner: WSGIApplication, on_answered: OnAnswered) -> None:
        self._inner = inner
        self._on_answered = on_answered

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        id = given if is_request_id(given) else new_id()
        statuses: list[int] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            statuses.append(int(status[:3]))
            return start_response(status, [*headers, (HEADER, id)], exc_info)

        began = perf_counter()
        with about(id):
            try:
                return self._inner(environ, start)
            finally:
                seconds = perf_counter() - began
                status = statuses[-1] if statuses else 500
                self._tell(environ, status, seconds)

    def _tell(self, environ: WSGIEnvironment, status: int, seconds: float) -> None:
        method = str(environ["REQUEST_METHOD"])
        self._on_answered(method, environ.get(_ROUTE, ""), status, seconds)
        level = logging.DEBUG if method in ("GET", "HEAD", "OPTIONS") and status < 500 else logging.INFO
        if not _log.isEnabledFor(level):
            return
        # As it came over the wire: a path may hold whatever bytes, and a log has lines.
        path = quote(environ.get("PATH_INFO", "").encode("latin-1", "replace"))[:_SHOWN]
        user = environ.get("REMOTE_USER", "")
        ms = round(1000 * seconds, 1)
        fields = {"method": method, "path": path, "status": status, "ms": ms, "user": user}
        _log.log(level, "%s %s %d %s ms %s", method[:20], path, status, ms, user or "-", extra={"fields": fields})


def _note_route() -> None:
    if request.url_rule is not None:
        request.environ[_ROUTE] = request.url_rule.rule
