"""The root's REST API as Python functions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from mangrove.base.errors import Unauthorized
from mangrove.client.documents import Application, Cluster, JoinToken, Node, Service, ServiceSummary
from mangrove.client.http import TIMEOUT, Address, HttpClient, parse_address

#: Where a root listens unless it is told otherwise; Oakestra's clients have it built in.
DEFAULT_PORT = 10000

#: As an instance number: all of them.
ALL_INSTANCES = -1

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


class RootClient:
    """Talks to the root at `address`; may be used from several threads.

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

    def login(self, user: str, password: str, *, organization: str = "") -> None:
        """Log in; everything else is asked as this user from now on."""
        body = {"username": user, "password": password}
        if organization:
            body["organization_name"] = organization
        tokens = self._http.request("POST", "/api/auth/login", body, form=_Tokens)
        self._keep(Session(user, tokens.token, tokens.refresh_token))

    @property
    def address(self) -> Address:
        """Where the root is."""
        return self._http.address

    def version(self) -> dict[str, Any]:
        """What answers there: `program`, `name`, `software`, `protocols`. Needs no login."""
        return msgspec.to_builtins(self._http.request("GET", "/api/v1/version", form=_Version))  # type: ignore[no-any-return]

    def access_token(self) -> str:
        """A token that is valid for some minutes, for others who talk to the root as this user."""
        return self._renewed(self._known()).token

    # Applications and services

    def applications(self) -> list[Application]:
        """The user's own."""
        account = self._ask("GET", f"/api/user/{_quoted(self._known().user)}", form=_Account)
        return self._ask("GET", f"/api/applications/{_quoted(account.id.oid)}", form=list[Application])

    def all_applications(self) -> list[Application]:
        """Everybody's; for Admin."""
        return self._ask("GET", "/api/applications", form=list[Application])

    def application(self, id: str) -> Application:
        return self._ask("GET", f"/api/application/{_quoted(id)}", form=Application)

    def create_applications(self, sla: Mapping[str, Any]) -> list[Application]:
        """Make the applications of an SLA, with their services but without instances; those that were made."""
        applications = self._ask("POST", "/api/application", sla, form=list[Application])
        named = {(each["application_name"], each["application_namespace"]) for each in sla["applications"]}
        return [each for each in applications if (each.name, each.namespace) in named]

    def delete_application(self, id: str) -> None:
        self._ask("DELETE", f"/api/application/{_quoted(id)}", form=Any)

    def services(self, application: str) -> list[ServiceSummary]:
        """Those of the application with this id."""
        return self._ask("GET", f"/api/services/{_quoted(application)}", form=list[ServiceSummary])

    def all_services(self) -> list[ServiceSummary]:
        """Everybody's; for Admin."""
        return self._ask("GET", "/api/services", form=list[ServiceSummary])

    def service(self, id: str) -> Service:
        """A service with its instances."""
        return self._ask("GET", f"/api/v1/services/{_quoted(id)}", form=Service)

    def delete_service(self, id: str) -> None:
        self._ask("DELETE", f"/api/service/{_quoted(id)}", form=Any)

    def deploy(self, service: str) -> int:
        """Ask for one more instance; its number."""
        return self._ask("POST", f"/api/service/{_quoted(service)}/instance", form=_Deployed).instance_number

    def undeploy(self, service: str, number: int = ALL_INSTANCES) -> None:
        """Stop the instance with this number, or all."""
        self._ask("DELETE", f"/api/service/{_quoted(service)}/instance/{number}", form=Any)

    # Clusters and nodes

    def clusters(self) -> list[Cluster]:
        return list(self._listed("/api/v1/clusters", Cluster))

    def nodes(self) -> list[Node]:
        """Those of all clusters, as their clusters last told."""
        return list(self._listed("/api/v1/nodes", Node))

    def cluster_token(self, *, ttl: float, uses: int = 1) -> JoinToken:
        """A new token for `uses` clusters to join the root within `ttl` seconds."""
        return self._ask("POST", "/api/v1/cluster-tokens", {"ttl": ttl, "uses": uses}, form=JoinToken)

    def revoke_cluster_token(self, id: str) -> None:
        self._ask("DELETE", f"/api/v1/cluster-tokens/{_quoted(id)}", form=Any)

    def node_token(self, cluster: str, *, ttl: float, uses: int = 1) -> JoinToken:
        """A new token for `uses` nodes to join the cluster with this id; the cluster must be connected."""
        path = f"/api/v1/clusters/{_quoted(cluster)}/node-tokens"
        return self._ask("POST", path, {"ttl": ttl, "uses": uses}, form=JoinToken)

    def remove_cluster(self, id: str) -> None:
        """Let the cluster with this id speak no more; what it ran goes to others."""
        self._ask("DELETE", f"/api/v1/clusters/{_quoted(id)}", form=Message)

    def remove_node(self, cluster: str, id: str) -> None:
        """Let a node of the cluster with this id speak no more; the cluster must be connected."""
        self._ask("DELETE", f"/api/v1/clusters/{_quoted(cluster)}/nodes/{_quoted(id)}", form=Message)

    # The login behind it

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

    def _listed(self, path: str, form: type[_Answer]) -> Iterator[_Answer]:
        """All items of a list, a page at a time."""
        after = ""
        while True:
            page = self._ask("GET", f"{path}?limit=1000&after={_quoted(after)}", form=_Page)
            yield from (msgspec.convert(item, form, strict=False) for item in page.items)
            if page.next is None:
                return
            after = page.next

    def _ask(self, method: str, path: str, body: Any = None, *, form: type[_Answer]) -> _Answer:
        session, key = self._known(), uuid.uuid4().hex
        try:
            return self._http.request(method, path, body, bearer=session.token, key=key, form=form)
        except Unauthorized:
            renewed = self._renewed(session)
        return self._http.request(method, path, body, bearer=renewed.token, key=key, form=form)

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


class _Page(msgspec.Struct):
    items: list[Any]
    next: str | None


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


class Message(msgspec.Struct):
    """What an action answers, for a person."""

    message: str = ""


class _Deployed(msgspec.Struct):
    instance_number: int


class _ObjectId(msgspec.Struct):
    oid: str = msgspec.field(name="$oid")


class _Account(msgspec.Struct):
    id: _ObjectId = msgspec.field(name="_id")


def _quoted(id: str) -> str:
    return quote(id, safe="")
