"""Routes as data: what an HTTP API serves, to whom, what it reads and what it answers.

A program lists its routes and registers them once; requests are checked, read and answered here, the same way for all.
Whatever else is to be known of the API (its description, tests of its access rules) is made from the same list.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, reduce
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from mangrove.base.errors import Forbidden, InvalidInput
from mangrove.model.validation import check_depth, fit, shown

_Form = TypeVar("_Form")

_ARGUMENT = re.compile(r"<([a-z_]+)>")
_PATH = re.compile(r"(/[A-Za-z0-9._-]+|/<[a-z_]+>)+")

#: Parameters of a handler that are not parts of the path.
_BODY, _QUERY = "body", "query"

#: Where an app keeps its routes.
_ROUTES = "mangrove.routes"


#: Kinds of tokens, each sent as `Authorization: Bearer …`, and where they come from.
TOKENS = {
    "access": "An access token, from `POST /api/auth/login`; valid for ten minutes.",
    "refresh": "A refresh token, from `POST /api/auth/login`; valid for thirty days.",
    "operator": "The operator's token, in the data folder of the cluster.",
    "metrics": "The token for metrics, in the data folder of the program.",
}


@dataclass(frozen=True)
class Access:
    """Who may call a route; a program's own rules derive from it. words: for people.

    token: which kind of token it takes, a key of TOKENS; empty when none is needed.
    """

    name: str
    words: str
    token: str = "access"  # noqa: S105 - a kind of token


#: For what must be open by its nature: being asked who one is, or whether one is alive.
OPEN = Access("open", "anybody, without a token", token="")


@dataclass(frozen=True)
class Route:
    """One endpoint. path: with its arguments as `<name>`; it is served with and without a slash at its end.

    handler: its annotations declare what it reads and answers. It has one parameter of type str for each argument of
    the path, and may have `body` (any type msgspec can convert to; a default makes it optional) and `query` (a struct).
    What it returns is answered as JSON; a Response, as an alternative or alone, goes out as it is (for streams).
    `Annotated[object, Form]` is read as it comes, and described as Form.
    within: what is entered before anything of the request is read, and left when it is answered.
    status: of a success. errors: statuses beyond those that follow from the declaration. media: what a Response may
    hold, by media type; what the request accepts chooses between them. headers: of the request that the handler reads,
    each with what it says. example: a body that would be accepted. reads: whether it changes nothing, whatever its
    method.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    handler: Callable[..., Any]
    access: Access
    summary: str
    errors: tuple[int, ...] = ()
    status: int = 200
    media: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    example: Any = None
    reads: bool = False
    within: Callable[[], AbstractContextManager[None]] = nullcontext

    def __post_init__(self) -> None:
        """Raises TypeError when path and handler do not fit together."""
        if not _PATH.fullmatch(self.path):
            raise TypeError(f"{self.name}: the path must be made of /word and /<argument>, without a slash at its end")
        hints, parameters = self._hints, set(inspect.signature(self.handler).parameters)
        if unfit := parameters ^ (set(self.arguments) | (parameters & {_BODY, _QUERY})):
            raise TypeError(f"{self.name}: path and handler differ in {', '.join(sorted(unfit))}")
        if missing := (parameters | {"return"}) - set(hints):
            raise TypeError(f"{self.name}: the handler must say the type of {', '.join(sorted(missing))}")
        if no_text := [argument for argument in self.arguments if hints[argument] is not str]:
            raise TypeError(f"{self.name}: {', '.join(no_text)} must be of type str")
        if self.answer is None and not self.media:
            raise TypeError(f"{self.name}: the handler returns a Response; say in `media` what it holds")

    @property
    def name(self) -> str:
        """Method and path: what it is called where a name is needed."""
        return f"{self.method} {self.path}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names in the path, in order."""
        return tuple(_ARGUMENT.findall(self.path))

    @property
    def body(self) -> Any:
        """Type of the body, None when none is read."""
        return self._hints.get(_BODY)

    @property
    def body_form(self) -> Any:
        """What the body is described as: Form of an `Annotated[object, Form]`, else its type."""
        found = self.body
        return found.__metadata__[0] if get_args(found)[:1] == (object,) else found

    @property
    def body_is_optional(self) -> bool:
        """Whether a request without a body is fine too."""
        parameter = inspect.signature(self.handler).parameters.get(_BODY)
        return parameter is None or parameter.default is not parameter.empty

    @property
    def query(self) -> type[msgspec.Struct] | None:
        """Struct of the query, None when none is read."""
        found: type[msgspec.Struct] | None = self._hints.get(_QUERY)
        return found

    @property
    def failures(self) -> tuple[int, ...]:
        """Statuses of a failure that the description names; beside them only 405 and 500 may come."""
        found = {503, *self.errors}
        if self.access.token:
            found |= {401, 403}
        if self.arguments:
            found.add(404)
        if self.body is not None:
            found |= {400, 413, 415, 422}
        if self.query is not None:
            found.add(422)
        return tuple(sorted(found))

    @property
    def answer(self) -> Any:
        """Type of what is answered as JSON, None when it is a Response alone."""
        return _without(self._hints["return"], Response)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.handler, include_extras=True)


