"""Bodies of requests to the root: JSON, of bounded depth, made to fit a form."""

from __future__ import annotations

from typing import Any, TypeVar

from flask import request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from mangrove.model.validation import check_depth, fit
from mangrove.roles.web import read_body

_T = TypeVar("_T")


def json_body() -> Any:
    """The body as decoded JSON.

    Raises UnsupportedMediaType (415) when the request says that it is something else, BadRequest (400) when it is not
    JSON, RequestEntityTooLarge (413) when it is too long, and InvalidInput when it is nested too deeply.
    """
    if request.mimetype and request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType(f"the body is sent as {request.mimetype}; send it as application/json")
    try:
        raw = read_body(Any)
    except RecursionError:
        raise BadRequest("the body is nested too deeply; send a flatter document") from None
    check_depth(raw)
    return raw


def body_as(form: type[_T]) -> _T:
    """The body as `form`. Raises what `json_body` does, and InvalidInput naming the field that does not fit."""
    return fit(json_body(), form)


def optional_body_as(form: type[_T]) -> _T:
    """`body_as`, where no body at all means an empty object."""
    return body_as(form) if request.get_data() else fit({}, form)
