"""The description of the API, and a page to browse it, with all files that the page needs: it asks nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from flask import Response

from mangrove.base.errors import NotFound
from mangrove.model.validation import shown
from mangrove.roles.routes import OPEN, Route
from root_orchestrator.api.openapi import describe

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Mangrove API</title>
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
<link rel="icon" href="/api/docs/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({url: "/docs/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});
"""

#: Files of Swagger UI that the page loads, and what they are. Nothing else of the package is served.
_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

#: Scripts only from here. Swagger UI sets styles in the page and has its icons in its style sheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

#: Seconds that a browser may keep the files of Swagger UI: a day, since they change with a release at most.
_MAX_AGE = 24 * 3600


def routes(described: Callable[[], Sequence[Route]]) -> list[Route]:
    """`/docs/openapi.json`, where Oakestra has it, and `/api/docs`. described: all routes of the API."""

    @cache
    def document() -> bytes:
        return msgspec.json.encode(describe(described()))

    def openapi() -> Response:
        return Response(document(), mimetype="application/json")

    def page() -> Response:
        return Response(_PAGE, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})

    def asset(file: str) -> Response:
        if file == "start.js":
            return _kept(Response(_START, mimetype="text/javascript"))
        if file not in _FILES:
            raise NotFound(f"there is no file {shown(file)} here")
        content = (files("flask_swagger_ui") / "dist" / file).read_bytes()
        return _kept(Response(content, mimetype=_FILES[file]))

    kinds = dict.fromkeys(_FILES.values(), str)
    return [
        Route(
            "GET",
            "/docs/openapi.json",
            openapi,
            OPEN,
            "This description",
            media={"application/json": dict[str, Any]},
        ),
        Route("GET", "/api/docs", page, OPEN, "A page to browse this description", media={"text/html": str}),
        Route("GET", "/api/docs/<file>", asset, OPEN, "A file of that page", media=kinds),
    ]


def _kept(answer: Response) -> Response:
    answer.headers["Cache-Control"] = f"public, max-age={_MAX_AGE}"
    return answer