def register(
    app: Flask,
    routes: Iterable[Route],
    guard: Callable[[Route], None],
    around: Callable[[Route, Callable[[], Response]], Response] = lambda route, run: run(),
) -> None:
    """Serve `routes`, and nothing else, from `app`.

    guard: called before anything of a request is read; raises Unauthorized or Forbidden for who may not call the route.
    around: called then with what reads and answers the request. Raises TypeError when two routes are the same.
    """
    app.url_map.strict_slashes = False  # both forms of a path are served: redirects would cost clients a round trip
    app.url_map.merge_slashes = False
    routes = tuple(routes)
    app.extensions[_ROUTES] = routes
    declared: set[str] = set()
    for route in routes:
        if route.name in declared:
            raise TypeError(f"{route.name} is declared twice")
        declared.add(route.name)
        app.add_url_rule(route.path, route.name, _view(route, guard, around), methods=[route.method])

    def nothing_else() -> None:
        if request.endpoint is not None and request.endpoint not in declared:
            raise Forbidden("this is no declared route")

    app.before_request(nothing_else)


def routes_of(app: Flask) -> tuple[Route, ...]:
    """What `app` serves."""
    found: tuple[Route, ...] = app.extensions[_ROUTES]
    return found


def read_body(form: type[_Form]) -> _Form:
    """The body of the current request as `form` (a msgspec struct, or any type msgspec can convert to).

    Raises UnsupportedMediaType (415) when it is said to be something else than JSON, RequestEntityTooLarge (413),
    BadRequest (400) when it is not JSON, InvalidInput (422) with the path of the field when it does not fit.
    """
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(f"the body is sent as {kind}; send it as application/json")
    try:
        raw = msgspec.json.decode(request.get_data())
    except RecursionError:
        raise BadRequest("the body is not JSON that can be read: it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    check_depth(raw)
    return fit(raw, form)


def read_query(form: type[_Form]) -> _Form:
    """The query of the current request as `form` (a struct); texts that are numbers are taken for numbers.

    Raises InvalidInput that names the parameter: one that does not fit, is there twice, or is no finite number.
    """
    sent = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise InvalidInput(name, f"is given {len(values)} times; give it once")
        sent[name] = values[0]
    query = fit(sent, form, strict=False)
    for name, text in sent.items():
        value = getattr(query, name, None)
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(name, f"must be a number, but is {shown(text)}")
    return query


def _view(
    route: Route,
    guard: Callable[[Route], None],
    around: Callable[[Route, Callable[[], Response]], Response],
) -> Callable[..., Response]:
    body, query, optional = route.body, route.query, route.body_is_optional

    def run(arguments: dict[str, str]) -> Response:
        with route.within():
            read: dict[str, Any] = {}
            if query is not None:
                read[_QUERY] = read_query(query)
            if body is not None and not (optional and not request.get_data()):
                read[_BODY] = read_body(body)
            answer = route.handler(**arguments, **read)
        if not isinstance(answer, Response):
            answer = Response(msgspec.json.encode(answer), route.status, mimetype="application/json")
        return answer

    def view(**arguments: str) -> Response:
        guard(route)
        answer = around(route, lambda: run(arguments))
        # Neither secrets nor states of a moment may be kept by anything on the way.
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    return view


def _without(hint: Any, unwanted: type) -> Any:
    """A type without one of its alternatives; None when nothing is left."""
    if get_origin(hint) not in (Union, UnionType):
        return None if hint is unwanted else hint
    rest = [each for each in get_args(hint) if each is not unwanted]
    return reduce(lambda one, other: one | other, rest) if rest else None
