"""Cross-origin requests: which web pages of other origins may use the API, none unless they are named."""

from __future__ import annotations

from collections.abc import Collection

from flask import Flask, Response, request

#: Seconds that a browser may remember the answer to its preflight request.
_MAX_AGE = "600"


def install_cors(app: Flask, origins: Collection[str]) -> None:
    """Let pages of `origins` (such as `https://dashboard.example`, or `*` for all) call `app`.

    Tokens travel in a header that only the page itself can set, never in cookies, so `*` gives no page a user's rights.
    """
    if not origins:
        return

    def allow(response: Response) -> Response:
        origin = request.headers.get("Origin")
        response.headers.add("Vary", "Origin")
        if origin is None or not ("*" in origins or origin in origins):
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE"
            response.headers["Access-Control-Allow-Headers"] = (
                "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID"
            )
            response.headers["Access-Control-Max-Age"] = _MAX_AGE
        return response

    app.after_request(allow)
