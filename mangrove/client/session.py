"""A login to a root, kept alive: every request carries its token, and an expired token is renewed once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from mangrove.base.errors import Unauthorized
from mangrove.client.http import TIMEOUT, Address, HttpClient, parse_address

#: Where a root listens unless it is told otherwise; Oakestra's clients have it built in.
DEFAULT_PORT = 10000

#: How often a request is sent again whose answer was lost, or that was asked to come later: a root that restarts is
#: there again after some seconds; who wants to wait longer waits by `wait_until`.
REPEATS = 2

_Answer = TypeVar("_Answer")


class Session(msgspec.Struct, frozen=True):
    """A login. Whoever keeps it keeps it like a password."""

    user: str
    token: str
    refresh_token: str

    def __repr__(self) -> str:
        return f"Session(user={self.user!r})"


class SignedIn:
    """Talks to the root at `address` as one user; may be used from several threads.

    repeats: as of HttpClient. session: of an earlier login. on_session: told each new session, so that it can be kept.
    All methods raise what HttpClient.request raises; Unauthorized also when there was no login or it has expired.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = TIMEOUT,
        ca_file: str | None = None,
        repeats: int = REPEATS,
        session: Session | None = None,
        on_session: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self._http = HttpClient(parse_address(address, DEFAULT_PORT), timeout=timeout, ca_file=ca_file, repeats=repeats)
        self._session = session
        self._on_session = on_session
        self._renewing = Lock()

    @property
    def address(self) -> Address:
        """Where the root is."""
        return self._http.address

    @property
    def user(self) -> str:
        """As whom one is logged in. Raises Unauthorized."""
        return self._known().user

    def login(self, user: str, password: str, *, organization: str = "") -> None:
        """Log in; everything else is asked as this user from now on."""
        body = {"username": user, "password": password}
        if organization:
            body["organization_name"] = organization
        tokens = self._http.request("POST", "/api/auth/login", body, form=_Tokens)
        self._keep(Session(user, tokens.token, tokens.refresh_token))

    def version(self) -> dict[str, Any]:
        """What answers there: `program`, `name`, `software`, `protocols`. Needs no login."""
        version = self._http.request("GET", "/api/v1/version", form=_Version)
        return msgspec.structs.asdict(version)

    def access_token(self) -> str:
        """A token that is valid for some minutes, for others who talk to the root as this user."""
        return self._renewed(self._known()).token

    def request(self, method: str, path: str, body: Any = None, *, form: type[_Answer]) -> _Answer:
        """Any request of the API, such as `GET /api/v1/nodes`; its JSON as `form` (`Any` for just as it is)."""
        session, key = self._known(), uuid.uuid4().hex
        try:
            return self._http.request(method, path, body, bearer=session.token, key=key, form=form)
        except Unauthorized:
            renewed = self._renewed(session)
        return self._http.request(method, path, body, bearer=renewed.token, key=key, form=form)

    def lines(self, path: str, *, accept: str, headers: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """The lines of an answer that lasts, as `HttpClient.lines` gives them."""
        session = self._known()
        lines = self._http.lines(path, bearer=session.token, accept=accept, headers=headers)
        try:
            first = next(lines, None)
        except Unauthorized:
            lines = self._http.lines(path, bearer=self._renewed(session).token, accept=accept, headers=headers)
            first = next(lines, None)
        with closing(lines):
            if first is not None:
                yield first
                yield from lines

    def _known(self) -> Session:
        if self._session is None:
            raise Unauthorized(f"not logged in to {self._http.address}: log in first")
        return self._session

    def _renewed(self, old: Session) -> Session:
        """A session with a fresh token; made once, however many threads find that `old` has expired."""
        with self._renewing:
            current = self._known()
            if current is not old:
                return current
            try:
                path = "/api/auth/refresh"
                token = self._http.request("POST", path, bearer=old.refresh_token, form=_Renewed).token
            except Unauthorized as error:
                raise Unauthorized(f"the login as {old.user} has ended ({error.message}): log in again") from None
            return self._keep(msgspec.structs.replace(old, token=token))

    def _keep(self, session: Session) -> Session:
        self._session = session
        self._on_session(session)
        return session


def quoted(id: str) -> str:
    """A part of a path."""
    return quote(id, safe="")


class _Tokens(msgspec.Struct):
    token: str
    refresh_token: str


class _Version(msgspec.Struct):
    program: str
    software: str
    name: str = ""
    protocols: list[int] = []


class _Renewed(msgspec.Struct):
    token: str
