"""The root's REST API as a WSGI application, made of what it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, Response

from mangrove.base.clock import Clock
from mangrove.model.documents import Identity
from mangrove.network.layout import Layout
from mangrove.roles.requests import OnAnswered, install_requests
from mangrove.roles.routes import Route, register
from mangrove.roles.streams import Streams
from mangrove.roles.web import install_error_handlers
from mangrove.store.interface import Store
from root_orchestrator.api import browse
from root_orchestrator.api.catalog import Catalog
from root_orchestrator.api.changing import Changing
from root_orchestrator.api.cors import install_cors
from root_orchestrator.api.desired import Desired
from root_orchestrator.api.fleet import Fleet, NoFleet
from root_orchestrator.api.gathering import GatheringStore
from root_orchestrator.api.oakestra import applications, clusters, login, organizations, services
from root_orchestrator.api.oakestra import users as user_routes
from root_orchestrator.api.once import Once
from root_orchestrator.api.service_addresses import ServiceAddresses
from root_orchestrator.api.v1 import (
    account,
    adopted,
    children,
    events,
    explain,
    infrastructure,
    instances,
    join_tokens,
    logs,
    network,
    rebalance,
    usage,
)
from root_orchestrator.api.v1 import services as v1_services
from root_orchestrator.api.views import Views
from root_orchestrator.auth.accounts import Accounts
from root_orchestrator.auth.credentials import Credentials
from root_orchestrator.auth.guard import guard
from root_orchestrator.auth.passwords import Passwords
from root_orchestrator.auth.resets import Post, Resets
from root_orchestrator.auth.tokens import TokenSigner
from root_orchestrator.auth.users import Users
from root_orchestrator.history.history import History


def create_app(
    store: Store,
    clock: Clock,
    key: rsa.RSAPrivateKey,
    *,
    fleet: Fleet | None = None,
    history: History | None = None,
    layout: Layout | None = None,
    streams: Streams | None = None,
    allow_default_admin: bool = False,
    cors_origins: Collection[str] = (),
    more_routes: Sequence[Route] = (),
    passwords: Passwords | None = None,
    on_revoked: Callable[[Identity], None] = lambda identity: None,
    post: Post | None = None,
    later: Callable[[Callable[[], None]], None] = lambda errand: errand(),
    on_answered: OnAnswered = lambda method, route, status, seconds: None,
) -> Flask:
    """The API on `store`.

    key: signs access tokens. fleet: what is known of the children beyond the store. history: of usage. layout: of
    the network between services, if there is one. streams: places
    for answers that last. allow_default_admin: whether Oakestra's default password is accepted. cors_origins: of web
    pages that may call it. more_routes: to add to those of the API (health, version, joining). on_revoked: called when
    a cluster may no longer speak. post: how links for new passwords are mailed, if they are. later: does what may take
    long apart from the request that asks for it. on_answered: see install_requests.
    """
    store = gathering = GatheringStore(store)
    app = Flask("root_orchestrator", static_folder=None)
    live = fleet or NoFleet()
    catalog, users, signer = Catalog(store), Users(store), TokenSigner(key, clock)
    credentials, accounts = Credentials(users, passwords or Passwords(), clock), Accounts(store, clock)
    resets = Resets(store, clock, users, later, post)
    addresses = ServiceAddresses(store, layout)
    desired, views = Desired(store, catalog, addresses=addresses), Views(store, catalog, live, clock)
    changing, places = Changing(store, catalog, views, addresses), streams or Streams(clock)

    install_requests(app, on_answered)
    install_error_handlers(app)
    install_cors(app, cors_origins)
    app.after_request(_secure)
    routes = [
        *more_routes,
        *login.routes(users, credentials, signer, allow_default_admin=allow_default_admin),
        *user_routes.routes(users, credentials, accounts, resets),
        *organizations.routes(users, accounts),
        *applications.routes(catalog, desired, live),
        *services.routes(catalog, desired, changing, views, live),
        *clusters.routes(views, clock),
        *account.routes(users),
        *infrastructure.routes(store, views),
        *v1_services.routes(store, clock, catalog, changing, views),
        *instances.routes(store, catalog, views),
        *explain.routes(catalog, live, views),
        *usage.routes(store, clock, catalog, history or History(store, clock)),
        *join_tokens.routes(store, clock, live),
        *children.routes(store, live, on_revoked),
        *rebalance.routes(store, live, views),
        *logs.routes(store, catalog, live, users, places, clock),
        *adopted.routes(store),
        *network.routes(store, catalog, views, addresses),
        *events.routes(store, clock, users, places),
    ]
    routes += browse.routes(lambda: routes)
    register(app, routes, guard(signer, users), Once(gathering, clock))
    return app


def _secure(response: Response) -> Response:
    """Answers are for the asker alone, and nothing but what they say they are."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", "Bearer")
    return response
